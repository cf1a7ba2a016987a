/** What a waiting run waits for, and the event that ends its wait. */
import { z } from 'zod';
import { count, instant, version } from './fields.ts';
import { podProjectionSchema, podRefSchema } from './pods.ts';
import { PRIORITIES } from './run-request.ts';

/** What holds a run back that is ready to start. No pod of it exists yet. The order among such runs: `queue/order.ts`. */
export const gateSchema = z.looseObject({
  /** Why, as the worker saw it that deferred the start: `paused` queue, not its `turn`, or no free slot of its concurrency `key`. */
  why: z.enum(['paused', 'turn', 'key']),
  since: instant,
  priority: z.enum(PRIORITIES).optional(),
  concurrencyKey: z.string().optional(),
  /** How often it was let through and had to be held back again. */
  tries: count.optional(),
});
export type Gate = z.infer<typeof gateSchema>;

/** What a run waits for: any of these conditions and deadlines. */
export const awaitSchema = z.looseObject({
  /** The pod's base container has terminated, or the pod has. */
  terminal: z.boolean().optional(),
  /** The pod is gone from the API. */
  gone: z.boolean().optional(),
  /** This time has come: `startAfter`, a retry. */
  notBefore: instant.optional(),
  /** When the pod was requested. The start-up time-out counts from its scheduling, by the pod's own times relative to this. */
  from: instant.optional(),
  scheduleBy: instant.optional(),
  startBy: instant.optional(),
  timeoutAt: instant.optional(),
  expireAt: instant.optional(),
  /** Emits a `running` event at this interval, so that logs are read. */
  loggingEveryMs: z.number().int().min(1).optional(),
  gate: gateSchema.optional(),
});
export type Await = z.infer<typeof awaitSchema>;

/** Why a wait ended. */
export const triggerEventSchema = z.looseObject({
  kind: z.enum(['success', 'failed', 'timeout', 'error', 'running', 'gone', 'timer']),
  /** `EXPIRED`, `EXECUTION_TIMEOUT`, `SCHEDULE_TIMEOUT`, `STARTUP_TIMEOUT`, `NOT_WATCHED`, … */
  reason: z.string().optional(),
  message: z.string().optional(),
  /** The pod's last projection; absent where no pod was ever observed. */
  pod: podProjectionSchema.optional(),
  /** When the triggerer observed the change. */
  at: instant,
});
export type TriggerEvent = z.infer<typeof triggerEventSchema>;

/** A wait, stored in bucket `subs`: at most 512 bytes. */
export const subscriptionSchema = z.looseObject({
  v: version,
  queue: z.string(),
  attempt: z.number().int().min(1),
  step: count,
  /** Revision of the run's state that this wait belongs to. */
  stateRev: count,
  pod: podRefSchema.optional(),
  await: awaitSchema,
  /** Lane of the message that the trigger event becomes. */
  then: z.enum(['resume', 'start']),
});
export type Subscription = z.infer<typeof subscriptionSchema>;
