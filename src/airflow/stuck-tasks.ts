/** Tasks that do not get going: revoked on demand or because their pod stays pending, and queued tasks without a pod. */
import type { TaskKey } from '../core/pod/executor-labels.ts';
import type { PodProjection } from '../core/pod/projection.ts';
import { keyOfPod, listWatchedPods, type Adopter } from './adoption.ts';
import type { KnownPod } from './launched-pods.ts';
import { buildSelectorForK8sExecutorPod, ownedPodsSelector } from './pod-selectors.ts';
import type { TaskInstance } from './records.ts';
import { keyText } from './task-key.ts';
import { adopterOf, type ExecutorParts } from './task-registry.ts';

/** Revokes a task: frees its slot, removes its job from the queue and deletes its pod without reporting it. @throws KubernetesError */
export async function revokeTask(parts: ExecutorParts, key: TaskKey): Promise<void> {
  const { tasks, registry, scheduler, log } = parts;
  const id = keyText(key);
  const launched = registry.launched.get(id);
  tasks.running.delete(id);
  registry.taskQueue.remove((job) => keyText(job.key) === id);
  registry.forget(key);
  const pod = launched ?? (await podOf(parts, key));
  if (pod === undefined) {
    log?.warn({ task: key }, 'the revoked task has no pod');
    return;
  }
  registry.launched.accounted(pod);
  // The label first, so that no watcher takes the deletion for a failure.
  await scheduler.patchPodRevoked(pod);
  await scheduler.deletePod(pod.podName, pod.namespace, pod.podUid);
  registry.launched.disposed(pod);
}

/** The pod of exactly this try. */
async function podOf(parts: ExecutorParts, key: TaskKey): Promise<KnownPod | undefined> {
  const selector = buildSelectorForK8sExecutorPod({ ...key, owner: parts.owner });
  const pods = await listWatchedPods(adopterOf(parts), selector);
  const pod = pods.find((one) => keyText(keyOfPod(one) ?? key) === keyText(key));
  return pod === undefined ? undefined : { podName: pod.name, namespace: pod.namespace, podUid: pod.uid };
}

/** Revokes tasks whose pod has been pending for longer than `task_queued_timeout` and queues them again; fails them after `num_stuck_in_queued_retries`. */
export async function revokeStuckTasks(parts: ExecutorParts): Promise<void> {
  const { tasks, registry, scheduler, kubeConfig } = parts;
  const timeoutMs = kubeConfig.taskQueuedTimeoutSeconds * 1000;
  const pods = new Map([...scheduler.kubeWatchers.values()].flatMap((watcher) => [...watcher.pods]));
  for (const [id, launched] of registry.launched.olderThan(timeoutMs)) {
    const attempt = registry.attempts.get(id);
    if (attempt === undefined || pods.get(launched.podUid)?.phase !== 'Pending') continue;
    const times = registry.stuckRevocations.get(id) ?? 0;
    const { key } = attempt.job;
    await revokeTask(parts, key);
    if (times >= kubeConfig.numStuckInQueuedRetries) {
      tasks.fail(key, `the pod was pending for longer than ${timeoutMs} ms, ${times + 1} times`);
      continue;
    }
    tasks.running.set(id, key);
    registry.attempts.set(id, { ...attempt, requeuedForPod: undefined });
    registry.stuckRevocations.set(id, times + 1);
    registry.taskQueue.put(attempt.job);
  }
}

/** Deletes own pods that have been pending for longer than `worker_pods_pending_timeout` and fails their tasks. Returns the pods' names. */
export async function deletePending(parts: ExecutorParts, nowMs: number): Promise<readonly string[]> {
  const { kubeConfig, tasks, scheduler, registry } = parts;
  const timeoutMs = kubeConfig.workerPodsPendingTimeoutSeconds * 1000;
  const limit = kubeConfig.workerPodsPendingTimeoutBatchSize;
  const pods = await pendingTooLong(adopterOf(parts), { nowMs, timeoutMs, limit });
  for (const pod of pods) {
    await scheduler.deletePod(pod.name, pod.namespace, pod.uid);
    const key = keyOfPod(pod);
    if (key === undefined || !tasks.running.has(keyText(key))) continue;
    registry.forget(key);
    tasks.fail(key, `the pod was pending for longer than ${timeoutMs} ms`);
  }
  return pods.map(({ name }) => name);
}

/** A task regardless of its try. */
const untried = (key: TaskKey): string => keyText({ ...key, tryNumber: 0 });

/** Whether a pod that names no run, as old releases of Airflow made them, may belong to the task. */
const isDated = (pod: PodProjection, key: TaskKey): boolean => {
  const found = keyOfPod(pod);
  return found?.runId === null && untried({ ...found, runId: key.runId }) === untried(key);
};

/**
 * The tasks that have no pod. One list request per owner, whatever the number of tasks.
 * @param skip tasks that need no check
 */
export async function withoutPod(
  adopter: Adopter,
  tasks: readonly TaskInstance[],
  skip: (task: TaskInstance) => boolean,
): Promise<readonly TaskInstance[]> {
  const wanted = tasks.filter((task) => !skip(task));
  const missing: TaskInstance[] = [];
  for (const owner of new Set(wanted.map(({ queuedByJobId }) => queuedByJobId ?? adopter.owner))) {
    const pods = await listWatchedPods(adopter, ownedPodsSelector(owner));
    const keys = new Set(pods.flatMap((pod) => keyOfPod(pod) ?? []).map(untried));
    for (const task of wanted) {
      if ((task.queuedByJobId ?? adopter.owner) !== owner || keys.has(untried(task.key))) continue;
      if (!pods.some((pod) => isDated(pod, task.key))) missing.push(task);
    }
  }
  return missing;
}

/** Own pods that have been pending for longer than `timeoutMs`, oldest first, at most `limit`. */
export async function pendingTooLong(
  adopter: Adopter,
  { nowMs, timeoutMs, limit }: { readonly nowMs: number; readonly timeoutMs: number; readonly limit: number },
): Promise<readonly PodProjection[]> {
  const pods = await listWatchedPods(adopter, ownedPodsSelector(adopter.owner));
  return pods
    .filter(
      ({ phase, deletedAt, createdAt }) =>
        phase === 'Pending' && deletedAt === undefined && nowMs - createdAt > timeoutMs,
    )
    .sort((one, other) => one.createdAt - other.createdAt)
    .slice(0, limit);
}
