/** Reads of what an ended pod still has, its logs and its result, which are repeated while the API server cannot answer. */
import { podVerdict } from '../core/pod/judge.ts';
import type { PodProjection } from '../core/pod/projection.ts';
import { isReadRepeated, READ_PERIOD_MS } from '../core/run/retry.ts';
import { KubernetesError, UnreadError } from '../errors.ts';
import type { StepContext } from './operator.ts';

/** How long a failed read of this pod is repeated, in milliseconds. A node that is going away must not delay the next attempt for long. */
export function readPeriodMs(pod: PodProjection): number {
  const verdict = podVerdict(pod);
  const isNodeLeaving = verdict.kind === 'failed' && (verdict.code === 'NODE_LOST' || verdict.code === 'NODE_SHUTDOWN');
  return isNodeLeaving ? READ_PERIOD_MS.leaving : READ_PERIOD_MS.ended;
}

/**
 * Returns where a failed read is final: the API server refused it (a 4xx that a repetition does not cure), or it has failed for `periodMs`.
 * @throws UnreadError where it is repeated
 */
export function repeatRead({ state, now }: StepContext<unknown>, error: unknown, periodMs: number): void {
  const { unreadSince, logGaps } = state;
  // The API server may refuse credentials that have expired and will be renewed.
  const mayPass = error instanceof KubernetesError && (error.transient || error.fault === 'unauthorized');
  if (mayPass && isReadRepeated(unreadSince, now(), periodMs))
    throw new UnreadError(error, { since: unreadSince ?? now(), logGaps });
}
