/** Labels that select an executor's pods, annotations that name their task, and the selector for one try. Where both say something, annotations win. @see spec executor §7.3 */
import { LABEL_TRUE, LABELS, makeSafeLabelValue } from './labels.ts';

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

const ISO =
  /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2})?)(?:[.,](\d{1,9}))?(Z|[+-]\d{2}:?\d{2}(?::\d{2}(?:\.\d{1,6})?)?)?)?$/;

/**
 * A date the way the seed writes it: seconds always, six digits of a fraction or none, an offset only where one was given (`Z` is `+00:00`).
 * @throws RangeError for what is no date
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

/** A date as a label value: `2024-01-02T03_04_05_plus_00_00`. @throws RangeError for what is no date */
export function datetimeToLabelSafeDatestring(date: string | Date): string {
  return isoText(date).replaceAll(':', '_').replaceAll('+', '_plus_');
}

/** The date behind a label value, as ISO text. @throws RangeError where there is none */
export function labelSafeDatestringToDatetime(text: string): string {
  return isoText(text.replaceAll('_plus_', '+').replaceAll('_', ':'));
}
