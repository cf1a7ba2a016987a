/** What becomes of a pod when its attempt is decided. @see spec pod-operator §0.4, §7.3 */
import type { PodPhase } from './projection.ts';

/** What is done with the pod when its attempt is over. */
export const OnFinishAction = {
  KEEP_POD: 'keep_pod',
  DELETE_POD: 'delete_pod',
  DELETE_SUCCEEDED_POD: 'delete_succeeded_pod',
  DELETE_ACTIVE_POD: 'delete_active_pod',
} as const;
export type OnFinishAction = (typeof OnFinishAction)[keyof typeof OnFinishAction];

/** What is done with the pod of a run that is cancelled or has run into its execution time-out. */
export const OnKillAction = { DELETE_POD: 'delete_pod', KEEP_POD: 'keep_pod' } as const;
export type OnKillAction = (typeof OnKillAction)[keyof typeof OnKillAction];

/**
 * Whether the action deletes the pod. `baseSucceeded`: the base container exited with 0, whatever sidecars do.
 * A phase that is not known counts as ended.
 */
export function deletesPod(
  action: OnFinishAction | OnKillAction,
  pod: { readonly phase?: PodPhase | undefined; readonly baseSucceeded: boolean },
): boolean {
  switch (action) {
    case 'delete_pod':
      return true;
    case 'keep_pod':
      return false;
    case 'delete_succeeded_pod':
      return pod.phase === 'Succeeded' || pod.baseSucceeded;
    case 'delete_active_pod':
      return pod.phase === 'Running' || pod.phase === 'Pending';
  }
}

/** What is done with the ended pod of a command; `keep`: neither deleted nor marked, so that people can look at it. */
export type CommandPodAction = 'delete' | 'markDone' | 'keep';

/** What the deletion options demand for the ended pod of a command. A failed pod is kept unless `deleteWorkerPodsOnFailure`. */
export function commandPodAction(
  failed: boolean,
  options: { readonly deleteWorkerPods: boolean; readonly deleteWorkerPodsOnFailure: boolean },
): CommandPodAction {
  if (!options.deleteWorkerPods) return 'markDone';
  return failed && !options.deleteWorkerPodsOnFailure ? 'keep' : 'delete';
}
