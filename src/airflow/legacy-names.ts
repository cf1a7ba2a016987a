/** Pod names of the oldest generation: ids run together, then a UUID. Ours are made by `core/names.ts`. @see spec executor §7.4 "Older names" */
import { randomBytes } from 'node:crypto';
import { slugify } from '../core/pod/names.ts';

/** Longest name of a Kubernetes object. */
const MAX_OBJECT_NAME = 253;

/** 32 hex digits, as a UUID without dashes. */
export const uuidHex = (): string => randomBytes(16).toString('hex');

/** ASCII letters and digits only, lower case. The seed kept letters of every script, which Kubernetes refuses. */
export function stripUnsafeKubernetesSpecialChars(text: string): string {
  return slugify(text).replaceAll('-', '');
}

/** Both ids, cut so that `-` and the UUID still fit. */
export function makeSafePodId(safeDagId: string, safeTaskId: string, safeUuid: string): string {
  return `${`${safeDagId}${safeTaskId}`.slice(0, MAX_OBJECT_NAME - safeUuid.length - 1)}-${safeUuid}`;
}

/** A name of the oldest generation. `uuid`: 32 hex digits, new ones by default. */
export function createPodId(dagId: string, taskId: string, uuid: string = uuidHex()): string {
  const [dag, task] = [stripUnsafeKubernetesSpecialChars(dagId), stripUnsafeKubernetesSpecialChars(taskId)];
  return makeSafePodId(dag === '' && task === '' ? 'pod' : dag, task, stripUnsafeKubernetesSpecialChars(uuid));
}

/** A name made unique by a UUID; `undefined` for an empty one. */
export function makeUniquePodId(name: string, uuid: string = uuidHex()): string | undefined {
  if (name === '') return undefined;
  const kept = name.slice(0, MAX_OBJECT_NAME - uuid.length - 1).replace(/[-.]+$/, '');
  return `${kept}-${uuid}`;
}
