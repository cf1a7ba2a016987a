/** The stored state of a run. */
import { z } from 'zod';
import { count, instant, version } from './fields.ts';
import { diagnosisSchema, FINAL_STATES, timingsSchema, outcomeSchema } from './outcome.ts';
import { podRefSchema } from './pods.ts';
import { PRIORITIES } from './run-request.ts';
import { QUEUE_PATTERN } from './tokens.ts';
import { awaitSchema } from './triggers.ts';

/** Phases of a run. The last four are final. */
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

/** The un-acked message that owns the step. Its redelivery raises `epoch`; a holder with a lower one has lost the run. */
export const fenceSchema = z.looseObject({ stream: z.string(), seq: count, epoch: count, by: z.string() });
export type Fence = z.infer<typeof fenceSchema>;

const logCursorSchema = z
  .string()
  .regex(/^\d+:\d+$/)
  .describe('`<epoch nanoseconds>:<lines at that nanosecond>`');

/** The state of a run: one value, written by compare-and-set. The section "States" of README.md has the transitions. */
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
  /** How often the owning message was requeued on purpose. Its other redeliveries are crashes. */
  naks: count.optional(),
  /** Since when the owning message has failed to read what the ended pod still has (logs, result). */
  unreadSince: instant.optional(),
  /** The step whose event `resumed` may not have been published yet. */
  resumedStep: count.optional(),
  fence: fenceSchema,
  /** Id of the write that stored this state; settles a lost acknowledgement. */
  op: z.string(),
  cancel: z.looseObject({ at: instant, reason: z.string().optional() }).optional(),
  await: awaitSchema.optional(),
  pod: podRefSchema.optional(),
  /** The step that created the attempt's pod; part of the id of event `launched`. */
  launchStep: count.optional(),
  /** Why the start of this attempt is delayed (quota, throttling, API down). Removed once its pod exists. */
  blocked: diagnosisSchema.optional(),
  /** The outcome the run will have. Set when its pod is deleted, applied when the pod is gone. */
  stopping: z
    .looseObject({
      state: z.enum(FINAL_STATES),
      diagnosis: diagnosisSchema.optional(),
      exitCode: z.number().int().optional(),
      retry: z.boolean().optional(),
    })
    .optional(),
  /** Trace context of the run's intake, the parent of its later spans. */
  trace: z.string().optional(),
  /** Copied from the request, so that a start need not read it. */
  priority: z.enum(PRIORITIES).optional(),
  concurrencyKey: z.string().optional(),
  /** Deadline of the attempt; fixed when its pod is created. */
  timeoutAt: instant.optional(),
  expireAt: instant.optional(),
  /** Copy of each container's log cursor: the log stream may discard its last chunk. */
  cursors: z.record(z.string(), logCursorSchema).optional(),
  logGaps: count.optional(),
  outcome: outcomeSchema.optional(),
  timings: timingsSchema,
  parentRunId: z.string().optional(),
  requestHash: z.string(),
  /** Data of the operator between two steps: at most 1 KiB. */
  memo: z.record(z.string(), z.json()).optional(),
});
export type RunState = z.infer<typeof runStateSchema>;
