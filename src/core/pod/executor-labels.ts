/** Labels that select the pods of command tasks, annotations that name their task, and dates as label values. Where both exist, annotations win. */
import { LABEL_TRUE, LABELS, makeSafeLabelValue } from './labels.ts';

/** Environment variable by which a program detects that it runs in a pod of an executor, as in Airflow. */
export const EXECUTOR_POD_ENV = { name: 'AIRFLOW_IS_K8S_EXECUTOR_POD', value: 'True' } as const;

/** One try of one task. */
export interface TaskKey {
  readonly dagId: string;
  readonly taskId: string;
  /** `null` where a pod names none. */
  readonly runId: string | null;
  readonly tryNumber: number;
  /** −1: not mapped. */
  readonly mapIndex: number;
}

/** The task and owner that a pod's labels name. */
export interface ExecutorPodIdentity extends TaskKey {
  /** Id of the scheduler or queue that launches the pod. */
  readonly owner?: string | undefined;
  /** ISO 8601; left out when there is a run id. */
  readonly logicalDate?: string | undefined;
  /** Version of this software; informational, not part of selectors. */
  readonly version?: string | undefined;
}

/** Airflow's `build_labels_for_k8s_executor_pod`: every value in its label-safe form. */
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

/** The annotations of a try: ids unchanged. */
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

const ISO =
  /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2})?)(?:[.,](\d{1,9}))?(Z|[+-]\d{2}:?\d{2}(?::\d{2}(?:\.\d{1,6})?)?)?)?$/;

/**
 * A date as Python's `isoformat` writes it: always with seconds, six fractional digits or none, an offset only when one was given (`Z` is `+00:00`). Dates
 * are strings because a `Date` would lose offset and microseconds.
 * @throws RangeError when it is not a date
 */
export function isoText(date: string | Date): string {
  const text = typeof date === 'string' ? date.trim() : date.toISOString();
  const [, day, time = '00:00:00', fraction = '', zone = ''] = ISO.exec(text) ?? [];
  const real = new Date(`${day ?? ''}T00:00:00Z`);
  if (day === undefined || Number.isNaN(real.getTime()) || !real.toISOString().startsWith(day))
    throw new RangeError(`not an ISO 8601 date: ${JSON.stringify(text)}`);
  const seconds = time.length === 5 ? `${time}:00` : time;
  const [hours = 24, minutes = 60, second = 60] = seconds.split(':').map(Number);
  if (hours > 23 || minutes > 59 || second > 59) throw new RangeError(`not a time of day: ${JSON.stringify(text)}`);
  const micros = fraction.padEnd(6, '0').slice(0, 6);
  const offset = zone === 'Z' ? '+00:00' : zone.replace(/^([+-]\d{2})(\d{2})/, '$1:$2');
  return `${day}T${seconds}${/^0*$/.test(micros) ? '' : `.${micros}`}${offset}`;
}

/** A date as a label value, which may not contain ":" or "+": `2024-01-02T03_04_05_plus_00_00`. @throws RangeError when it is not a date */
export function datetimeToLabelSafeDatestring(date: string | Date): string {
  return isoText(date).replaceAll(':', '_').replaceAll('+', '_plus_');
}

/** The date in a label value, as ISO text. @throws RangeError when it holds none */
export function labelSafeDatestringToDatetime(text: string): string {
  return isoText(text.replaceAll('_plus_', '+').replaceAll('_', ':'));
}
