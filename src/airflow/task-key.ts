/** Which try of which task an executor's pod stands for: the key, read from annotations or, for old pods, from labels. @see spec executor §1.3, §5.1, §7.3 */
import type { TaskKey } from '../core/pod/executor-labels.ts';
import { LABELS, makeSafeLabelValue } from '../core/pod/labels.ts';

/** What an executor keeps of a pod's annotations; a value is `null` where the pod has none. */
export type IdentityAnnotations = Readonly<Record<string, string | null>>;

/** A key as one text, equal for equal keys: for maps and logs. */
export function keyText({ dagId, taskId, runId, tryNumber, mapIndex }: TaskKey): string {
  return JSON.stringify([dagId, taskId, runId, tryNumber, mapIndex]);
}

/** Whether two keys name the same try. */
export function isSameKey(one: TaskKey, other: TaskKey): boolean {
  return keyText(one) === keyText(other);
}

/** The whole number in a text, `undefined` where it is none. */
function integerIn(text: string | null | undefined): number | undefined {
  return text !== null && text !== undefined && /^\s*[+-]?\d+\s*$/.test(text) ? Number(text) : undefined;
}

/**
 * The key that annotations name; `undefined` where the dag, the task or a numeric try is missing: such a pod is nobody's, and the seed's watcher
 * dies of it. `runId` is `null` where the annotation is missing or empty.
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
 * The oldest generation's way: the candidate whose label-safe form is what the labels say. Exact values first, so that a task called like
 * another one's safe form keeps its own. A try that is no number counts as the first.
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
