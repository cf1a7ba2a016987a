/** Heartbeats, claims and presence of roles. Heartbeats are core messages and never stored. */
import { version, instant, count } from './fields.ts';
import { QUEUE_PATTERN } from './tokens.ts';
import { z } from 'zod';

/** Which run a question or a nudge is about. */
export const runRefSchema = z.looseObject({ tenant: z.string(), runId: z.string() });

/** A role's process that is alive. */
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

export const claimSchema = z.looseObject({ owner: z.string(), epoch: count });
export type Claim = z.infer<typeof claimSchema>;

/** One heartbeat. Beyond the first fields all are for people. */
export const heartbeatSchema = z.looseObject({
  v: version,
  replica: z.string(),
  draining: z.boolean(),
  /** `false`: it has not read all subscriptions and pods yet, or cannot see pods any more; shards go to those that have. */
  ready: z.boolean().optional(),
  at: instant,
  shards: count,
  watchAgeMs: count.optional(),
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
        lagging: z.string().optional(),
      }),
    )
    .optional(),
  /** What is not as it should be; empty: it works. */
  problems: z.array(z.string()).optional(),
  /** 99th percentile of the event loop's delay in the last second. */
  loopDelayMs: z.number().optional(),
  /** Logging intervals stretched since its start. */
  stretched: count.optional(),
});
export type Heartbeat = z.infer<typeof heartbeatSchema>;

/** What an executor says of itself twice a second, so that its siblings know how many share the slots. Never stored. @see spec protocol §8 */
export const executorHeartbeatSchema = z.looseObject({
  v: version,
  executor: z.string(),
  queue: z.string().regex(QUEUE_PATTERN),
  draining: z.boolean(),
  parallelism: count,
  running: count,
  /** Launches under way, of pods that the watch does not show yet. */
  launching: count,
});
export type ExecutorHeartbeat = z.infer<typeof executorHeartbeatSchema>;
