/** When a running pod's logs are due. */
import type { PodProjection } from '../core/pod/projection.ts';

/** The interval asked for, but not shorter than the least one. */
export const floorMs = (everyMs: number, leastMs: number): number => Math.max(everyMs, leastMs);

/**
 * The first instant after `after` on the pod's own grid: its base container's start, plus whole intervals. The grid is the same
 * for every replica and every step, so reading logs late shifts nothing (no drift), and after a pause there is one instant, not
 * one per missed interval (no burst). Shards are spread over a second: the API tells start times in whole seconds, and pods
 * launched together would all be due in the same millisecond. Undefined while the base container does not run.
 */
export function nextLoggingAt(
  { containers, baseContainer }: PodProjection,
  shard: string,
  everyMs: number,
  after: number,
): number | undefined {
  const base = containers.find(({ name }) => name === baseContainer);
  if (base?.state !== 'running') return undefined;
  const spreadMs = Math.floor((Number.parseInt(shard, 16) / 256) * Math.min(everyMs, 1_000));
  const start = (base.startedAt ?? after) + spreadMs;
  return start + Math.max(1, Math.floor((after - start) / everyMs) + 1) * everyMs;
}
