/** The run request: what a client publishes. Strict: an unknown field is refused with its path. */
import { TRACEPARENT } from '../core/trace-context.ts';
import { seconds } from './fields.ts';
import { isTokenText } from './tokens.ts';
import { z } from 'zod';

/** Largest run request, in bytes. @see spec protocol §2 `reqs` */
export const MAX_REQUEST_BYTES = 256 * 1024;

/** What the run belongs to in the user's world; labels and templates use it. */
export const runContextSchema = z.strictObject({
  dagId: z.string().max(250).optional(),
  taskId: z.string().max(250).optional(),
  runId: z.string().max(250).optional().describe("the DAG run's id"),
  mapIndex: z.number().int().min(-1).optional(),
  parentDagId: z.string().max(250).optional(),
  logicalDate: z.iso.datetime({ offset: true }).optional(),
  params: z.record(z.string(), z.json()).optional(),
});
export type RunContext = z.infer<typeof runContextSchema>;

/** Levels of urgency among a tenant's own runs. */
export const PRIORITIES = ['high', 'normal', 'low'] as const;
export type Priority = (typeof PRIORITIES)[number];

/** The envelope of a run request; `params` is checked by the operator's own schema. @see design §3 */
export const runRequestSchema = z.strictObject({
  operator: z.string().min(1).max(64).default('pod'),
  params: z.record(z.string(), z.json()).default({}),
  context: runContextSchema.default({}),
  retries: z.number().int().min(0).max(100).default(0),
  retryDelaySeconds: seconds.default(30),
  retryExponentialBackoff: z.boolean().default(false),
  maxRetryDelaySeconds: seconds.default(600),
  executionTimeoutSeconds: z
    .number()
    .positive()
    .max(366 * 24 * 3600)
    .optional(),
  expireSeconds: z
    .number()
    .positive()
    .max(366 * 24 * 3600)
    .optional(),
  startAfter: z.iso.datetime({ offset: true }).optional(),
  parentRunId: z.string().min(1).max(128).optional().describe('the run that this one repeats'),
  priority: z.enum(PRIORITIES).optional().describe("order among the tenant's own waiting runs; normal where absent"),
  concurrencyKey: z
    .string()
    .refine(isTokenText, 'must be 1 to 128 characters once encoded as a subject token')
    .optional()
    .describe('runs of one tenant with the same key run at most as many at once as REENTRY_CONCURRENCY_LIMITS says'),
  traceparent: z
    .string()
    .regex(TRACEPARENT, 'must be a W3C traceparent')
    .optional()
    .describe('the trace that the run belongs to'),
  annotations: z.record(z.string(), z.string()).default({}),
});
export type RunRequest = z.infer<typeof runRequestSchema>;
export type RunRequestInput = z.input<typeof runRequestSchema>;

/** The same as it was stored, perhaps by a worker of the next version: what it added is kept. */
export const storedRequestSchema = z.looseObject(runRequestSchema.shape);
