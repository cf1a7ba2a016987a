/** Every label and annotation key of a pod, once; and the labels that a run puts on its pod. @see spec protocol §1, pod-operator §2.7 */
import { createHash } from 'node:crypto';
import type { RunContext } from '../wire/messages.ts';
import type { RunKey } from '../wire/subjects.ts';
import { runDigest, shardOf } from './shard.ts';

/** Label keys. The `reentry.dev/…` ones select; the others are the seed's and are for people and their tools. */
export const LABELS = {
  installation: 'reentry.dev/installation',
  shard: 'reentry.dev/shard',
  /** 16 hex digits of SHA-256(`tenant/runId`). */
  run: 'reentry.dev/run',
  attempt: 'reentry.dev/attempt',
  dagId: 'dag_id',
  taskId: 'task_id',
  runId: 'run_id',
  tryNumber: 'try_number',
  mapIndex: 'map_index',
  podOperator: 'kubernetes_pod_operator',
  /** `True` on a kept pod whose run has had its answer. */
  alreadyChecked: 'already_checked',
  /** On an executor's pods: who launched or adopted it. */
  worker: 'airflow-worker',
  /** `True` on every pod of an executor. */
  kubernetesExecutor: 'kubernetes_executor',
  /** `True` on an executor's pod that was kept after its end was accounted for. */
  executorDone: 'airflow_executor_done',
  /** Present on a pod whose task was taken back: its end means nothing. */
  podRevoked: 'airflow_pod_revoked',
  logicalDate: 'logical_date',
  /** Version of what built the pod, for people. */
  version: 'reentry.dev/version',
} as const;

/** Annotation keys: ids as they are, which labels cannot carry. */
export const ANNOTATIONS = {
  tenant: 'reentry.dev/tenant',
  runId: 'reentry.dev/run-id',
  attempt: 'reentry.dev/attempt-number',
  queue: 'reentry.dev/queue',
  /** Name of the container that decides the run. */
  baseContainer: 'reentry.dev/base-container',
} as const;

/** Annotations by which an executor's pod names its task; ids as they are. */
export const TASK_ANNOTATIONS = [
  LABELS.dagId,
  LABELS.taskId,
  LABELS.runId,
  LABELS.tryNumber,
  LABELS.mapIndex,
  LABELS.logicalDate,
  'execution_date',
  'task_instance_id',
] as const;

/** The value that the seed's boolean labels carry. */
export const LABEL_TRUE = 'True';

const MAX_LABEL_LENGTH = 63;
/** What is kept of a value that is followed by `-` and nine hash digits. */
const KEPT_BEFORE_HASH = 53;

/**
 * A label value that Kubernetes accepts: illegal characters removed; where that changed something, or it is too long, cut
 * and followed by nine hex digits of the input's MD5, so that two inputs stay two values.
 * Unlike the seed's `make_safe_label_value` an input without a legal character gives the hash alone (`-…` is refused by Kubernetes).
 * @see spec pod-operator §2.7
 */
export function makeSafeLabelValue(text: string): string {
  const clean = text.replace(/^[^a-z0-9A-Z]*|[^a-zA-Z0-9_\-.]|[^a-z0-9A-Z]*$/g, '');
  if (clean.length <= MAX_LABEL_LENGTH && clean === text) return clean;
  const hash = createHash('md5').update(text).digest('hex').slice(0, 9);
  const kept = clean.slice(0, KEPT_BEFORE_HASH);
  return kept === '' ? hash : `${kept}-${hash}`;
}

/** Value of label `reentry.dev/run`: 16 hex digits. */
export function runLabel(run: RunKey): string {
  return runDigest(run).toString('hex').slice(0, 16);
}

/** Selects every pod of an installation: the one fixed selector of all watches. */
export function installationSelector(installation: string): string {
  return `${LABELS.installation}=${makeSafeLabelValue(installation)}`;
}

/** Selects the pods of an installation's executors: those that take slots. */
export function executorSelector(installation: string): string {
  return `${installationSelector(installation)},${LABELS.kubernetesExecutor}=${LABEL_TRUE}`;
}

/** What names a pod's place in the world. */
export interface PodIdentity {
  readonly installation: string;
  readonly run: RunKey;
  readonly attempt: number;
  readonly queue: string;
  readonly context: RunContext;
}

/** The labels that every pod of ours carries; they win over the user's. `run_id` falls back to the run's own id. */
export function podLabels({ installation, run, attempt, context }: PodIdentity): Readonly<Record<string, string>> {
  const { dagId, taskId, mapIndex } = context;
  return {
    ...(dagId === undefined ? {} : { [LABELS.dagId]: makeSafeLabelValue(dagId) }),
    ...(taskId === undefined ? {} : { [LABELS.taskId]: makeSafeLabelValue(taskId) }),
    [LABELS.runId]: makeSafeLabelValue(context.runId ?? run.runId),
    [LABELS.tryNumber]: String(attempt),
    ...(mapIndex === undefined || mapIndex < 0 ? {} : { [LABELS.mapIndex]: String(mapIndex) }),
    [LABELS.podOperator]: LABEL_TRUE,
    [LABELS.installation]: makeSafeLabelValue(installation),
    [LABELS.shard]: shardOf(run),
    [LABELS.run]: runLabel(run),
    [LABELS.attempt]: String(attempt),
  };
}

/** The annotations that every pod of ours carries. */
export function podAnnotations(
  { run, attempt, queue }: PodIdentity,
  baseContainer: string,
): Readonly<Record<string, string>> {
  return {
    [ANNOTATIONS.tenant]: run.tenant,
    [ANNOTATIONS.runId]: run.runId,
    [ANNOTATIONS.attempt]: String(attempt),
    [ANNOTATIONS.queue]: queue,
    [ANNOTATIONS.baseContainer]: baseContainer,
  };
}
