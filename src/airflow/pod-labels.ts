/** Labels that select an executor's pods, annotations that name their task, and the selector for one try. Where both say something, annotations win. @see spec executor §7.3 */
import { LABEL_TRUE, LABELS, makeSafeLabelValue } from '../core/pod/labels.ts';
import { datetimeToLabelSafeDatestring, isoText } from './label-dates.ts';
import type { TaskKey } from './task-key.ts';

/** What a pod is labelled with. */
export interface ExecutorPodIdentity extends TaskKey {
  /** Who launches it; absent: nobody in particular. */
  readonly owner?: string | undefined;
  /** ISO 8601; executors leave it out, the run id says it. */
  readonly logicalDate?: string | undefined;
  /** Version of the service, for people; not part of selectors. */
  readonly version?: string | undefined;
}

/** The seed's `build_labels_for_k8s_executor_pod`: every value in its label-safe form. */
export function buildLabelsForK8sExecutorPod(identity: ExecutorPodIdentity): Readonly<Record<string, string>> {
  const { dagId, taskId, runId, tryNumber, mapIndex, owner, logicalDate, version } = identity;
  return {
    [LABELS.dagId]: makeSafeLabelValue(dagId),
    [LABELS.taskId]: makeSafeLabelValue(taskId),
    [LABELS.tryNumber]: String(tryNumber),
    [LABELS.kubernetesExecutor]: LABEL_TRUE,
    ...(version === undefined ? {} : { [LABELS.version]: makeSafeLabelValue(version.replaceAll('+', '-')) }),
    ...(owner === undefined ? {} : { [LABELS.worker]: makeSafeLabelValue(owner) }),
    ...(mapIndex < 0 ? {} : { [LABELS.mapIndex]: String(mapIndex) }),
    ...(logicalDate === undefined ? {} : { [LABELS.logicalDate]: datetimeToLabelSafeDatestring(logicalDate) }),
    ...(runId === null || runId === '' ? {} : { [LABELS.runId]: makeSafeLabelValue(runId) }),
  };
}

/** The seed's `build_selector_for_k8s_executor_pod`: sorted; without an owner any owner, so that pods of other operators stay out. */
export function buildSelectorForK8sExecutorPod(identity: ExecutorPodIdentity): string {
  const labels = Object.entries(buildLabelsForK8sExecutorPod({ ...identity, version: undefined }));
  const terms = labels.map(([key, value]) => `${key}=${value}`).sort();
  return [...terms, ...(identity.owner === undefined || identity.owner === '' ? [LABELS.worker] : [])].join(',');
}

/** The annotations of a try: ids as they are. */
export function executorPodAnnotations(identity: ExecutorPodIdentity): Readonly<Record<string, string>> {
  const { dagId, taskId, runId, tryNumber, mapIndex, logicalDate } = identity;
  return {
    [LABELS.dagId]: dagId,
    [LABELS.taskId]: taskId,
    [LABELS.tryNumber]: String(tryNumber),
    ...(mapIndex < 0 ? {} : { [LABELS.mapIndex]: String(mapIndex) }),
    ...(logicalDate === undefined ? {} : { [LABELS.logicalDate]: isoText(logicalDate) }),
    ...(runId === null || runId === '' ? {} : { [LABELS.runId]: runId }),
  };
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
