/** The stored state of a run. */
import { version, instant, count } from './fields.ts';
import { diagnosisSchema, FINAL_STATES, timingsSchema, outcomeSchema } from './outcome.ts';
import { podRefSchema } from './pods.ts';
import { PRIORITIES } from './run-request.ts';
import { QUEUE_PATTERN } from './tokens.ts';
import { awaitSchema } from './triggers.ts';
import { z } from 'zod';

export const PHASES = [
  'Queued',
  'Starting',
  'Deferred',
  'Resuming',
  'Succeeded',
  'Failed',
  'Skipped',
  'Cancelled',
] as const;
export type Phase = (typeof PHASES)[number];

/** The un-acked message that owns the step. @see spec protocol §3 */
export const fenceSchema = z.looseObject({ stream: z.string(), seq: count, epoch: count, by: z.string() });
export type Fence = z.infer<typeof fenceSchema>;

const logCursorSchema = z
  .string()
  .regex(/^\d+:\d+$/)
  .describe('<epoch nanoseconds>:<lines at that nanosecond>');

/** A run's one value. @see spec protocol §3 */
export const runStateSchema = z.looseObject({
  v: version,
  phase: z.enum(PHASES),
  queue: z.string().regex(QUEUE_PATTERN),
  operator: z.string(),
  attempt: z.number().int().min(1),
  step: count,
  userFailures: count,
  infraFailures: count,
  /** Pods that were replaced because they did not start in time. */
  stuckStarts: count.optional(),
  faults: count,
  /** How often the owning message was put back on purpose: its deliveries less these are crashes. */
  naks: count.optional(),
  fence: fenceSchema,
  op: z.string(),
  cancel: z.looseObject({ at: instant, reason: z.string().optional() }).optional(),
  await: awaitSchema.optional(),
  pod: podRefSchema.optional(),
  /** The step whose deferral was the first to know the attempt's pod: what `launched` is said with. */
  launchStep: count.optional(),
  /** Why the start of this attempt was put off (quota, throttling, API down); gone once its pod is there. */
  blocked: diagnosisSchema.optional(),
  /** Why the run is being stopped; set with the DELETE, read when the pod is gone. */
  stopping: z
    .looseObject({
      state: z.enum(FINAL_STATES),
      diagnosis: diagnosisSchema.optional(),
      exitCode: z.number().int().optional(),
      retry: z.boolean().optional(),
    })
    .optional(),
  /** Trace context of the run's intake: the parent of all its later spans. */
  trace: z.string().optional(),
  /** From the request; what a start is judged by without reading that. */
  priority: z.enum(PRIORITIES).optional(),
  concurrencyKey: z.string().optional(),
  /** When the attempt's execution time is over; fixed when its pod is created. */
  timeoutAt: instant.optional(),
  expireAt: instant.optional(),
  /** Copy of each container's log cursor, so that eviction of the log stream loses nothing. */
  cursors: z.record(z.string(), logCursorSchema).optional(),
  logGaps: count.optional(),
  outcome: outcomeSchema.optional(),
  timings: timingsSchema,
  parentRunId: z.string().optional(),
  requestHash: z.string(),
  /** The operator's own few facts between two steps (≤ 1 KiB). */
  memo: z.record(z.string(), z.json()).optional(),
});
export type RunState = z.infer<typeof runStateSchema>;
