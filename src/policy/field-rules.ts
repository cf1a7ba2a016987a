/** Rules on which manifest fields a tenant may set. Fields that reentry itself sets are never refused. Pure. */
import { shownPath } from './manifest-problems.ts';
import {
  patternCovers,
  type FieldPart,
  type FieldPattern,
  fieldPattern,
  type Reading,
  readingOf,
  readOn,
} from './patterns.ts';
import { isRecord, type JsonRecord, recordIn, recordsIn } from '../core/json.ts';
import { EXECUTOR_POD_ENV } from '../core/pod/executor-labels.ts';
import { ANNOTATIONS, LABELS, TASK_ANNOTATIONS } from '../core/pod/labels.ts';
import { CONTAINER_LISTS, UNPRIVILEGED_USER, type PodSecurity } from '../core/pod/pod-security.ts';
import { isOwnSidecar, isXcomMount, isXcomVolume, type XcomSidecarSettings } from '../core/pod/xcom-sidecar.ts';

/** Paths of fields; their syntax is described in `patterns.ts`. */
export interface FieldRules {
  /** Nothing else may be set. */
  readonly only?: readonly string[] | undefined;
  /** None of them may be set. */
  readonly never?: readonly string[] | undefined;
}

/** Fields that reentry sets in every pod, or that every pod must have. */
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

/** reentry's own keys in the two maps that it shares with the user. */
const OWN_KEYS: ReadonlyMap<string, ReadonlySet<string>> = new Map([
  ['labels', new Set<string>(Object.values(LABELS))],
  ['annotations', new Set<string>([...Object.values(ANNOTATIONS), ...TASK_ANNOTATIONS])],
]);

/** Values that Pod Security level `restricted` sets in a pod or a container. */
const HARDENED: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  ['securityContext.runAsNonRoot', true],
  ['securityContext.runAsUser', UNPRIVILEGED_USER],
  ['securityContext.allowPrivilegeEscalation', false],
  ['securityContext.capabilities.drop.0', 'ALL'],
  ['securityContext.seccompProfile.type', 'RuntimeDefault'],
]);

/** A value of the manifest without fields of its own, and its path. */
interface Leaf {
  readonly path: readonly string[];
  readonly value: unknown;
}

/** What the rules decide for a path so far, and the patterns that can still match below it. */
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
 * Every leaf of the manifest that the rules refuse. An empty object or list counts as a leaf, because `emptyDir: {}` has a meaning. Not
 * recursive, because manifests can be deep; patterns are matched on the way down, so each key is visited once.
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

/** Whether a pattern matches only fields that reentry sets itself: forbidding those has no effect. */
export function namesOwnField(parts: readonly FieldPart[]): boolean {
  const [root, map, ...key] = parts.map(({ text }) => text);
  if (root === 'metadata' && OWN_KEYS.get(map ?? '')?.has(key.join('.')) === true) return true;
  return OWN_FIELDS.some((own) =>
    patternCovers(
      own,
      parts.map(({ text }) => text),
    ),
  );
}

/** Whether a leaf is a value that level `restricted` sets. */
function isHardened({ path: [root, list = '', ...rest], value }: Leaf): boolean {
  const isContainer = CONTAINER_LISTS.some((one) => one === list);
  const field = isContainer ? rest.slice(1) : [list, ...rest];
  return root === 'spec' && value === HARDENED.get(field.join('.'));
}

/** What a manifest was built with, besides the request. */
export interface BuildSettings {
  readonly podSecurity: PodSecurity;
  /** The connection's settings of the XCom sidecar. */
  readonly sidecar?: XcomSidecarSettings | undefined;
}

/** A test for the leaves of this manifest that reentry has set. */
function ownLeaves(manifest: JsonRecord, { sidecar }: BuildSettings): (leaf: Leaf) => boolean {
  const containers = recordsIn(recordIn(manifest, 'spec'), 'containers');
  const sidecars = new Set(
    containers.flatMap((container, index) => (isOwnSidecar(container, sidecar) ? [String(index)] : [])),
  );
  return (leaf) => {
    const [root, list, index = '', field = '', entry = ''] = leaf.path;
    if (OWN_FIELDS.some((own) => patternCovers(own, leaf.path))) return true;
    if (root === 'metadata') {
      const keys = OWN_KEYS.get(list ?? '');
      // An empty map of labels sets nothing.
      return keys !== undefined && (leaf.path.length === 2 || (leaf.path.length === 3 && keys.has(index)));
    }
    if (root !== 'spec') return false;
    if (list === 'volumes') return sidecars.size > 0 && isXcomVolume(at(manifest, leaf.path.slice(0, 3)));
    if (list !== 'containers') return false;
    if (sidecars.has(index)) {
      // The request may set the sidecar's security context: it counts as the request's, unless the connection configures the same.
      const configured = at(sidecar?.securityContext, leaf.path.slice(4));
      return field !== 'securityContext' || JSON.stringify(configured) === JSON.stringify(leaf.value);
    }
    if (field === 'terminationMessagePolicy') return leaf.value === 'File';
    const one = at(containers[Number(index)], [field, entry]);
    if (field === 'volumeMounts') return sidecars.size > 0 && index === '0' && isXcomMount(one);
    return field === 'env' && JSON.stringify(one) === JSON.stringify(EXECUTOR_POD_ENV);
  };
}

/** The value at a path; `undefined` where there is none. */
function at(value: unknown, path: readonly string[]): unknown {
  let found = value;
  for (const key of path) {
    if (!isRecord(found) && !Array.isArray(found)) return undefined;
    found = Object.hasOwn(found, key) ? Reflect.get(found, key) : undefined;
  }
  return found;
}

/** Most refusals reported at once. */
const MAX_REFUSALS = 20;

/** The fields of a final manifest that the rules refuse. `rule`: the name of the rules, for messages. */
export function refusedFields(
  manifest: JsonRecord,
  rules: FieldRules,
  rule: string,
  settings: BuildSettings,
): readonly { readonly path: string; readonly message: string; readonly rule: string }[] {
  const isOwn = ownLeaves(manifest, settings);
  const refused: { path: string; message: string; rule: string }[] = [];
  for (const { forbiddenBy, ...leaf } of refusedLeaves(manifest, rules)) {
    if (isOwn(leaf)) continue;
    // Below level `restricted` the user has set it, which is allowed unless it is forbidden.
    if (isHardened(leaf) && (forbiddenBy === undefined || settings.podSecurity === 'restricted')) continue;
    const path = shownPath(leaf.path);
    if (forbiddenBy === undefined)
      refused.push({ path, message: 'may not be set: only the listed fields are allowed', rule: `${rule}.only` });
    else refused.push({ path, message: `${forbiddenBy.text} may not be set`, rule: `${rule}.never` });
    if (refused.length === MAX_REFUSALS) break;
  }
  return refused;
}
