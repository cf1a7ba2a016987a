/** Which fields of a manifest a tenant may set. What reentry itself puts into pods is no tenant's doing and is never refused. Pure. */
import { shownPath } from './manifest-problems.ts';
import {
  covers,
  type FieldPart,
  type FieldPattern,
  fieldPattern,
  type Reading,
  readingOf,
  readOn,
} from './patterns.ts';
import { isRecord, type JsonRecord, recordIn, recordsIn } from '../core/json.ts';
import { ANNOTATIONS, LABELS, TASK_ANNOTATIONS } from '../core/pod/labels.ts';
import { CONTAINER_LISTS, NOBODY, type PodSecurity } from '../core/pod/pod-security.ts';
import { isOwnSidecar, isXcomMount, isXcomVolume, type XcomSidecarSettings } from '../core/pod/xcom-sidecar.ts';

/** Paths of fields. @see field-pattern.ts for how they are written */
export interface FieldRules {
  /** Nothing else may be set. */
  readonly only?: readonly string[] | undefined;
  /** None of them may be set. */
  readonly never?: readonly string[] | undefined;
}

/** Tells a program that it runs in a pod of an executor. */
export const EXECUTOR_POD_ENV = { name: 'AIRFLOW_IS_K8S_EXECUTOR_POD', value: 'True' } as const;

/** Fields that every pod has from us, or has to have. */
const OWN_FIELDS: readonly FieldPattern[] = [
  'apiVersion',
  'kind',
  'metadata.name',
  'metadata.namespace',
  'spec.restartPolicy',
  'spec.activeDeadlineSeconds',
  'spec.containers.*.name',
  'spec.initContainers.*.name',
].map(fieldPattern);

/** Keys of ours in the two maps that are shared with the user. */
const OWN_KEYS: ReadonlyMap<string, ReadonlySet<string>> = new Map([
  ['labels', new Set<string>(Object.values(LABELS))],
  ['annotations', new Set<string>([...Object.values(ANNOTATIONS), ...TASK_ANNOTATIONS])],
]);

/** What hardening sets in a pod or a container. */
const HARDENED: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  ['securityContext.runAsNonRoot', true],
  ['securityContext.runAsUser', NOBODY],
  ['securityContext.allowPrivilegeEscalation', false],
  ['securityContext.capabilities.drop.0', 'ALL'],
  ['securityContext.seccompProfile.type', 'RuntimeDefault'],
]);

/** A value of the manifest with nothing below it, by its path. */
interface Leaf {
  readonly path: readonly string[];
  readonly value: unknown;
}

/** What the rules say of a place, and what they may still say of what is below it. */
interface Verdict {
  readonly never: Reading;
  readonly only: Reading;
  readonly forbiddenBy: FieldPattern | undefined;
  readonly isAllowed: boolean;
}

function verdictBelow(above: Verdict, key: string): Verdict {
  const never = readOn(above.never, key);
  const only = readOn(above.only, key);
  return {
    never: never.reading,
    only: only.reading,
    forbiddenBy: above.forbiddenBy ?? never.named,
    isAllowed: above.isAllowed || only.named !== undefined,
  };
}

/**
 * Every leaf of the manifest that the rules do not let through: an empty object or list is one, because `emptyDir: {}` says something. Without
 * recursion, a manifest may be deep; patterns are read along, so that each key is looked at once.
 */
function* refusedLeaves(
  manifest: JsonRecord,
  { only, never = [] }: FieldRules,
): Generator<Leaf & Pick<Verdict, 'forbiddenBy'>> {
  const verdict: Verdict = {
    never: readingOf(never.map(fieldPattern)),
    only: readingOf((only ?? []).map(fieldPattern)),
    forbiddenBy: undefined,
    isAllowed: only === undefined,
  };
  const open: (Leaf & { readonly verdict: Verdict })[] = [{ path: [], value: manifest, verdict }];
  for (let one = open.pop(); one !== undefined; one = open.pop()) {
    const { path, value, verdict: above } = one;
    const before = open.length;
    if (typeof value === 'object' && value !== null)
      for (const [key, inner] of Object.entries(value))
        if (isSet(inner)) open.push({ path: [...path, key], value: inner, verdict: verdictBelow(above, key) });
    if (open.length > before || (above.isAllowed && above.forbiddenBy === undefined)) continue;
    yield { path, value, forbiddenBy: above.forbiddenBy };
  }
}

