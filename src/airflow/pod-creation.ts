/** The creation step of a sync: a batch of tasks gets pods, or is put back, or fails. @see spec executor §3.3, §3.7 */
import type { LaunchOutcome } from './airflow-kubernetes-scheduler.ts';
import { decidePublish, publishFailure } from '../operator/publish-decision.ts';
import type { KubernetesJob } from './records.ts';
import type { ExecutorParts } from './task-registry.ts';
import { keyText } from './task-key.ts';

/**
 * Creates up to a batch of pods, `concurrency` at a time; whatever goes wrong with one is its own event. Gives the seconds for which nothing is to be
 * created, where the server asked for some.
 */
export async function createPods(parts: ExecutorParts, concurrency: number): Promise<number | undefined> {
  const { registry, scheduler, kubeConfig } = parts;
  const jobs: KubernetesJob[] = [];
  let pauseSeconds: number | undefined;
  const extendPause = (seconds: number | undefined): void => {
    if (seconds !== undefined) pauseSeconds = Math.max(pauseSeconds ?? 0, seconds);
  };
  while (jobs.length < kubeConfig.workerPodsCreationBatchSize) {
    const job = registry.taskQueue.tryGet();
    if (job === undefined) break;
    try {
      if (!(await isStillCurrent(parts, job))) continue;
      const named = scheduler.named(job);
      registry.launched.set(keyText(job.key), { podName: named.podName ?? '', namespace: kubeConfig.kubeNamespace });
      jobs.push(named);
    } catch (error) {
      extendPause(requeueOrFail(parts, job, error));
    } finally {
      registry.taskQueue.done();
    }
  }
  for (const outcome of await scheduler.runNextBatch(jobs, concurrency)) extendPause(await afterLaunch(parts, outcome));
  return pauseSeconds;
}

async function isStillCurrent(
  { tasks, registry, store, owner, log }: ExecutorParts,
  job: KubernetesJob,
): Promise<boolean> {
  // Taken back or answered while it waited.
  if (!tasks.running.has(keyText(job.key))) return false;
  if ((await store.isCurrent?.(job)) ?? true) return true;
  log?.info({ task: job.key }, 'a task does not want its pod any more');
  tasks.running.delete(keyText(job.key));
  registry.forget(job.key);
  const said = tasks.eventOf(job.key);
  if (said?.state === 'queued' && said.info === owner) tasks.dropEvent(job.key);
  return false;
}

async function afterLaunch(
  parts: ExecutorParts,
  { job, pod, error, untried }: LaunchOutcome,
): Promise<number | undefined> {
  const { registry, tasks, scheduler, log } = parts;
  const id = keyText(job.key);
  if (untried === true) {
    registry.taskQueue.put(job);
    return undefined;
  }
  if (pod === undefined) return requeueOrFail(parts, job, error);
  if (!tasks.running.has(id)) {
    // Taken back while it was made: nobody waits for this pod, and whoever took the task back has not seen it.
    const made = { podName: pod.name, namespace: pod.namespace, podUid: pod.uid };
    registry.launched.accounted(made);
    try {
      await scheduler.patchPodRevoked(made);
      await scheduler.deletePod(made.podName, made.namespace, made.podUid);
    } catch (refused) {
      log?.error({ pod: pod.name, err: refused }, 'the pod of a task that was taken back is still there');
    }
    return undefined;
  }
  registry.publishRetries.delete(id);
  registry.launched.set(id, { podName: pod.name, namespace: pod.namespace, podUid: pod.uid });
  return undefined;
}

function requeueOrFail(
  { tasks, registry, kubeConfig, log }: ExecutorParts,
  job: KubernetesJob,
  error: unknown,
): number | undefined {
  const id = keyText(job.key);
  const decision = decidePublish(publishFailure(error), {
    retries: registry.publishRetries.get(id) ?? 0,
    maxRetries: kubeConfig.taskPublishMaxRetries,
  });
  switch (decision.kind) {
    case 'fail':
      tasks.fail(job.key, error instanceof Error ? error.message : String(error), error);
      registry.forget(job.key);
      return undefined;
    case 'requeue':
      log?.warn({ task: job.key, retries: decision.retries, err: error }, 'the creation of a pod is put off');
      registry.publishRetries.set(id, decision.retries);
      registry.taskQueue.put(job);
      return decision.createAfterSeconds;
  }
}
