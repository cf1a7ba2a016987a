import { z } from 'zod';

/** A JSON object of unknown content. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** Whether `value` is a JSON object (no list, not null). */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The value at a path of keys; undefined when there is none. */
export function at(value: unknown, ...path: readonly string[]): unknown {
  let current = value;
  for (const key of path) {
    if (!isJsonObject(current)) return undefined;
    current = current[key];
  }
  return current;
}

/** The text at a path of keys; empty when there is none. */
export function textAt(value: unknown, ...path: readonly string[]): string {
  const found = at(value, ...path);
  return typeof found === 'string' ? found : typeof found === 'number' ? String(found) : '';
}

/** Whether `value` is a list. Unlike with `Array.isArray`, the items stay `unknown`. */
export function isList(value: unknown): value is readonly unknown[] {
  return Array.isArray(value);
}

/** The list at a path of keys; empty when there is none. */
export function listAt(value: unknown, ...path: readonly string[]): readonly unknown[] {
  const found = at(value, ...path);
  return isList(found) ? found : [];
}

/** Labels, annotations and the data of ConfigMaps: names to texts. */
export type TextMap = Readonly<Record<string, string>>;

/** The metadata that the server itself reads or writes; other fields are stored as they are. */
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

/** An object as stored and sent. Immutable: a new version is a new value. */
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

/** Metadata as a client may send it: everything is optional, wrong types are refused. */
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

/** `date` as in Kubernetes objects: RFC 3339, whole seconds. */
export function rfc3339(date: Date): string {
  return `${date.toISOString().slice(0, 19)}Z`;
}

/** `object` with other metadata. */
export function withMetadata(object: KubeObject, changes: Partial<ObjectMeta>): KubeObject {
  return { ...object, metadata: { ...object.metadata, ...changes } };
}

const texts = new WeakMap<KubeObject, string>();

/** `object` as JSON, cached per version, since all watchers and lists send the same text. */
export function jsonOf(object: KubeObject): string {
  const known = texts.get(object);
  if (known !== undefined) return known;
  const text = JSON.stringify(object);
  texts.set(object, text);
  return text;
}
