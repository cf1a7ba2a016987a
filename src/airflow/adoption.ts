/** Pods that outlived their owner: launched ones go on under a new one, finished ones are accounted for. @see spec executor §6.1–§6.3 */
import type { PodProjection } from '../core/pod/projection.ts';
import type { Log } from '../ports/ambient.ts';
import type { Cluster } from '../ports/cluster.ts';
import type { KubeConfig } from './kube-config.ts';
import { adoptablePodsSelector, orphanedPodsSelector } from './pod-selectors.ts';
import type { PodWrites } from './pod-writes.ts';
import { annotationsToKey, keyText } from './task-key.ts';
import type { TaskKey } from '../core/pod/executor-labels.ts';
import type { TaskInstance } from './records.ts';

/** Who adopts, and how. */
export interface Adopter {
  readonly cluster: Cluster;
  readonly kubeConfig: Pick<KubeConfig, 'namespaces'>;
  readonly owner: string;
  readonly writes: PodWrites;
  readonly log: Log | undefined;
}

/** Every watched pod that a selector fits. */
export async function listWatchedPods(
  { cluster, kubeConfig }: Pick<Adopter, 'cluster' | 'kubeConfig'>,
  selector: string,
) {
  const lists = await Promise.all(kubeConfig.namespaces.map((namespace) => cluster.listPods(namespace, selector)));
  return lists.flat();
}

/** The task a pod names. */
export function keyOfPod(pod: PodProjection): TaskKey | undefined {
  return annotationsToKey(pod.executor?.annotations ?? {});
}

const named = (pod: PodProjection) => ({ podName: pod.name, namespace: pod.namespace, podUid: pod.uid });

/**
 * Makes a launched pod this owner's, if it stands for one of `podIds`; takes that task out of them. Gives the task, `undefined` where the pod was not
 * adopted. A pod of any other task is not touched: two owners must not fight for it.
 */
export async function adoptLaunchedTask(
  { writes, owner, log }: Adopter,
  pod: PodProjection,
  podIds: Map<string, TaskInstance>,
): Promise<TaskKey | undefined> {
  const key = keyOfPod(pod);
  if (key === undefined || !podIds.has(keyText(key))) {
    log?.error({ pod: pod.name, namespace: pod.namespace }, 'a pod of none of these tasks is not adopted');
    return undefined;
  }
  if (!(await writes.adopt(named(pod), owner))) return undefined;
  podIds.delete(keyText(key));
  log?.info({ pod: pod.name, task: key }, 'a pod was adopted');
  return key;
}

/** Adopts the pods that earlier owners launched for `podIds`, ended or not: their end is heard once they are ours. One list per owner. */
export async function adoptLaunchedTasks(
  adopter: Adopter,
  owners: readonly string[],
  podIds: Map<string, TaskInstance>,
): Promise<readonly { readonly key: TaskKey; readonly pod: PodProjection }[]> {
  const adopted: { key: TaskKey; pod: PodProjection }[] = [];
  for (const owner of new Set(owners)) {
    for (const pod of await listWatchedPods(adopter, adoptablePodsSelector(owner))) {
      // A finished pod of a task that nobody asks for is `adoptCompletedPods`' matter.
      if (pod.phase === 'Succeeded' && !podIds.has(keyText(keyOfPod(pod) ?? NO_TASK))) continue;
      const key = await adoptLaunchedTask(adopter, pod, podIds);
      if (key !== undefined) adopted.push({ key, pod });
    }
  }
  return adopted;
}

const NO_TASK: TaskKey = { dagId: '', taskId: '', runId: null, tryNumber: 0, mapIndex: -1 };

/** Takes over the finished pods of owners that are neither this one nor alive; those that could not be are left for the next time. */
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
