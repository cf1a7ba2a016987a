/** Every label and annotation key of a pod, once; and the labels that a run puts on its pod. @see spec protocol §1, pod-operator §2.7 */
import { createHash } from 'node:crypto';
import type { RunContext } from '../../wire/run-request.ts';
import type { RunKey } from '../../wire/subjects.ts';
import type { JsonRecord } from '../json.ts';
import { runDigest, shardOf } from '../shard.ts';

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
  parentDagId: 'parent_dag_id',
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

/** Marks that we put on a pod later, of what became of it. */
const MARKS: readonly string[] = [LABELS.alreadyChecked, LABELS.executorDone, LABELS.podRevoked];
/** What makes a pod an executor's: it takes a slot, and no operator finds it again. */
export const EXECUTOR_LABELS: readonly string[] = [LABELS.kubernetesExecutor, LABELS.worker];

/**
 * Labels that a request brings, without our marks and `others`: they speak of the pod that its spec was exported from. On a new pod they would
 * hide it from those who look for live pods.
 */
export function withoutMarks(labels: JsonRecord, others: readonly string[] = []): JsonRecord {
  return Object.fromEntries(Object.entries(labels).filter(([key]) => !MARKS.includes(key) && !others.includes(key)));
}

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

/** Selects the pods of a run, of any attempt, that nobody has marked: the seed's search before it creates. @see spec pod-operator §3.1 */
export function runSelector(installation: string, run: RunKey): string {
  return `${installationSelector(installation)},${LABELS.run}=${runLabel(run)},${LABELS.alreadyChecked}!=${LABEL_TRUE}`;
}

/** Selects the kept pods of an installation whose runs have had their answer. */
export function keptSelector(installation: string): string {
  return `${installationSelector(installation)},${LABELS.alreadyChecked}=${LABEL_TRUE}`;
}

/** What names a pod's place in the world. */
export interface PodIdentity {
  readonly installation: string;
  readonly run: RunKey;
  readonly attempt: number;
  readonly queue: string;
  readonly context: RunContext;
}

/** The seed's labels of a task, for people and their tools; with `attempt` also `try_number`. What is unknown has no label. */
export function taskLabels(
  { dagId, taskId, runId, mapIndex, parentDagId }: RunContext,
  attempt?: number,
): Readonly<Record<string, string>> {
  const safe = (key: string, value: string | undefined): Readonly<Record<string, string>> =>
    value === undefined ? {} : { [key]: makeSafeLabelValue(value) };
  return {
    ...safe(LABELS.dagId, dagId),
    ...safe(LABELS.taskId, taskId),
    ...safe(LABELS.runId, runId),
    [LABELS.podOperator]: LABEL_TRUE,
    ...(mapIndex === undefined || mapIndex < 0 ? {} : { [LABELS.mapIndex]: String(mapIndex) }),
    ...(attempt === undefined ? {} : { [LABELS.tryNumber]: String(attempt) }),
    ...safe(LABELS.parentDagId, parentDagId),
  };
}

/** A user's labels as the manifest has them: null is the empty text; nothing else is changed. @see spec pod-operator §2.7 */
export function normalizeLabels(labels: JsonRecord): JsonRecord {
  return Object.fromEntries(Object.entries(labels).map(([key, value]) => [key, value ?? '']));
}

/**
 * Selects a task's pods whatever their attempt (the seed's search): its labels over the user's, sorted; without pods that have been dealt with
 * (`excludeChecked`, the default) and without an executor's. @see spec pod-operator §3.1
 */
export function findPodSelector(
  labels: JsonRecord,
  context: RunContext | undefined,
  { excludeChecked = true }: { readonly excludeChecked?: boolean } = {},
): string {
  const own = withoutMarks(normalizeLabels(labels), EXECUTOR_LABELS);
  const wanted = { ...own, ...(context === undefined ? {} : taskLabels(context)) };
  return [
    ...Object.entries(wanted)
      .map(([key, value]) => `${key}=${String(value)}`)
      .sort(),
    ...(excludeChecked ? [`${LABELS.alreadyChecked}!=${LABEL_TRUE}`] : []),
    `!${LABELS.worker}`,
  ].join(',');
}

/** The labels that every pod of ours carries; they win over the user's. `run_id` falls back to the run's own id. */
export function podLabels({ installation, run, attempt, context }: PodIdentity): Readonly<Record<string, string>> {
  return {
    ...taskLabels({ ...context, runId: context.runId ?? run.runId }, attempt),
    [LABELS.installation]: makeSafeLabelValue(installation),
    [LABELS.shard]: shardOf(run),
    [LABELS.run]: runLabel(run),
    [LABELS.attempt]: String(attempt),
  };
}

const LABEL_VALUE = /^(?=.{0,63}$)([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$/;
const LABEL_NAME = /^(?=.{1,63}$)[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$/;
const LABEL_PREFIX = /^(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

/** What is wrong with the key of a label or annotation; `undefined` when nothing is. */
export function labelKeyProblem(key: string): string | undefined {
  const slash = key.indexOf('/');
  const prefix = slash < 0 ? undefined : key.slice(0, slash);
  if ((prefix === undefined || LABEL_PREFIX.test(prefix)) && LABEL_NAME.test(key.slice(slash + 1))) return undefined;
  return 'is no label key: up to 63 letters, digits, "-", "_" and ".", a letter or digit at both ends, optionally a domain and "/" before them';
}

/** What is wrong with a label's value; `undefined` when nothing is. */
export function labelValueProblem(value: string): string | undefined {
  if (LABEL_VALUE.test(value)) return undefined;
  return 'is no label value: up to 63 letters, digits, "-", "_" and ".", a letter or digit at both ends';
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
