/**
 * Merges two pods: `base` has the lower priority, `client` the higher.
 * @see airflow.providers.cncf.kubernetes.pod_generator.PodGenerator.reconcile_pods
 */
import { isRecord, type JsonRecord } from '../json.ts';
import { MAP_FIELDS } from './pod-fields.ts';

/** Whether a value is "unset", that is false in Python: absent, null, false, 0, or an empty string, list or map. */
export function isUnset(value: unknown): boolean {
  if (value === undefined || value === null || value === false || value === 0 || value === '') return true;
  if (Array.isArray(value)) return value.length === 0;
  return isRecord(value) && Object.keys(value).length === 0;
}

/**
 * Whether field `name` of a pod is unset. An empty object of fields is set: it resets what has a lower priority, since Airflow makes a typed object of it. An
 * empty map of the user's own keys is not.
 */
function isUnsetField(name: string, value: unknown): boolean {
  return isUnset(value) && (!isRecord(value) || MAP_FIELDS.has(name));
}

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
const recordOf = (value: unknown): JsonRecord | undefined => (isRecord(value) ? value : undefined);

/**
 * Merges attribute by attribute, not recursively: the client's value, unless it is unset and the base has one that is not null. So a value
 * that the client unset on purpose loses to the base, and an object of the client, empty or not, replaces the base's whole.
 */
export function mergeObjects(base: JsonRecord | undefined, client: JsonRecord | undefined): JsonRecord | undefined {
  if (base === undefined || isUnset(base)) return client;
  if (client === undefined || isUnset(client)) return base;
  const merged: Record<string, unknown> = { ...client };
  for (const [key, value] of Object.entries(base)) {
    if (value !== undefined && value !== null && isUnsetField(key, merged[key])) merged[key] = value;
  }
  return merged;
}

/** Union of two maps; the client's value wins. */
export function unionMaps(base: JsonRecord | undefined, client: JsonRecord | undefined): JsonRecord | undefined {
  if (base === undefined || isUnset(base)) return client;
  if (client === undefined || isUnset(client)) return base;
  return { ...base, ...client };
}

/**
 * The client with list `field` = the base's entries, then its own; duplicates stay.
 * @throws TypeError when `field` is neither a list nor absent
 */
export function extendField(base: JsonRecord | undefined, client: JsonRecord | undefined, field: string): JsonRecord {
  for (const side of [base?.[field], client?.[field]])
    if (side !== undefined && side !== null && !Array.isArray(side)) throw new TypeError(`${field} must be a list`);
  const result: JsonRecord = { ...client };
  const before = base?.[field];
  if (isUnset(before)) return result;
  return { ...result, [field]: [...listOf(before), ...listOf(client?.[field])] };
}

const CONTAINER_LISTS = ['volumeMounts', 'env', 'envFrom', 'ports', 'volumeDevices'] as const;

function reconcileContainer(base: JsonRecord, client: JsonRecord): JsonRecord {
  let extended = client;
  for (const field of CONTAINER_LISTS) extended = extendField(base, extended, field);
  return mergeObjects(base, extended) ?? {};
}

/** Merges by position, never by name; surplus containers of either side are kept. */
export function reconcileContainers(base: readonly JsonRecord[], client: readonly JsonRecord[]): readonly JsonRecord[] {
  return Array.from({ length: Math.max(base.length, client.length) }, (_, index) => {
    const [low, high] = [base[index], client[index]];
    if (low === undefined) return high ?? {};
    return high === undefined ? low : reconcileContainer(low, high);
  });
}

/** Merges by name: the base's in their order, each merged with the client's of that name, then the client's others. */
export function reconcileInitContainers(
  base: readonly JsonRecord[],
  client: readonly JsonRecord[],
): readonly JsonRecord[] {
  if (base.length === 0) return client;
  const named = new Map(client.map((container) => [container['name'], container]));
  const known = new Set(base.map(({ name }) => name));
  const merged = base.map((low) => {
    const high = named.get(low['name']);
    return high === undefined ? low : reconcileContainer(low, high);
  });
  return [...merged, ...[...named].filter(([name]) => !known.has(name)).map(([, container]) => container)];
}

/** Union of labels and of annotations; for all other fields the client's value wins. */
export function reconcileMetadata(base: unknown, client: unknown): JsonRecord | undefined {
  const [low, high] = [recordOf(base), recordOf(client)];
  if (low === undefined || isUnset(low)) return high;
  if (high === undefined || isUnset(high)) return low;
  const merged = mergeObjects(low, high) ?? {};
  const labels = unionMaps(recordOf(low['labels']), recordOf(high['labels']));
  const annotations = unionMaps(recordOf(low['annotations']), recordOf(high['annotations']));
  return {
    ...merged,
    ...(labels === undefined ? {} : { labels }),
    ...(annotations === undefined ? {} : { annotations }),
  };
}

/** Containers merged by position, init containers by name, volumes concatenated, all other fields as in `mergeObjects`. */
export function reconcileSpecs(base: unknown, client: unknown): JsonRecord | undefined {
  const [low, high] = [recordOf(base), recordOf(client)];
  if (low === undefined || isUnset(low)) return high;
  if (high === undefined || isUnset(high)) return low;
  const containers = reconcileContainers(
    listOf(low['containers']).filter(isRecord),
    listOf(high['containers']).filter(isRecord),
  );
  const initContainers = reconcileInitContainers(
    listOf(low['initContainers']).filter(isRecord),
    listOf(high['initContainers']).filter(isRecord),
  );
  const lists = { containers, ...(initContainers.length === 0 ? {} : { initContainers }) };
  const extended = extendField(low, { ...high, ...lists }, 'volumes');
  return mergeObjects(low, extended);
}

/** Merges two pods. */
export function reconcilePods(base: JsonRecord | undefined, client: JsonRecord | undefined): JsonRecord {
  if (client === undefined) return base ?? {};
  if (base === undefined || isUnset(base)) return client;
  const spec = reconcileSpecs(base['spec'], client['spec']);
  const metadata = reconcileMetadata(base['metadata'], client['metadata']);
  return {
    ...mergeObjects(base, client),
    ...(metadata === undefined ? {} : { metadata }),
    ...(spec === undefined ? {} : { spec }),
  };
}
