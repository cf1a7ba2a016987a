/** Why a waiting run still waits, from the current state of its pod. Pure; the caller reads the pod. */
import type { Diagnosis } from '../../wire/outcome.ts';
import { diagnosisOf } from './diagnosis.ts';
import { pullThrottled } from '../pod/judge.ts';
import type { PodProjection } from '../pod/projection.ts';

/** How long after its grace period a pod that still exists counts as stuck, in milliseconds. */
export const STUCK_AFTER_MS = 5 * 60_000;

/**
 * The diagnosis of a wait for this pod; `undefined` when the pod runs or is starting normally. Kubernetes' `deletionTimestamp` includes the
 * grace period. `now`: epoch milliseconds.
 */
export function diagnoseWait(pod: PodProjection, now: number): Diagnosis | undefined {
  if (pod.deletedAt !== undefined)
    return now > pod.deletedAt + STUCK_AFTER_MS ? diagnosisOf('POD_STUCK_TERMINATING', { pod }) : undefined;
  if (pod.gates !== undefined) return diagnosisOf('SCHEDULING_GATED', { pod });
  if (pod.node === undefined && pod.unschedulable !== undefined) return diagnosisOf('UNSCHEDULABLE', { pod });
  if (pullThrottled(pod)) {
    const container = pod.containers.find(({ state, reason }) => state === 'waiting' && reason !== undefined);
    return diagnosisOf('IMAGE_PULL_THROTTLED', { pod, container });
  }
  return undefined;
}
