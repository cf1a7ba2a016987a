/** Heartbeats, claims and presence of roles. Heartbeats are core messages, twice a second, and never stored. */
import { z } from 'zod';
import { count, instant, version } from './fields.ts';
import { QUEUE_PATTERN } from './tokens.ts';

/** The run that a query or a nudge is about. */
export const runRefSchema = z.looseObject({ tenant: z.string(), runId: z.string() });

/** A live process of a role, as it answers the query `roles`. */
export const rolePresenceSchema = z.looseObject({
  role: z.string(),
  id: z.string(),
  version: z.string(),
  queues: z.array(z.string()).optional(),
  clockOffsetMs: z.number().optional(),
  watchAgeMs: z.number().optional(),
  problems: z.array(z.string()).default([]),
});
export type RolePresence = z.infer<typeof rolePresenceSchema>;

/** Who owns a shard, or the janitor's lease. `epoch` grows with each new owner. */
export const claimSchema = z.looseObject({ owner: z.string(), epoch: count });
export type Claim = z.infer<typeof claimSchema>;

/** Heartbeat of a triggerer. Siblings act on `replica`, `draining` and `ready`; the rest is for people. */
export const heartbeatSchema = z.looseObject({
  v: version,
  replica: z.string(),
  draining: z.boolean(),
  /** `false`: its subscriptions and watches are not complete, or it lost its watches. Others take its shards. */
  ready: z.boolean().optional(),
  at: instant,
  /** Number of shards it owns. */
  shards: count,
  watchAgeMs: count.optional(),
  /** Runs whose wait it watches. */
  waiting: count.optional(),
  /** When the process began. */
  since: instant.optional(),
  /** The shards it acts on, one bit each: 64 hex digits, shard `00` first. */
  owned: z.string().optional(),
  watches: z
    .array(
      z.looseObject({
        connection: z.string(),
        namespace: z.string().optional(),
        pods: count,
        ageMs: count.optional(),
        /** Why the watch lags, where it does. */
        lagging: z.string().optional(),
      }),
    )
    .optional(),
  /** Problems of this replica; empty where it is healthy. */
  problems: z.array(z.string()).optional(),
  /** 99th percentile of the event loop's delay in the last second. */
  loopDelayMs: z.number().optional(),
  /** Logging intervals lengthened since the process began, to limit the rate of events. */
  stretched: count.optional(),
});
export type Heartbeat = z.infer<typeof heartbeatSchema>;

/**
 * One slot of an executor queue, in bucket `slots`. Without a holder it is free, as it is without a record. `attempt`: a run's attempts have a pod, and so
 * a slot, each. `by`: the executor that took it.
 */
export const slotSchema = z.looseObject({
  v: version,
  holder: z
    .looseObject({ tenant: z.string(), runId: z.string(), attempt: z.number().int().min(1), by: z.string() })
    .optional(),
});
export type SlotRecord = z.infer<typeof slotSchema>;
export type SlotHolder = NonNullable<SlotRecord['holder']>;

/** Heartbeat of an executor, by which the executors of a queue share its slots. */
export const executorHeartbeatSchema = z.looseObject({
  v: version,
  executor: z.string(),
  queue: z.string().regex(QUEUE_PATTERN),
  draining: z.boolean(),
  /** Slots of the queue over all executors, as this one is configured. */
  parallelism: count,
  running: count,
  /** Launches under way, of pods that the watch does not show yet. */
  launching: count,
});
export type ExecutorHeartbeat = z.infer<typeof executorHeartbeatSchema>;
