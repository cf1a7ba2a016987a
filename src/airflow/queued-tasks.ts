/** Queued tasks without a pod, and pods that stay pending: what the older generations looked for. @see spec executor §6.6 */
import type { PodProjection } from '../core/pod/projection.ts';
import { type Adopter, keyOfPod, listPods } from './adoption.ts';
import { ownedPodsSelector } from './pod-selectors.ts';
import { keyText } from './task-key.ts';
import type { TaskKey } from '../core/pod/executor-labels.ts';
import type { TaskInstance } from './task-store.ts';

/** A task whatever its try: the selector of this search names none. */
const untried = (key: TaskKey): string => keyText({ ...key, tryNumber: 0 });

/** Whether a pod that names no run may be the task's: it was launched when tasks had dates. */
const isDated = (pod: PodProjection, key: TaskKey): boolean => {
  const found = keyOfPod(pod);
  return found?.runId === null && untried({ ...found, runId: key.runId }) === untried(key);
};

/**
 * Those of `tasks` for which no pod is there. One list per owner, whatever the number of tasks.
 * @param skip tasks that are known here, and need not be looked for
 */
export async function withoutPod(
  adopter: Adopter,
  tasks: readonly TaskInstance[],
  skip: (task: TaskInstance) => boolean,
): Promise<readonly TaskInstance[]> {
  const wanted = tasks.filter((task) => !skip(task));
  const missing: TaskInstance[] = [];
  for (const owner of new Set(wanted.map(({ queuedByJobId }) => queuedByJobId ?? adopter.owner))) {
    const pods = await listPods(adopter, ownedPodsSelector(owner));
    const keys = new Set(pods.flatMap((pod) => keyOfPod(pod) ?? []).map(untried));
    for (const task of wanted) {
      if ((task.queuedByJobId ?? adopter.owner) !== owner || keys.has(untried(task.key))) continue;
      if (!pods.some((pod) => isDated(pod, task.key))) missing.push(task);
    }
  }
  return missing;
}

/** Own pods that have been pending for longer than `timeoutMs`, the oldest first, at most `limit`. */
export async function pendingTooLong(
  adopter: Adopter,
  { nowMs, timeoutMs, limit }: { readonly nowMs: number; readonly timeoutMs: number; readonly limit: number },
): Promise<readonly PodProjection[]> {
  const pods = await listPods(adopter, ownedPodsSelector(adopter.owner));
  return pods
    .filter(
      ({ phase, deletedAt, createdAt }) =>
        phase === 'Pending' && deletedAt === undefined && nowMs - createdAt > timeoutMs,
    )
    .sort((one, other) => one.createdAt - other.createdAt)
    .slice(0, limit);
}
