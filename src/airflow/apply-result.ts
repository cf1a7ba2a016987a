/** What a pod's result does: records the task's event, launches another pod, or nothing. */
import { type CommandPodAction, commandPodAction } from '../core/pod/finish-action.ts';
import { POD_VANISHED } from './kubernetes-job-watcher.ts';
import {
  ADOPTED,
  type KubernetesResults,
  type FailureDetails,
  type PodLaunchAttempt,
  type ResultState,
  type TaskState,
} from './records.ts';
import { keyText } from './task-key.ts';
import type { ExecutorParts } from './task-registry.ts';
import { failureText } from './watch-decision.ts';

/** A launched pod that the watch has not shown for this long is looked up by name. */
const UNSEEN_MS = 30_000;

/** Applies one result. Safe to repeat, also after a failure halfway. @throws KubernetesError when the pod could not be deleted */
export async function applyResult(parts: ExecutorParts, result: KubernetesResults): Promise<void> {
  const { tasks, registry, store, log } = parts;
  const { key, state, failureDetails } = result;
  const id = keyText(key);
  if (registry.launched.isAccounted(result)) return;
  if (failureDetails !== undefined) log?.warn({ task: key, pod: result.podName, failureDetails }, 'a task pod failed');
  const superseded = isSuperseded(parts, result);
  if (state === ADOPTED) {
    if (superseded || registry.launched.isDisposed(result)) return;
    registry.forget(key);
    tasks.running.delete(id);
    return;
  }
  if (state === 'running') {
    if (!superseded) tasks.recordEvent(key, { state, info: undefined }, true);
    return;
  }
  await dispose(parts, result, superseded);
  if (superseded || (await launchAgain(parts, result)) || !tasks.running.has(id)) return;
  // Before anything is forgotten: when the task store fails, the result is applied again later.
  const taskState = state ?? (store.state === undefined ? 'success' : await store.state(key));
  registry.forget(key);
  registry.launched.accounted(result);
  const info = failureDetails === undefined ? undefined : failureText(failureDetails);
  tasks.recordEvent(key, { state: taskState, info, ...(failureDetails === undefined ? {} : { failureDetails }) });
}

/** Whether the result belongs to an earlier pod of the same try; it does not concern the pod that replaced it. */
function isSuperseded({ tasks, registry }: ExecutorParts, result: KubernetesResults): boolean {
  const id = keyText(result.key);
  if (!tasks.running.has(id)) return false;
  if (registry.launched.has(id)) return registry.launched.isAnother(id, result);
  const attempt = registry.attempts.get(id);
  return attempt !== undefined && attempt.requeuedForPod !== result.podName;
}

async function dispose(
  { registry, scheduler, kubeConfig }: ExecutorParts,
  result: KubernetesResults,
  superseded: boolean,
) {
  if (registry.launched.isDisposed(result)) return;
  const { podName, namespace, podUid } = result;
  const action = podActionFor(result.state, kubeConfig);
  // Failed pods are kept for inspection, unless they may still start.
  const goes = action === 'delete' || (action === 'keep' && result.mayStillStart === true);
  if (goes) await scheduler.deletePod(podName, namespace, podUid);
  else if (action === 'markDone' || (action === 'keep' && superseded)) await scheduler.patchPodExecutorDone(result);
  else return;
  registry.launched.disposed(result);
}

/** Whether the task gets another pod, or already got one for this result. */
async function launchAgain(
  { registry, store, kubeConfig, log }: ExecutorParts,
  result: KubernetesResults,
): Promise<boolean> {
  const id = keyText(result.key);
  const attempt = registry.attempts.get(id);
  const options = {
    maxRetries: kubeConfig.podLaunchFailureRetries,
    excludedContainerReasons: kubeConfig.podLaunchFailureExcludedContainerReasons,
  };
  if (attempt === undefined || !asksTaskState(result.state, attempt, options)) return false;
  // Without a task store, a task whose container never ran counts as queued.
  const unbegun = result.began === false ? 'queued' : null;
  const taskState = store.state === undefined ? unbegun : await store.state(result.key);
  const decision = decideLaunch(result, attempt, taskState, options);
  if (decision === 'requeue') {
    registry.attempts.set(id, { ...attempt, attempts: attempt.attempts + 1, requeuedForPod: result.podName });
    registry.launched.delete(id);
    registry.taskQueue.put(attempt.job);
    log?.warn({ task: result.key, pod: result.podName }, 'the pod died before the task began; launching another');
  }
  return decision !== 'end';
}

/** Queues a failed result for each running task whose pod no longer exists and whose end was never observed, so that its slot is freed. */
export async function reportVanishedPods({ tasks, registry, scheduler, cluster }: ExecutorParts): Promise<void> {
  const seen = new Set([...scheduler.kubeWatchers.values()].flatMap(({ pods }) => [...pods.keys()]));
  for (const [id, pod] of registry.launched.olderThan(UNSEEN_MS)) {
    const key = tasks.running.get(id);
    if (key === undefined || seen.has(pod.podUid)) continue;
    const present = await cluster.getPod(pod.namespace, pod.podName);
    if (present !== undefined && cluster.project(present).uid === pod.podUid) continue;
    registry.resultQueue.put({
      ...pod,
      key,
      state: 'failed',
      resourceVersion: '',
      failureDetails: { podReason: POD_VANISHED, podMessage: 'the pod is gone and its end was not observed' },
    });
  }
}

/** What the options require for the pod of a result. `leave`: it has not ended, or belongs to another scheduler. */
export function podActionFor(
  state: ResultState,
  options: { readonly deleteWorkerPods: boolean; readonly deleteWorkerPodsOnFailure: boolean },
): CommandPodAction | 'leave' {
  return state === ADOPTED || state === 'running' ? 'leave' : commandPodAction(state === 'failed', options);
}

/** `requeue`: the task never began, so it gets another pod and no retry is spent. `duplicate`: this pod already caused a new launch. */
export type LaunchDecision = 'requeue' | 'duplicate' | 'end';

/** Options of `decideLaunch`. */
export interface LaunchRetryOptions {
  /** 0: never; −1: unlimited. */
  readonly maxRetries: number;
  /** Reasons of container ends that count as the task's own failure. */
  readonly excludedContainerReasons: readonly string[];
}

/** Whether `decideLaunch` needs the task's state, which may cost a query. */
export function asksTaskState(
  state: ResultState,
  attempt: PodLaunchAttempt | undefined,
  { maxRetries }: LaunchRetryOptions,
): boolean {
  return state === 'failed' && attempt !== undefined && maxRetries !== 0;
}

/** Whether the task gets another pod. `taskState`: its state in the task store; `queued` means that it never began. */
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
