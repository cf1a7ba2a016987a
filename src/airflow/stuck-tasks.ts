/** Tasks that are taken back: on demand, or because their pod stays pending. @see spec executor §6.4, §6.5 */
import { keyOfPod, listPods } from './adoption.ts';
import type { KnownPod } from './launched-pods.ts';
import { buildSelectorForK8sExecutorPod } from './pod-selectors.ts';
import { adopterOf, type ExecutorParts } from './task-book.ts';
import { keyText } from './task-key.ts';
import type { TaskKey } from '../core/pod/executor-labels.ts';
import { pendingTooLong } from './queued-tasks.ts';

/** Takes a task back: its slot is free, its job is gone from the queue, and its pod goes without its end meaning anything. @throws KubernetesError */
export async function takeBack(parts: ExecutorParts, key: TaskKey): Promise<void> {
  const { tasks, book, scheduler, log } = parts;
  const id = keyText(key);
  const launched = book.launched.get(id);
  tasks.running.delete(id);
  book.taskQueue.remove((job) => keyText(job.key) === id);
  book.forget(key);
  const pod = launched ?? (await podOf(parts, key));
  if (pod === undefined) {
    log?.warn({ task: key }, 'a task that is taken back has no pod');
    return;
  }
  book.launched.accounted(pod);
  // The mark first: then nobody takes the deletion for a failure.
  await scheduler.patchPodRevoked(pod);
  await scheduler.deletePod(pod.podName, pod.namespace, pod.podUid);
  book.launched.disposed(pod);
}

/** The pod of exactly this try. */
async function podOf(parts: ExecutorParts, key: TaskKey): Promise<KnownPod | undefined> {
  const selector = buildSelectorForK8sExecutorPod({ ...key, owner: parts.owner });
  const pods = await listPods(adopterOf(parts), selector);
  const pod = pods.find((one) => keyText(keyOfPod(one) ?? key) === keyText(key));
  return pod === undefined ? undefined : { podName: pod.name, namespace: pod.namespace, podUid: pod.uid };
}

/** Takes back tasks whose pod has been pending for longer than `task_queued_timeout`, and queues them again, or fails them after the configured number of times. */
export async function takeBackStuck(parts: ExecutorParts): Promise<void> {
  const { tasks, book, scheduler, kubeConfig } = parts;
  const timeoutMs = kubeConfig.taskQueuedTimeoutSeconds * 1000;
  const pods = new Map([...scheduler.kubeWatchers.values()].flatMap((watcher) => [...watcher.pods]));
  for (const [id, launched] of book.launched.olderThan(timeoutMs)) {
    const attempt = book.attempts.get(id);
    if (attempt === undefined || pods.get(launched.podUid)?.phase !== 'Pending') continue;
    const times = book.takenBack.get(id) ?? 0;
    const { key } = attempt.job;
    await takeBack(parts, key);
    if (times >= kubeConfig.numStuckInQueuedRetries) {
      tasks.fail(key, `its pod was pending for longer than ${timeoutMs} ms, ${times + 1} times`);
      continue;
    }
    tasks.running.set(id, key);
    book.attempts.set(id, { ...attempt, requeuedForPod: undefined });
    book.takenBack.set(id, times + 1);
    book.taskQueue.put(attempt.job);
  }
}

/** Deletes own pods that have been pending for longer than `worker_pods_pending_timeout`, and fails their tasks. Gives the pods' names. */
export async function deletePending(parts: ExecutorParts, nowMs: number): Promise<readonly string[]> {
  const { kubeConfig, tasks, scheduler, book } = parts;
  const timeoutMs = kubeConfig.workerPodsPendingTimeoutSeconds * 1000;
  const limit = kubeConfig.workerPodsPendingTimeoutBatchSize;
  const pods = await pendingTooLong(adopterOf(parts), { nowMs, timeoutMs, limit });
  for (const pod of pods) {
    await scheduler.deletePod(pod.name, pod.namespace, pod.uid);
    const key = keyOfPod(pod);
    if (key === undefined || !tasks.running.has(keyText(key))) continue;
    book.forget(key);
    tasks.fail(key, `its pod was pending for longer than ${timeoutMs} ms`);
  }
  return pods.map(({ name }) => name);
}
