/** Manifests that two readers could read in two ways; none of them is let through. */
import { isRecord, type JsonRecord, recordsIn } from '../core/json.ts';
import { CONTAINER_LISTS } from '../core/pod/pod-security.ts';

/** Field names whose meaning another reader could find under another case. */
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
/** Maps of the user's own keys. */
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

/** What makes a manifest readable in two ways: guarded names in another case, reserved names, lists that are none. */
export function ambiguities(manifest: JsonRecord): readonly { readonly path: string; readonly message: string }[] {
  const found: { path: string; message: string }[] = [];
  const open: { readonly path: readonly string[]; readonly value: unknown }[] = [{ path: [], value: manifest }];
  for (let one = open.pop(); one !== undefined && found.length < 20; one = open.pop()) {
    const { path, value } = one;
    // No program can be given one; some readers end a text there.
    if (typeof value === 'string' && value.includes('\0'))
      found.push({ path: shownPath(path), message: 'has a zero character in it' });
    if (typeof value !== 'object' || value === null) continue;
    const isFree = FREE_MAPS.has(path.at(-1) ?? '');
    for (const [key, inner] of Object.entries(value)) {
      const at = [...path, key];
      if (RESERVED.has(key)) found.push({ path: shownPath(at), message: 'is a reserved name' });
      const meant = Array.isArray(value) || isFree ? undefined : GUARDED.get(key.toLowerCase());
      if (meant !== undefined && meant !== key) found.push({ path: shownPath(at), message: `is spelt ${meant}` });
      if (!isFree && OBJECT_LISTS.has(key) && inner !== undefined && inner !== null)
        if (!Array.isArray(inner) || !inner.every(isRecord))
          found.push({ path: shownPath(at), message: 'must be a list of objects' });
      open.push({ path: at, value: inner });
    }
  }
  return found;
}

/** A manifest's path as people write it, cut to 200 characters. */
export function shownPath(path: readonly string[]): string {
  let text = 'pod';
  for (const part of path) text += /^\d+$/.test(part) ? `[${part}]` : `.${part}`;
  return text.slice(0, 200);
}

/** Where a pod spec has Kubernetes restart single containers (1.34 and newer); an init container that always restarts is a sidecar, and stays. */
export function restartsInSpec(spec: unknown): readonly { readonly path: string; readonly message: string }[] {
  return (['initContainers', 'containers'] as const).flatMap((list) =>
    recordsIn(isRecord(spec) ? spec : {}, list).flatMap((container, index) => {
      const path = `pod.spec.${list}[${String(index)}]`;
      const { restartPolicy, restartPolicyRules } = container;
      const mayStay =
        restartPolicy === undefined ||
        restartPolicy === null ||
        restartPolicy === 'Never' ||
        (list === 'initContainers' && restartPolicy === 'Always');
      const message = 'would repeat the container behind the run; use `retries` instead';
      return [
        ...(mayStay ? [] : [{ path: `${path}.restartPolicy`, message }]),
        ...(restartPolicyRules === undefined || restartPolicyRules === null
          ? []
          : [{ path: `${path}.restartPolicyRules`, message }]),
      ];
    }),
  );
}
