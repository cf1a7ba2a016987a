/** Problems that make a manifest invalid under every policy: names and shapes that two parsers could read differently, and container restarts. */
import { isRecord, type JsonRecord, recordIn, recordsIn } from '../core/json.ts';
import { CONTAINER_LISTS } from '../core/pod/pod-security.ts';
import type { Problem } from '../errors.ts';

/** All such problems of a manifest, those of its spelling first. */
export function manifestProblems(manifest: JsonRecord): readonly Problem[] {
  return [...ambiguities(manifest), ...containerRestarts(recordIn(manifest, 'spec'))];
}

/** Field names that the policy checks. A parser that ignores case would accept them in another spelling. */
const GUARDED: ReadonlyMap<string, string> = new Map(
  [
    ...['spec', 'metadata', 'containers', 'initContainers', 'ephemeralContainers', 'volumes', 'hostPath', 'image'],
    ...['hostNetwork', 'hostPID', 'hostIPC', 'hostPort', 'securityContext', 'privileged', 'capabilities', 'add'],
    ...['serviceAccountName', 'serviceAccount', 'namespace', 'resources', 'limits', 'requests', 'runAsUser'],
    ...['runAsNonRoot', 'allowPrivilegeEscalation', 'procMount', 'seccompProfile', 'appArmorProfile', 'sysctls'],
    ...['secret', 'configMap', 'projected', 'secretRef', 'secretKeyRef', 'imagePullSecrets', 'finalizers'],
    ...['hostProcess', 'windowsOptions', 'ports', 'priorityClassName'],
  ].map((name) => [name.toLowerCase(), name]),
);
const RESERVED: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);
/** Maps whose keys are the user's own. */
const FREE_MAPS: ReadonlySet<string> = new Set([
  'labels',
  'annotations',
  'nodeSelector',
  'matchLabels',
  'limits',
  'requests',
  'volumeAttributes',
  'options',
]);
const OBJECT_LISTS: ReadonlySet<string> = new Set([...CONTAINER_LISTS, 'volumes', 'ports', 'env', 'envFrom']);
/** The search ends after this many problems. */
const MAX_AMBIGUITIES = 20;

/** What two parsers could read differently: guarded names in another case, reserved names, lists that are not lists. */
function ambiguities(manifest: JsonRecord): readonly Problem[] {
  const found: Problem[] = [];
  const open: { readonly path: readonly string[]; readonly value: unknown }[] = [{ path: [], value: manifest }];
  for (let one = open.pop(); one !== undefined && found.length < MAX_AMBIGUITIES; one = open.pop()) {
    const { path, value } = one;
    // A process cannot receive a NUL character, and some parsers end the string there.
    if (typeof value === 'string' && value.includes('\0'))
      found.push({ path: shownPath(path), message: 'contains a NUL character' });
    if (typeof value !== 'object' || value === null) continue;
    const isFree = FREE_MAPS.has(path.at(-1) ?? '');
    for (const [key, inner] of Object.entries(value)) {
      const at = [...path, key];
      if (RESERVED.has(key)) found.push({ path: shownPath(at), message: 'is a reserved name' });
      const meant = Array.isArray(value) || isFree ? undefined : GUARDED.get(key.toLowerCase());
      if (meant !== undefined && meant !== key)
        found.push({ path: shownPath(at), message: `must be spelled ${meant}` });
      if (!isFree && OBJECT_LISTS.has(key) && inner !== undefined && inner !== null)
        if (!Array.isArray(inner) || !inner.every(isRecord))
          found.push({ path: shownPath(at), message: 'must be a list of objects' });
      open.push({ path: at, value: inner });
    }
  }
  return found;
}

/**
 * Containers that the kubelet would restart (per container since Kubernetes 1.34). A pod is one attempt of its run, so a restart would repeat
 * the work without a new attempt. An init container with `restartPolicy: Always` is a sidecar and is allowed.
 */
function containerRestarts(spec: JsonRecord): readonly Problem[] {
  const found: Problem[] = [];
  const message = 'would restart the container inside one attempt; use `retries` instead';
  for (const list of ['initContainers', 'containers'] as const)
    for (const [index, { restartPolicy, restartPolicyRules }] of recordsIn(spec, list).entries()) {
      const path = `pod.spec.${list}[${String(index)}]`;
      const isSidecar = list === 'initContainers' && restartPolicy === 'Always';
      if ((restartPolicy ?? 'Never') !== 'Never' && !isSidecar) found.push({ path: `${path}.restartPolicy`, message });
      if (restartPolicyRules !== undefined && restartPolicyRules !== null)
        found.push({ path: `${path}.restartPolicyRules`, message });
    }
  return found;
}

/** A manifest path in its usual notation (`pod.spec.containers[0].image`), cut to 200 characters. */
export function shownPath(path: readonly string[]): string {
  let text = 'pod';
  for (const part of path) text += /^\d+$/.test(part) ? `[${part}]` : `.${part}`;
  return text.slice(0, 200);
}
