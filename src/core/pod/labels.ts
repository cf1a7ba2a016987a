/** All label and annotation keys of pods, and the labels that a run sets on its pod. See "Identity" in `src/wire/README.md`. */
import { createHash } from 'node:crypto';
import type { RunContext } from '../../wire/run-request.ts';
import type { RunKey } from '../../wire/subjects.ts';
import type { JsonRecord } from '../json.ts';
import { runDigest, shardOf } from '../identity.ts';

/** Label keys. Selectors use those of `reentry.dev/`; the others are Airflow's and serve people and their tools. */
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
  /** `True` on a retained pod whose run is over. */
  alreadyChecked: 'already_checked',
  parentDagId: 'parent_dag_id',
  /** On pods of an executor: which one launched or adopted the pod. */
  worker: 'airflow-worker',
  /** `True` on every pod of an executor. */
  kubernetesExecutor: 'kubernetes_executor',
  /** `True` on an executor's pod that was retained after its end was processed. */
  executorDone: 'airflow_executor_done',
  /** Present on a pod whose task was revoked: its end is ignored. */
  podRevoked: 'airflow_pod_revoked',
  logicalDate: 'logical_date',
  /** Version of reentry that built the pod; informational. */
  version: 'reentry.dev/version',
} as const;

/** Annotation keys. They carry ids unchanged, which labels cannot. */
export const ANNOTATIONS = {
  tenant: 'reentry.dev/tenant',
  runId: 'reentry.dev/run-id',
  attempt: 'reentry.dev/attempt-number',
  queue: 'reentry.dev/queue',
  /** Name of the base container, whose end decides the run. */
  baseContainer: 'reentry.dev/base-container',
} as const;

/** Annotations that name the task of an executor's pod; ids unchanged. */
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

/** Value of Airflow's boolean labels. */
export const LABEL_TRUE = 'True';

/** Labels that reentry adds to a pod later, about its outcome. */
const MARKS: readonly string[] = [LABELS.alreadyChecked, LABELS.executorDone, LABELS.podRevoked];
/** Labels that make a pod an executor's: it occupies a slot, and operators do not re-attach to it. */
export const EXECUTOR_LABELS: readonly string[] = [LABELS.kubernetesExecutor, LABELS.worker];

/**
 * A request's labels without reentry's own outcome labels and `others`. Those belong to the pod that the spec was exported from; on a new
 * pod they would hide it from searches for live pods.
 */
export function withoutMarks(labels: JsonRecord, others: readonly string[] = []): JsonRecord {
  return Object.fromEntries(Object.entries(labels).filter(([key]) => !MARKS.includes(key) && !others.includes(key)));
}

const MAX_LABEL_LENGTH = 63;
/** Characters kept of a value before `-` and nine hash digits. */
const KEPT_BEFORE_HASH = 53;

/**
 * A label value that Kubernetes accepts: illegal characters removed; when that changed it, or it is too long, cut and followed by nine hex
 * digits of the input's MD5, so that different inputs stay different. Unlike Airflow's `make_safe_label_value`, an input without legal
 * characters results in the hash alone (Kubernetes refuses `-…`).
 * @see airflow.providers.cncf.kubernetes.kubernetes_helper_functions / pod_generator.make_safe_label_value
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

/** Selects all pods of an installation. All watches use this one selector. */
export function installationSelector(installation: string): string {
  return `${LABELS.installation}=${makeSafeLabelValue(installation)}`;
}

/** Selects the executors' pods of an installation: those that occupy slots. */
export function executorSelector(installation: string): string {
  return `${installationSelector(installation)},${LABELS.kubernetesExecutor}=${LABEL_TRUE}`;
}

/** Selects a run's pods of any attempt that have no outcome label, as Airflow searches before it creates a pod. */
export function runSelector(installation: string, run: RunKey): string {
  return `${installationSelector(installation)},${LABELS.run}=${runLabel(run)},${LABELS.alreadyChecked}!=${LABEL_TRUE}`;
}

/** Selects an installation's retained pods of ended runs. */
export function keptSelector(installation: string): string {
  return `${installationSelector(installation)},${LABELS.alreadyChecked}=${LABEL_TRUE}`;
}

/** Identifies a run's pod. */
export interface PodIdentity {
  readonly installation: string;
  readonly run: RunKey;
  readonly attempt: number;
  readonly queue: string;
  readonly context: RunContext;
}

/** Airflow's labels of a task, for people and their tools; with `attempt` also `try_number`. Unknown ids have no label. */
export function taskLabels(
  { dagId, taskId, runId, mapIndex, parentDagId }: RunContext,
  attempt?: number,
): Readonly<Record<string, string>> {
  const labels: Record<string, string> = { [LABELS.podOperator]: LABEL_TRUE };
  const ids = {
    [LABELS.dagId]: dagId,
    [LABELS.taskId]: taskId,
    [LABELS.runId]: runId,
    [LABELS.parentDagId]: parentDagId,
  };
  for (const [key, id] of Object.entries(ids)) if (id !== undefined) labels[key] = makeSafeLabelValue(id);
  if (mapIndex !== undefined && mapIndex >= 0) labels[LABELS.mapIndex] = String(mapIndex);
  if (attempt !== undefined) labels[LABELS.tryNumber] = String(attempt);
  return labels;
}

/** A user's labels as the manifest has them: null becomes the empty string, other values are unchanged. */
export function normalizeLabels(labels: JsonRecord): JsonRecord {
  return Object.fromEntries(Object.entries(labels).map(([key, value]) => [key, value ?? '']));
}

/**
 * Selects a task's pods of any attempt, as Airflow does: its labels override the user's, sorted; without executors' pods, and without pods
 * that were processed (`excludeChecked`, default true).
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

/** The labels that reentry sets on every pod; they override the user's. `run_id` defaults to the run's own id. */
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

/** What is wrong with the key of a label or annotation; `undefined` if valid. */
export function labelKeyProblem(key: string): string | undefined {
  const slash = key.indexOf('/');
  const prefix = slash < 0 ? undefined : key.slice(0, slash);
  if ((prefix === undefined || LABEL_PREFIX.test(prefix)) && LABEL_NAME.test(key.slice(slash + 1))) return undefined;
  return 'is no label key: up to 63 letters, digits, "-", "_" and ".", a letter or digit at both ends, optionally a domain and "/" before them';
}

/** What is wrong with the value of a label; `undefined` if valid. */
export function labelValueProblem(value: string): string | undefined {
  if (LABEL_VALUE.test(value)) return undefined;
  return 'is no label value: up to 63 letters, digits, "-", "_" and ".", a letter or digit at both ends';
}

/** The annotations that reentry sets on every pod. */
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
