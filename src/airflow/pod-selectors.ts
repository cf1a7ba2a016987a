/** Label selectors that find the pods of Airflow's executors: one try's, one owner's, adoptable and orphaned ones. */
import { buildLabelsForK8sExecutorPod, type ExecutorPodIdentity } from '../core/pod/executor-labels.ts';
import { LABEL_TRUE, LABELS, makeSafeLabelValue } from '../core/pod/labels.ts';

/** Airflow's `build_selector_for_k8s_executor_pod`: the labels of one try, sorted. Without an owner, any owner matches, but pods of other operators do not. */
export function buildSelectorForK8sExecutorPod(identity: ExecutorPodIdentity): string {
  const labels = Object.entries(buildLabelsForK8sExecutorPod({ ...identity, version: undefined }));
  const terms = labels.map(([key, value]) => `${key}=${value}`).sort();
  return [...terms, ...(identity.owner === undefined || identity.owner === '' ? [LABELS.worker] : [])].join(',');
}

/** Selects the pods that a scheduler watches: its own, not yet labelled as done. */
export function ownedPodsSelector(owner: string): string {
  return `${LABELS.worker}=${makeSafeLabelValue(owner)},${LABELS.executorDone}!=${LABEL_TRUE}`;
}

/** Selects the pods that may be adopted from one earlier scheduler. */
export function adoptablePodsSelector(owner: string): string {
  return `${LABELS.kubernetesExecutor}=${LABEL_TRUE},${ownedPodsSelector(owner)}`;
}

/**
 * Selects the pods of schedulers that are gone. Pods of `command` runs are excluded: workers look after them.
 * @param owners ids of this scheduler and its live siblings
 */
export function orphanedPodsSelector(owners: readonly string[]): string {
  const ids = [...new Set(owners)].sort().map(makeSafeLabelValue);
  const filter = ids.length === 1 ? `${LABELS.worker}!=${ids.join('')}` : `${LABELS.worker} notin (${ids.join(',')})`;
  return `${LABELS.kubernetesExecutor}=${LABEL_TRUE},${filter},${LABELS.executorDone}!=${LABEL_TRUE},!${LABELS.installation}`;
}
