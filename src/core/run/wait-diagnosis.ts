/** Why a waiting run still waits, from its pod as it is now. */
import type { Diagnosis } from '../../wire/outcome.ts';
import { diagnosisOf } from './diagnosis.ts';
import { pullThrottled } from '../pod/judge.ts';
import type { PodProjection } from '../pod/projection.ts';

/** A pod that still exists this many milliseconds after its grace period counts as stuck. */
export const STUCK_AFTER_MS = 5 * 60_000;

/**
 * The "why" of a wait for this pod; `undefined`: nothing is wrong, it runs or starts. `deletedAt` is Kubernetes'
 * `deletionTimestamp`, which the grace period is part of already. `now`: epoch milliseconds.
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
