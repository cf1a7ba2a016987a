/** The run request: what a client publishes. Strict: an unknown field is refused with its path. */
import { z } from 'zod';
import { seconds } from './fields.ts';
import { isTokenText } from './tokens.ts';

/** Largest run request, in bytes. */
export const MAX_REQUEST_BYTES = 256 * 1024;

const positiveSeconds = z
  .number()
  .positive()
  .max(366 * 24 * 3600);

/** Trace context of a run, version 00: trace id, parent span id, flags. @see https://www.w3.org/TR/trace-context/#traceparent-header */
export const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

/** What the run belongs to in the client's system, for example an Airflow task. Used in labels and templates. */
export const runContextSchema = z.strictObject({
  dagId: z.string().max(250).optional().describe('Id of the DAG.'),
  taskId: z.string().max(250).optional().describe('Id of the task.'),
  runId: z.string().max(250).optional().describe('Id of the DAG run.'),
  mapIndex: z.number().int().min(-1).optional().describe('Index of a mapped task; -1 where it is not mapped.'),
  parentDagId: z.string().max(250).optional().describe('Id of the parent DAG of a sub-DAG.'),
  logicalDate: z.iso.datetime({ offset: true }).optional().describe('Logical date of the DAG run.'),
  params: z.record(z.string(), z.json()).optional().describe('Values for templates, as `params`.'),
});
export type RunContext = z.infer<typeof runContextSchema>;

/** Priorities among the waiting runs of one tenant. */
export const PRIORITIES = ['high', 'normal', 'low'] as const;
export type Priority = (typeof PRIORITIES)[number];

/** A run request. `params` has the schema of its operator. */
export const runRequestSchema = z.strictObject({
  operator: z
    .string()
    .min(1)
    .max(64)
    .default('pod')
    .describe('What runs: `pod`, `command`, or an operator of your own.'),
  params: z.record(z.string(), z.json()).default({}).describe('Parameters of the operator.'),
  context: runContextSchema
    .default({})
    .describe('What the run belongs to in your system. Used in labels and templates.'),
  retries: z
    .number()
    .int()
    .min(0)
    .max(100)
    .default(0)
    .describe('Further attempts after a failure of the program. Infrastructure failures have a count of their own.'),
  retryDelaySeconds: seconds.default(30).describe('Delay before the next attempt, in seconds.'),
  retryExponentialBackoff: z.boolean().default(false).describe('Doubles the delay with each failure.'),
  maxRetryDelaySeconds: seconds.default(600).describe('Longest delay between two attempts, in seconds.'),
  executionTimeoutSeconds: positiveSeconds
    .optional()
    .describe('Time-out of one attempt, from the creation of its pod, in seconds. Default: none.'),
  expireSeconds: positiveSeconds
    .optional()
    .describe(
      'Fails the run where no pod was created within these seconds of its acceptance, or of startAfter. Default: never.',
    ),
  startAfter: z.iso.datetime({ offset: true }).optional().describe('Earliest start, RFC 3339.'),
  parentRunId: z.string().min(1).max(128).optional().describe('The run that this one repeats.'),
  priority: z.enum(PRIORITIES).optional().describe("Order among the tenant's own waiting runs. Default: normal."),
  concurrencyKey: z
    .string()
    .refine(isTokenText, 'must be 1 to 128 characters once encoded as a subject token')
    .optional()
    .describe('At most as many runs of one tenant with this key run at a time as REENTRY_CONCURRENCY_LIMITS allows.'),
  traceparent: z
    .string()
    .regex(TRACEPARENT, 'must be a W3C traceparent')
    .optional()
    .describe('W3C trace context of the trace that the run belongs to.'),
  annotations: z.record(z.string(), z.string()).default({}).describe('Free texts that are stored with the request.'),
});
export type RunRequest = z.infer<typeof runRequestSchema>;
export type RunRequestInput = z.input<typeof runRequestSchema>;

/** A stored run request. A worker of the next version may have written it: fields unknown to this version are preserved. */
export const storedRequestSchema = z.looseObject(runRequestSchema.shape);
