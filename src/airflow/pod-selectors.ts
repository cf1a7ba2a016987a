/** Label selectors that find the pods of Airflow's executors: one try's, one owner's, adoptable and orphaned ones. */
import { buildLabelsForK8sExecutorPod, type ExecutorPodIdentity } from '../core/pod/executor-labels.ts';
import { LABEL_TRUE, LABELS, makeSafeLabelValue } from '../core/pod/labels.ts';

/** The seed's `build_selector_for_k8s_executor_pod`: sorted; without an owner any owner, so that pods of other operators stay out. */
export function buildSelectorForK8sExecutorPod(identity: ExecutorPodIdentity): string {
  const labels = Object.entries(buildLabelsForK8sExecutorPod({ ...identity, version: undefined }));
  const terms = labels.map(([key, value]) => `${key}=${value}`).sort();
  return [...terms, ...(identity.owner === undefined || identity.owner === '' ? [LABELS.worker] : [])].join(',');
}

/** Selects what an owner watches: its pods that are not accounted for yet. @see spec executor §4.1 */
export function ownedPodsSelector(owner: string): string {
  return `${LABELS.worker}=${makeSafeLabelValue(owner)},${LABELS.executorDone}!=${LABEL_TRUE}`;
}

/** Selects what may be adopted from one earlier owner. @see spec executor §6.2 */
export function adoptablePodsSelector(owner: string): string {
  return `${LABELS.kubernetesExecutor}=${LABEL_TRUE},${ownedPodsSelector(owner)}`;
}

/**
 * Selects the pods of owners that are neither this one nor alive; `owners`: this one and its live siblings. Pods of an installation's runs are not
 * among them: theirs is the run protocol. @see spec executor §6.3
 */
export function orphanedPodsSelector(owners: readonly string[]): string {
  const ids = [...new Set(owners)].sort().map(makeSafeLabelValue);
  const filter = ids.length === 1 ? `${LABELS.worker}!=${ids.join('')}` : `${LABELS.worker} notin (${ids.join(',')})`;
  return `${LABELS.kubernetesExecutor}=${LABEL_TRUE},${filter},${LABELS.executorDone}!=${LABEL_TRUE},!${LABELS.installation}`;
}
