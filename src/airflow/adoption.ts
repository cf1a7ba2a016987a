/** Adoption of pods whose scheduler is gone: running pods continue under this one, finished pods are reported. */
import type { TaskKey } from '../core/pod/executor-labels.ts';
import type { PodProjection } from '../core/pod/projection.ts';
import type { Log } from '../ports/ambient.ts';
import type { Cluster } from '../ports/cluster.ts';
import type { KubeConfig } from './kube-config.ts';
import { adoptablePodsSelector, orphanedPodsSelector } from './pod-selectors.ts';
import type { PodWrites } from './pod-writes.ts';
import type { TaskInstance } from './records.ts';
import { annotationsToKey, keyText } from './task-key.ts';

/** What adoption needs: the cluster to search, the new owner's id and the writes that relabel a pod. */
export interface Adopter {
  readonly cluster: Cluster;
  readonly kubeConfig: Pick<KubeConfig, 'namespaces'>;
  readonly owner: string;
  readonly writes: PodWrites;
  readonly log: Log | undefined;
}

/** Lists the pods that match `selector` in every watched namespace. */
export async function listWatchedPods(
  { cluster, kubeConfig }: Pick<Adopter, 'cluster' | 'kubeConfig'>,
  selector: string,
) {
  const lists = await Promise.all(kubeConfig.namespaces.map((namespace) => cluster.listPods(namespace, selector)));
  return lists.flat();
}

/** The task that a pod's annotations name; `undefined` when they name none. */
export function keyOfPod(pod: PodProjection): TaskKey | undefined {
  return annotationsToKey(pod.executor?.annotations ?? {});
}

const named = (pod: PodProjection) => ({ podName: pod.name, namespace: pod.namespace, podUid: pod.uid });

/**
 * Relabels a pod to this owner if it belongs to one of `podIds`, and removes that task from `podIds`. Returns the task, or `undefined` when the pod
 * was not adopted. Pods of other tasks are left alone, so that two schedulers do not fight over them.
 */
export async function adoptLaunchedTask(
  { writes, owner, log }: Adopter,
  pod: PodProjection,
  podIds: Map<string, TaskInstance>,
): Promise<TaskKey | undefined> {
  const key = keyOfPod(pod);
  if (key === undefined || !podIds.has(keyText(key))) {
    log?.error({ pod: pod.name, namespace: pod.namespace }, 'pod not adopted: it belongs to none of the given tasks');
    return undefined;
  }
  if (!(await writes.adopt(named(pod), owner))) return undefined;
  podIds.delete(keyText(key));
  log?.info({ pod: pod.name, task: key }, 'pod adopted');
  return key;
}

/** Adopts the pods that earlier owners launched for `podIds`, ended or not; the watch reports their end afterwards. One list request per owner. */
export async function adoptLaunchedTasks(
  adopter: Adopter,
  owners: readonly string[],
  podIds: Map<string, TaskInstance>,
): Promise<readonly { readonly key: TaskKey; readonly pod: PodProjection }[]> {
  const adopted: { key: TaskKey; pod: PodProjection }[] = [];
  for (const owner of new Set(owners)) {
    for (const pod of await listWatchedPods(adopter, adoptablePodsSelector(owner))) {
      // Finished pods of tasks outside `podIds` are left to `adoptCompletedPods`.
      if (pod.phase === 'Succeeded' && !podIds.has(keyText(keyOfPod(pod) ?? NO_TASK))) continue;
      const key = await adoptLaunchedTask(adopter, pod, podIds);
      if (key !== undefined) adopted.push({ key, pod });
    }
  }
  return adopted;
}

const NO_TASK: TaskKey = { dagId: '', taskId: '', runId: null, tryNumber: 0, mapIndex: -1 };

/** Adopts the finished pods of schedulers that are gone. `siblings`: ids of live schedulers. Pods that could not be relabelled are tried again next time. */
export async function adoptCompletedPods(
  adopter: Adopter,
  siblings: readonly string[],
): Promise<readonly PodProjection[]> {
  const selector = orphanedPodsSelector([adopter.owner, ...siblings]);
  const adopted: PodProjection[] = [];
  for (const pod of await listWatchedPods(adopter, selector)) {
    if (pod.phase !== 'Succeeded') continue;
    if (await adopter.writes.adopt(named(pod), adopter.owner)) adopted.push(pod);
  }
  return adopted;
}