const isSet = (value: unknown): boolean => value !== undefined && value !== null;

/** Whether a pattern names only what reentry sets itself: as a rule it would change nothing. */
export function namesOwnField(parts: readonly FieldPart[]): boolean {
  const [root, map, ...key] = parts.map(({ text }) => text);
  if (root === 'metadata' && OWN_KEYS.get(map ?? '')?.has(key.join('.')) === true) return true;
  return OWN_FIELDS.some((own) =>
    covers(
      own,
      parts.map(({ text }) => text),
    ),
  );
}

/** Whether a leaf is what hardening makes of a pod. */
function isHardened({ path: [root, list = '', ...rest], value }: Leaf): boolean {
  const isContainer = CONTAINER_LISTS.some((one) => one === list);
  const field = isContainer ? rest.slice(1) : [list, ...rest];
  return root === 'spec' && value === HARDENED.get(field.join('.'));
}

/** What a pod was made with, besides the request. */
export interface Making {
  readonly podSecurity: PodSecurity;
  /** How the connection has results carried. */
  readonly sidecar?: XcomSidecarSettings | undefined;
}

/** What of this manifest is ours. */
function ownLeaves(manifest: JsonRecord, { sidecar }: Making): (leaf: Leaf) => boolean {
  const containers = recordsIn(recordIn(manifest, 'spec'), 'containers');
  const sidecars = new Set(
    containers.flatMap((container, index) => (isOwnSidecar(container, sidecar) ? [String(index)] : [])),
  );
  return (leaf) => {
    const [root, list, index = '', field = '', entry = ''] = leaf.path;
    if (OWN_FIELDS.some((own) => covers(own, leaf.path))) return true;
    if (root === 'metadata') {
      const keys = OWN_KEYS.get(list ?? '');
      // An empty map of labels sets no label.
      return keys !== undefined && (leaf.path.length === 2 || (leaf.path.length === 3 && keys.has(index)));
    }
    if (root !== 'spec') return false;
    if (list === 'volumes') return sidecars.size > 0 && isXcomVolume(at(manifest, leaf.path.slice(0, 3)));
    if (list !== 'containers') return false;
    if (sidecars.has(index)) {
      // As which user it runs is the request's to say, unless the connection says the same.
      const configured = at(sidecar?.securityContext, leaf.path.slice(4));
      return field !== 'securityContext' || JSON.stringify(configured) === JSON.stringify(leaf.value);
    }
    if (field === 'terminationMessagePolicy') return leaf.value === 'File';
    const one = at(containers[Number(index)], [field, entry]);
    if (field === 'volumeMounts') return sidecars.size > 0 && index === '0' && isXcomMount(one);
    return field === 'env' && JSON.stringify(one) === JSON.stringify(EXECUTOR_POD_ENV);
  };
}

/** What is at a path; `undefined` where nothing is. */
function at(value: unknown, path: readonly string[]): unknown {
  let found = value;
  for (const key of path) {
    if (!isRecord(found) && !Array.isArray(found)) return undefined;
    found = Object.hasOwn(found, key) ? Reflect.get(found, key) : undefined;
  }
  return found;
}

/** Refusals told at a time. */
const MAX_REFUSALS = 20;

/** What of a final manifest the rules do not allow. `rule`: what they are called. */
export function refusedFields(
  manifest: JsonRecord,
  rules: FieldRules,
  rule: string,
  making: Making,
): readonly { readonly path: string; readonly message: string; readonly rule: string }[] {
  const isOwn = ownLeaves(manifest, making);
  const refused: { path: string; message: string; rule: string }[] = [];
  for (const { forbiddenBy, ...leaf } of refusedLeaves(manifest, rules)) {
    if (isOwn(leaf)) continue;
    // Where nobody hardens, the user has set it: allowed, unless it is forbidden.
    if (isHardened(leaf) && (forbiddenBy === undefined || making.podSecurity === 'restricted')) continue;
    const path = shownPath(leaf.path);
    if (forbiddenBy === undefined) refused.push({ path, message: 'may not be set', rule: `${rule}.only` });
    else refused.push({ path, message: `${forbiddenBy.text} may not be set`, rule: `${rule}.never` });
    if (refused.length === MAX_REFUSALS) break;
  }
  return refused;
}
