/**
 * What happens to a pod when its attempt is over.
 * @see airflow.providers.cncf.kubernetes.utils.pod_manager OnFinishAction
 */
import type { PodPhase } from './projection.ts';

/** What happens to the pod when its attempt is over. */
export const OnFinishAction = {
  KEEP_POD: 'keep_pod',
  DELETE_POD: 'delete_pod',
  DELETE_SUCCEEDED_POD: 'delete_succeeded_pod',
  DELETE_ACTIVE_POD: 'delete_active_pod',
} as const;
export type OnFinishAction = (typeof OnFinishAction)[keyof typeof OnFinishAction];

/** What happens to the pod of a run that was cancelled or exceeded its execution time-out. */
export const OnKillAction = { DELETE_POD: 'delete_pod', KEEP_POD: 'keep_pod' } as const;
export type OnKillAction = (typeof OnKillAction)[keyof typeof OnKillAction];

/**
 * Whether the action deletes the pod. `baseSucceeded`: the base container exited with 0, whatever sidecars did. An unknown phase counts as
 * ended.
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

/** What happens to the ended pod of a command. `keep`: neither deleted nor marked, for inspection. */
export type CommandPodAction = 'delete' | 'markDone' | 'keep';

/** What the deletion options require for the ended pod of a command. A failed pod is kept unless `deleteWorkerPodsOnFailure`. */
export function commandPodAction(
  failed: boolean,
  options: { readonly deleteWorkerPods: boolean; readonly deleteWorkerPodsOnFailure: boolean },
): CommandPodAction {
  if (!options.deleteWorkerPods) return 'markDone';
  return failed && !options.deleteWorkerPodsOnFailure ? 'keep' : 'delete';
}
