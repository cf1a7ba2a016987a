/** What becomes of a pod that has ended, and whether its task gets another one. Pure. @see spec executor §5.3 */
import { type CommandPodAction, commandPodAction } from '../core/pod/finish-action.ts';
import { ADOPTED, type FailureDetails, type PodLaunchAttempt, type ResultState, type TaskState } from './records.ts';

/** What the options demand for the pod of a result. `leave`: it has not ended, or belongs to another scheduler. */
export function podActionFor(
  state: ResultState,
  options: { readonly deleteWorkerPods: boolean; readonly deleteWorkerPodsOnFailure: boolean },
): CommandPodAction | 'leave' {
  return state === ADOPTED || state === 'running' ? 'leave' : commandPodAction(state === 'failed', options);
}

/** `requeue`: the task never began, so it gets another pod and no retry is spent. `duplicate`: that was done for this pod already. */
export type LaunchDecision = 'requeue' | 'duplicate' | 'end';

/** Options of launching again. */
export interface LaunchRetryOptions {
  /** 0: never; −1: without limit. */
  readonly maxRetries: number;
  /** Reasons of containers whose end is the task's own. */
  readonly excludedContainerReasons: readonly string[];
}

/** Whether `decideLaunch` needs to know what the task itself says: asking may cost a query. */
export function asksTaskState(
  state: ResultState,
  attempt: PodLaunchAttempt | undefined,
  { maxRetries }: LaunchRetryOptions,
): boolean {
  return state === 'failed' && attempt !== undefined && maxRetries !== 0;
}

/** `taskState`: what the task says of itself; `queued` means that it never began. */
export function decideLaunch(
  result: {
    readonly state: ResultState;
    readonly podName: string;
    readonly failureDetails?: FailureDetails | undefined;
  },
  attempt: PodLaunchAttempt | undefined,
  taskState: TaskState | null | undefined,
  options: LaunchRetryOptions,
): LaunchDecision {
  if (attempt === undefined || !asksTaskState(result.state, attempt, options)) return 'end';
  const reason = result.failureDetails?.containerReason;
  if (taskState !== 'queued' || (reason !== undefined && options.excludedContainerReasons.includes(reason)))
    return 'end';
  if (attempt.requeuedForPod === result.podName) return 'duplicate';
  return options.maxRetries === -1 || attempt.attempts < options.maxRetries ? 'requeue' : 'end';
}
