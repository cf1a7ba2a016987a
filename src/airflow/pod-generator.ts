/** `PodGenerator` of Airflow's `kubernetes.pod_generator`, and the names of executor pods. */
import type { JsonRecord } from '../core/json.ts';
import { buildLabelsForK8sExecutorPod } from '../core/pod/executor-labels.ts';
import { reconcileContainers, reconcileMetadata, reconcilePods, reconcileSpecs } from '../core/pod/merge.ts';
import { addSuffix, createUniqueId } from '../core/pod/names.ts';
import { ReentryError } from '../errors.ts';
import { constructPod, RANDOM_LENGTH, randStr } from '../operator/construct-pod.ts';
import { podOverrideIn } from '../operator/executor-config.ts';
import { buildSelectorForK8sExecutorPod } from './pod-selectors.ts';

/** The name of a task's pod with a random suffix. @param random returns that many characters @throws ReentryError INVALID_REQUEST when both ids are empty */
export function executorPodName(
  { dagId, taskId }: { readonly dagId?: string | undefined; readonly taskId?: string | undefined },
  random: (length: number) => string = randStr,
): string {
  const ids = [dagId, taskId].filter((id) => id !== undefined && id !== '').map(String);
  if (ids.length === 0)
    throw new ReentryError('INVALID_REQUEST', 'a pod name needs a dag id or a task id', { transient: false });
  return addSuffix(createUniqueId(ids), random(RANDOM_LENGTH));
}

/** Airflow's class: holds a pod and has the merge rules as static functions. */
export class PodGenerator {
  /** The pod that was given. */
  readonly pod: JsonRecord;

  /** @throws ReentryError CONFIG_INVALID unless exactly one of `pod` and `template` (the content of a template file) is given */
  constructor(from: { readonly pod?: JsonRecord | undefined; readonly template?: JsonRecord | undefined }) {
    const { pod, template } = from;
    if ((pod === undefined) === (template === undefined))
      throw new ReentryError('CONFIG_INVALID', 'PodGenerator takes exactly one of pod and template', {
        transient: false,
      });
    this.pod = pod ?? template ?? {};
  }

  static readonly constructPod = constructPod;
  static readonly fromObj = podOverrideIn;
  static readonly reconcilePods = reconcilePods;
  static readonly reconcileMetadata = reconcileMetadata;
  static readonly reconcileSpecs = reconcileSpecs;
  static readonly reconcileContainers = reconcileContainers;
  static readonly buildLabelsForK8sExecutorPod = buildLabelsForK8sExecutorPod;
  static readonly buildSelectorForK8sExecutorPod = buildSelectorForK8sExecutorPod;
}
