/** Reads JSON of unknown shape (API objects, users' manifests): a field of an unexpected type reads as absent. */

/** A JSON object. */
export type JsonRecord = Readonly<Record<string, unknown>>;

/** Whether `value` is a JSON object (not a list, not null). */
export function isRecord(value: unknown): value is JsonRecord {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const EMPTY: JsonRecord = Object.freeze({});

/** The object in field `key`; an empty one when there is none. */
export function recordIn(value: unknown, key: string): JsonRecord {
  const field = isRecord(value) ? value[key] : undefined;
  return isRecord(field) ? field : EMPTY;
}

/** The objects in list `key`; entries of other types are omitted. */
export function recordsIn(value: unknown, key: string): readonly JsonRecord[] {
  const field: unknown = isRecord(value) ? value[key] : undefined;
  return Array.isArray(field) ? field.filter(isRecord) : [];
}

/** The text in field `key`; empty text counts as absent. */
export function textIn(value: unknown, key: string): string | undefined {
  const field = isRecord(value) ? value[key] : undefined;
  return typeof field === 'string' && field !== '' ? field : undefined;
}

/** The finite number in field `key`. */
export function numberIn(value: unknown, key: string): number | undefined {
  const field = isRecord(value) ? value[key] : undefined;
  return typeof field === 'number' && Number.isFinite(field) ? field : undefined;
}

/** The instant in field `key` (RFC 3339), as epoch milliseconds. */
export function instantIn(value: unknown, key: string): number | undefined {
  const text = textIn(value, key);
  if (text === undefined) return undefined;
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}
