/** What a triggerer says of itself, twice a second: to its siblings that it lives, to people how it is. Never stored. */
import { z } from 'zod';
import { count, instant, version } from './messages.ts';

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
