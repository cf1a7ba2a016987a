/** The creation step of a sync: each task of a batch gets a pod, is requeued, or fails. */
import { messageOf } from '../errors.ts';
import { creationFailure, creationRetry } from '../operator/creation-failure.ts';
import type { LaunchOutcome } from './airflow-kubernetes-scheduler.ts';
import type { KubernetesJob } from './records.ts';
import { keyText } from './task-key.ts';
import type { ExecutorParts } from './task-registry.ts';

/**
 * Creates up to a batch of pods, `concurrency` at a time; a failure affects only its own task. Returns the seconds for which the API server asked to
 * pause creations, if it did.
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
  // Revoked or finished while it waited.
  if (!tasks.running.has(keyText(job.key))) return false;
  if ((await store.isCurrent?.(job)) ?? true) return true;
  log?.info({ task: job.key }, 'task skipped: it no longer needs a pod');
  tasks.running.delete(keyText(job.key));
  registry.forget(job.key);
  const event = tasks.eventOf(job.key);
  if (event?.state === 'queued' && event.info === owner) tasks.dropEvent(job.key);
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
    // Revoked while its pod was being created; the revocation did not see this pod.
    const made = { podName: pod.name, namespace: pod.namespace, podUid: pod.uid };
    registry.launched.accounted(made);
    try {
      await scheduler.patchPodRevoked(made);
      await scheduler.deletePod(made.podName, made.namespace, made.podUid);
    } catch (refused) {
      log?.error({ pod: pod.name, err: refused }, 'deleting the pod of a revoked task failed');
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
  const decision = creationRetry(creationFailure(error), {
    retries: registry.publishRetries.get(id) ?? 0,
    maxRetries: kubeConfig.taskPublishMaxRetries,
  });
  switch (decision.kind) {
    case 'fail':
      tasks.fail(job.key, messageOf(error), error);
      registry.forget(job.key);
      return undefined;
    case 'requeue':
      log?.warn(
        { task: job.key, retries: decision.retries, err: error },
        'creating a pod failed; the task is requeued',
      );
      registry.publishRetries.set(id, decision.retries);
      registry.taskQueue.put(job);
      return decision.createAfterSeconds;
  }
}
