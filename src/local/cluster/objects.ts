import { z } from 'zod';

/** A JSON object of which nothing else is known yet. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** Whether `value` is a JSON object (no list, no null). */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The value under a path of keys; undefined where the path breaks off. */
export function at(value: unknown, ...path: readonly string[]): unknown {
  let current = value;
  for (const key of path) {
    if (!isJsonObject(current)) return undefined;
    current = current[key];
  }
  return current;
}

/** The text under a path of keys; empty where there is none. */
export function textAt(value: unknown, ...path: readonly string[]): string {
  const found = at(value, ...path);
  return typeof found === 'string' ? found : typeof found === 'number' ? String(found) : '';
}

/** Whether `value` is a list; unlike `Array.isArray`, what is in it stays unknown. */
export function isList(value: unknown): value is readonly unknown[] {
  return Array.isArray(value);
}

/** The list under a path of keys; empty where there is none. */
export function listAt(value: unknown, ...path: readonly string[]): readonly unknown[] {
  const found = at(value, ...path);
  return isList(found) ? found : [];
}

/** Labels, annotations and the data of config maps: names to texts. */
export type TextMap = Readonly<Record<string, string>>;

/** The metadata the server itself reads or writes; other fields travel along. */
export interface ObjectMeta {
  readonly name: string;
  readonly namespace?: string | undefined;
  readonly generateName?: string | undefined;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly creationTimestamp: string;
  readonly deletionTimestamp?: string | undefined;
  readonly deletionGracePeriodSeconds?: number | undefined;
  readonly labels?: TextMap | undefined;
  readonly annotations?: TextMap | undefined;
  readonly finalizers?: readonly string[] | undefined;
  readonly [field: string]: unknown;
}

/** An object as stored and sent: never changed in place, a new version is a new value. */
export interface KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: ObjectMeta;
  readonly [field: string]: unknown;
}

const textMap = z
  .record(z.string(), z.string())
  .nullish()
  .transform((map) => map ?? undefined);

/** Metadata as a client may send it: everything optional, wrong types refused. */
export const metadataSchema = z.looseObject({
  name: z.string().optional(),
  namespace: z.string().optional(),
  generateName: z.string().optional(),
  uid: z.string().optional(),
  resourceVersion: z.string().optional(),
  labels: textMap,
  annotations: textMap,
  finalizers: z
    .array(z.string())
    .nullish()
    .transform((list) => list ?? undefined),
  ownerReferences: z
    .array(z.looseObject({ apiVersion: z.string(), kind: z.string(), name: z.string(), uid: z.string() }))
    .optional(),
});

/** `date` as Kubernetes writes times in objects: RFC 3339, whole seconds. */
export function rfc3339(date: Date): string {
  return `${date.toISOString().slice(0, 19)}Z`;
}

/** `object` with other metadata. */
export function withMetadata(object: KubeObject, changes: Partial<ObjectMeta>): KubeObject {
  return { ...object, metadata: { ...object.metadata, ...changes } };
}

const texts = new WeakMap<KubeObject, string>();

/** `object` as JSON; made once per version, since every watcher and list sends the same text. */
export function jsonOf(object: KubeObject): string {
  const known = texts.get(object);
  if (known !== undefined) return known;
  const text = JSON.stringify(object);
  texts.set(object, text);
  return text;
}
