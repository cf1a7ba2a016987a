import { z } from 'zod';
import { count, version } from './messages.ts';
import { QUEUE_PATTERN } from './tokens.ts';

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
