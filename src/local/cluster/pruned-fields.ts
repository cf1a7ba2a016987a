/** Removes unknown fields, as the API server does. */
import type { Fields } from '../../core/pod/pod-fields.ts';
import { isJsonObject, type JsonObject } from './objects.ts';

/** A value without unknown fields, and the paths of those that were removed. */
export function pruned(
  value: JsonObject,
  fields: Fields,
): { readonly value: JsonObject; readonly unknown: readonly string[] } {
  const unknown: string[] = [];
  const cut = prune(value, fields, '', unknown);
  return { value: isJsonObject(cut) ? cut : {}, unknown };
}

function prune(value: unknown, fields: Fields, path: string, unknown: string[]): unknown {
  if (fields === true) return value;
  if (Array.isArray(value)) {
    return value.map((item: unknown, index) => prune(item, fields, `${path}[${String(index)}]`, unknown));
  }
  if (!isJsonObject(value)) return value;
  const kept: [string, unknown][] = [];
  for (const [key, inner] of Object.entries(value)) {
    const at = path === '' ? key : `${path}.${key}`;
    const below = Object.hasOwn(fields, key) ? fields[key] : undefined;
    if (below === undefined) unknown.push(at);
    else kept.push([key, prune(inner, below, at, unknown)]);
  }
  return Object.fromEntries(kept);
}
