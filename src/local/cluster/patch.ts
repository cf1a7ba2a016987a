import { z } from 'zod';
import { ApiFailure, badRequest } from './failure.ts';
import { isJsonObject, isList, type JsonObject } from './objects.ts';

/** `target` with a merge patch applied: null removes, objects merge, all else replaces. @see RFC 7386 */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isJsonObject(patch)) return patch;
  const result: Record<string, unknown> = isJsonObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) Reflect.deleteProperty(result, key);
    else result[key] = mergePatch(result[key], value);
  }
  return result;
}

/** The fields by which a strategic merge identifies items of two lists; other lists are replaced. */
const MERGE_KEYS: Readonly<Record<string, string>> = {
  containers: 'name',
  initContainers: 'name',
  volumes: 'name',
  env: 'name',
  conditions: 'type',
  ownerReferences: 'uid',
  tolerations: 'key',
};

/** A strategic merge patch: like a merge patch, but identified items of lists are merged one by one. */
export function strategicPatch(target: unknown, patch: unknown, field = ''): unknown {
  if (isList(patch)) {
    const key = MERGE_KEYS[field];
    if (key === undefined || !isList(target)) return patch.filter((item) => !isDelete(item));
    const items: unknown[] = [...target];
    for (const change of patch) {
      const name = isJsonObject(change) ? change[key] : undefined;
      const index = items.findIndex((item) => isJsonObject(item) && item[key] === name);
      if (isDelete(change)) {
        if (index >= 0) items.splice(index, 1);
      } else if (index >= 0) items[index] = strategicPatch(items[index], change);
      else items.push(change);
    }
    return items;
  }
  if (!isJsonObject(patch)) return patch;
  const result: Record<string, unknown> = isJsonObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (key.startsWith('$')) continue;
    if (value === null) Reflect.deleteProperty(result, key);
    else result[key] = strategicPatch(result[key], value, key);
  }
  return result;
}

function isDelete(item: unknown): boolean {
  return isJsonObject(item) && item['$patch'] === 'delete';
}

const operations = z.array(
  z.object({
    op: z.enum(['add', 'remove', 'replace', 'test', 'copy', 'move']),
    path: z.string(),
    from: z.string().optional(),
    value: z.unknown(),
  }),
);

/**
 * `target` with a JSON patch applied. @see RFC 6902
 * @throws ApiFailure 400 when the patch is invalid, 422 when it does not apply or a `test` fails
 */
export function jsonPatch(target: JsonObject, patch: unknown): unknown {
  const parsed = operations.safeParse(patch);
  if (!parsed.success) throw badRequest('the JSON patch is invalid');
  let result: unknown = target;
  for (const { op, path, from, value } of parsed.data) {
    const keys = pointer(path);
    if (op === 'test') {
      if (JSON.stringify(read(result, keys)) !== JSON.stringify(value)) throw misfit(`testing path ${path} failed`);
      continue;
    }
    const moved = op === 'copy' || op === 'move' ? read(result, pointer(from ?? '')) : value;
    if (op === 'move') result = write(result, pointer(from ?? ''), undefined, 'remove');
    result = write(result, keys, moved, op === 'remove' ? 'remove' : op === 'replace' ? 'replace' : 'add');
  }
  return result;
}

function misfit(why: string): ApiFailure {
  return new ApiFailure(422, 'Invalid', `the server rejected our request due to an error in our request: ${why}`, {
    details: {},
  });
}

function pointer(path: string): readonly string[] {
  return path
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
}

function read(value: unknown, keys: readonly string[]): unknown {
  let current = value;
  for (const key of keys) {
    if (isList(current)) current = current[Number(key)];
    else current = isJsonObject(current) ? current[key] : undefined;
  }
  return current;
}

function write(target: unknown, keys: readonly string[], value: unknown, how: 'add' | 'replace' | 'remove'): unknown {
  const [key, ...rest] = keys;
  if (key === undefined) return value;
  if (isList(target)) {
    const list: unknown[] = [...target];
    const index = key === '-' ? list.length : Number(key);
    if (!Number.isInteger(index) || index < 0 || index > list.length) throw misfit(`no item ${key}`);
    if (rest.length > 0) list[index] = write(list[index], rest, value, how);
    else list.splice(index, how === 'add' ? 0 : 1, ...(how === 'remove' ? [] : [value]));
    return list;
  }
  if (!isJsonObject(target)) throw misfit(`nothing at ${key}`);
  if (rest.length > 0 || how !== 'add') {
    if (!(key in target)) throw misfit(`nothing at ${key}`);
  }
  const copy: Record<string, unknown> = { ...target };
  if (rest.length > 0) copy[key] = write(target[key], rest, value, how);
  else if (how === 'remove') Reflect.deleteProperty(copy, key);
  else copy[key] = value;
  return copy;
}
