/** Which try of which task a pod belongs to: the key, read from annotations or, for old pods, from labels. */
import type { TaskKey } from '../core/pod/executor-labels.ts';
import { LABELS, makeSafeLabelValue } from '../core/pod/labels.ts';

/** The annotations that name a pod's task; `null`: not set. */
export type IdentityAnnotations = Readonly<Record<string, string | null>>;

/** A key as text, for maps and logs; equal for equal keys. */
export function keyText({ dagId, taskId, runId, tryNumber, mapIndex }: TaskKey): string {
  return JSON.stringify([dagId, taskId, runId, tryNumber, mapIndex]);
}

/** Whether two keys name the same try. */
export function isSameKey(one: TaskKey, other: TaskKey): boolean {
  return keyText(one) === keyText(other);
}

/** The whole number in a text; `undefined` when it is none. */
function integerIn(text: string | null | undefined): number | undefined {
  return text !== null && text !== undefined && /^\s*[+-]?\d+\s*$/.test(text) ? Number(text) : undefined;
}

/**
 * Airflow's `annotations_to_key`. `undefined` when dag, task or a numeric try is missing; Airflow's watcher crashes on such a pod. `runId` is `null` when
 * the annotation is missing or empty.
 */
export function annotationsToKey(annotations: IdentityAnnotations): TaskKey | undefined {
  const dagId = annotations[LABELS.dagId];
  const taskId = annotations[LABELS.taskId];
  const tryNumber = integerIn(annotations[LABELS.tryNumber]);
  const mapText = annotations[LABELS.mapIndex];
  const mapIndex = mapText === undefined || mapText === null || mapText === '' ? -1 : integerIn(mapText);
  if (typeof dagId !== 'string' || typeof taskId !== 'string') return undefined;
  if (tryNumber === undefined || mapIndex === undefined) return undefined;
  const runId = annotations[LABELS.runId];
  return { dagId, taskId, runId: runId === undefined || runId === '' ? null : runId, tryNumber, mapIndex };
}

/**
 * As in Airflow 1.10: the candidate whose label-safe form matches the labels. Exact values are compared first, so that a task whose id equals another
 * one's safe form is found. A try that is not a number counts as the first.
 */
export function labelsToKey(
  labels: Readonly<Record<string, string>>,
  candidates: readonly TaskKey[],
): TaskKey | undefined {
  const dag = labels[LABELS.dagId];
  const task = labels[LABELS.taskId];
  if (dag === undefined || task === undefined) return undefined;
  const tryNumber = integerIn(labels[LABELS.tryNumber]) ?? 1;
  const run = labels[LABELS.runId];
  const mapIndex = integerIn(labels[LABELS.mapIndex]) ?? -1;
  const fits = (form: (text: string) => string) => (key: TaskKey) =>
    form(key.dagId) === dag &&
    form(key.taskId) === task &&
    (run === undefined || form(key.runId ?? '') === run) &&
    key.tryNumber === tryNumber &&
    key.mapIndex === mapIndex;
  return candidates.find(fits((text) => text)) ?? candidates.find(fits(makeSafeLabelValue));
}
