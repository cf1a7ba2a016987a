/** What a waiting run waits for, and the event that ends its wait. */
import { version, instant, count } from './fields.ts';
import { podRefSchema, podProjectionSchema } from './pods.ts';
import { PRIORITIES } from './run-request.ts';
import { z } from 'zod';

/** What a run that is ready to start waits for, before anything of it exists in Kubernetes. @see core/admission-order.ts */
export const gateSchema = z.looseObject({
  /** As the worker saw it that put the run back: the queue is paused, the queue is long, all slots of its key are taken. */
  why: z.enum(['paused', 'turn', 'key']),
  since: instant,
  priority: z.enum(PRIORITIES).optional(),
  concurrencyKey: z.string().optional(),
  /** How often it was let go and found its gate shut after all. */
  tries: count.optional(),
});
export type Gate = z.infer<typeof gateSchema>;

/** What a waiting run waits for. All times absolute, broker time. @see spec protocol §7 */
export const awaitSchema = z.looseObject({
  /** The pod's base container has ended, or the pod has. */
  terminal: z.boolean().optional(),
  /** The pod is gone from the API. */
  gone: z.boolean().optional(),
  notBefore: instant.optional(),
  /** When the pod was asked for: the time that starting may take counts from its scheduling, told by the pod's own times from here. */
  from: instant.optional(),
  scheduleBy: instant.optional(),
  startBy: instant.optional(),
  timeoutAt: instant.optional(),
  expireAt: instant.optional(),
  loggingEveryMs: z.number().int().min(1).optional(),
  gate: gateSchema.optional(),
});
export type Await = z.infer<typeof awaitSchema>;

/** What a fired subscription says. `n` counts firings of the same subscription. */
export const triggerEventSchema = z.looseObject({
  kind: z.enum(['success', 'failed', 'timeout', 'error', 'running', 'gone', 'timer']),
  /** `EXPIRED`, `EXECUTION_TIMEOUT`, `SCHEDULE_TIMEOUT`, `STARTUP_TIMEOUT`, `NOT_WATCHED`, … */
  reason: z.string().optional(),
  message: z.string().optional(),
  /** The last projection seen; absent when no pod was ever seen. */
  pod: podProjectionSchema.optional(),
  /** When the pod's change was seen by the triggerer. */
  at: instant,
});
export type TriggerEvent = z.infer<typeof triggerEventSchema>;

/** A wait, in KV `subs`, ≤ 512 B. @see spec protocol §7 */
export const subscriptionSchema = z.looseObject({
  v: version,
  queue: z.string(),
  attempt: z.number().int().min(1),
  step: count,
  stateRev: count,
  pod: podRefSchema.optional(),
  await: awaitSchema,
  then: z.enum(['resume', 'start']),
});
export type Subscription = z.infer<typeof subscriptionSchema>;
