/**
 * Deadlines of pods are believed only when the pod has been seen after them: it may have started or ended in time while the watch was
 * down, or while this process stood still. A stale look must not end a run.
 */
import { type Judgement, startDeadlines } from '../core/pod/judge.ts';
import type { PodProjection } from '../core/pod/projection.ts';
import type { Subscription } from '../wire/triggers.ts';
import type { WatchState } from './pod-book.ts';

/**
 * The deadline behind a time-out of a pod, epoch milliseconds; undefined where a judgement is none, or needs no look at a pod.
 * `pod`: what was judged; a start's deadline depends on it.
 */
export function deadlineOf(
  subscription: Subscription,
  judgement: Judgement,
  pod: PodProjection | undefined,
  now: number,
): number | undefined {
  if (judgement.kind !== 'fire' || judgement.event.kind !== 'timeout') return undefined;
  const { await: wanted } = subscription;
  // A wait for absence, or for a time alone, expires by the clock.
  if (subscription.pod === undefined || wanted.terminal !== true || wanted.gone === true) return undefined;
  const { startBy, scheduleBy } = pod === undefined ? wanted : startDeadlines(wanted, pod);
  const passed = [wanted.timeoutAt, startBy, scheduleBy].filter((at) => at !== undefined && at <= now);
  return Math.max(...passed.map((at) => at ?? 0));
}

/** How long after a freeze, or after a watch came back, what happened before may still be on its way, or wait in a socket. */
export const SETTLED_AFTER_MS = 1_000;

/** Whether a watch was complete and has said something after `instant`: then what it shows is not older. */
export function isSeenSince(watch: Readonly<WatchState> | undefined, instant: number): boolean {
  if (watch?.syncedAt === undefined || watch.upSince === undefined) return false;
  return watch.heardAt !== undefined && watch.heardAt > Math.max(instant, watch.upSince + SETTLED_AFTER_MS);
}
