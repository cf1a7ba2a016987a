/**
 * What a pod may not ask of a node, and what policy `restricted` adds. The levels are Kubernetes' Pod Security Standards, where ours is not
 * stricter: added capabilities and sysctls are refused by both levels, unless the tenant's policy allows them.
 * @see https://kubernetes.io/docs/concepts/security/pod-security-standards/
 * @see design §5 "Security"
 */
import { isRecord, type JsonRecord, recordIn, recordsIn } from '../json.ts';

/** `privileged`: nothing is refused. `baseline`: what endangers the node is refused. `restricted`: pods also run as non-root without capabilities unless they say more narrowly. */
export type PodSecurity = 'privileged' | 'baseline' | 'restricted';

/** User of restricted pods that name none. */
export const NOBODY = 65_534;

/** A thing of the host that a tenant's policy may allow. */
export type HostThing =
  | { readonly kind: 'network' | 'pid' | 'ipc' | 'privileged' }
  | { readonly kind: 'path'; readonly path: string }
  | { readonly kind: 'port'; readonly port: number }
  | { readonly kind: 'capability'; readonly capability: string }
  | { readonly kind: 'sysctl'; readonly name: string };

/** One thing that the level refuses. `thing`: what the tenant's policy would have to allow; absent: nothing can. */
export interface SecurityRefusal {
  readonly path: string;
  readonly message: string;
  readonly thing?: HostThing;
}

/** Lists of containers in a pod spec. */
export const CONTAINER_LISTS = ['initContainers', 'containers', 'ephemeralContainers'] as const;

/** Volumes of the restricted level. */
const RESTRICTED_VOLUMES: ReadonlySet<string> = new Set([
  'configMap',
  'csi',
  'downwardAPI',
  'emptyDir',
  'ephemeral',
  'image',
  'persistentVolumeClaim',
  'projected',
  'secret',
]);
/** The one capability that the restricted level lets a container add. */
const HARMLESS_CAPABILITY = 'NET_BIND_SERVICE';

/** Set to something: a value of the wrong type counts, since whoever reads it next may be less strict. */
const isSet = (value: unknown): boolean => value !== undefined && value !== null && value !== false;

function textsOf(value: unknown): readonly string[] {
  if (!isSet(value)) return [];
  return Array.isArray(value) ? value.map((one) => (typeof one === 'string' ? one : '?')) : ['?'];
}

function refusedInSecurity(security: JsonRecord, path: string, level: PodSecurity): readonly SecurityRefusal[] {
  const refused: SecurityRefusal[] = [];
  if (isSet(security['privileged']))
    refused.push({
      path: `${path}.privileged`,
      message: 'privileged containers are refused',
      thing: { kind: 'privileged' },
    });
  for (const capability of textsOf(recordIn(security, 'capabilities')['add']))
    if (level !== 'restricted' || capability !== HARMLESS_CAPABILITY)
      refused.push({
        path: `${path}.capabilities.add`,
        message: `added capabilities are refused (${capability})`,
        thing: { kind: 'capability', capability },
      });
  const procMount = security['procMount'];
  if (isSet(procMount) && procMount !== 'Default')
    refused.push({ path: `${path}.procMount`, message: 'only Default is allowed' });
  for (const profile of ['seccompProfile', 'appArmorProfile']) {
    const type = recordIn(security, profile)['type'];
    if (isSet(type) && type !== 'RuntimeDefault' && type !== 'Localhost')
      refused.push({ path: `${path}.${profile}.type`, message: `${String(type)} is refused` });
  }
  const linux = recordIn(security, 'seLinuxOptions');
  const type = linux['type'];
  if (isSet(type) && type !== '' && !(typeof type === 'string' && /^container_(?:t|init_t|kvm_t|engine_t)$/.test(type)))
    refused.push({ path: `${path}.seLinuxOptions.type`, message: 'only container types are allowed' });
  for (const field of ['user', 'role'])
    if (isSet(linux[field]) && linux[field] !== '')
      refused.push({ path: `${path}.seLinuxOptions.${field}`, message: 'is refused' });
  if (isSet(recordIn(security, 'windowsOptions')['hostProcess']))
    refused.push({ path: `${path}.windowsOptions.hostProcess`, message: 'host processes are refused' });
  recordsIn(security, 'sysctls').forEach(({ name }, index) =>
    refused.push({
      path: `${path}.sysctls[${String(index)}]`,
      message: 'sysctls are refused',
      thing: { kind: 'sysctl', name: typeof name === 'string' ? name : '?' },
    }),
  );
  return refused;
}

/** What `restricted` asks of each container beyond `baseline`; `pod` is the pod's own security context. */
function loose(container: JsonRecord, pod: JsonRecord, path: string): readonly SecurityRefusal[] {
  const security = recordIn(container, 'securityContext');
  const refused: SecurityRefusal[] = [];
  const refuse = (field: string, message: string) =>
    refused.push({ path: `${path}.securityContext.${field}`, message });
  const effective = (field: string): unknown => security[field] ?? pod[field];
  if (effective('runAsNonRoot') !== true) refuse('runAsNonRoot', 'must be true');
  if (effective('runAsUser') === 0) refuse('runAsUser', 'root is refused');
  if (security['allowPrivilegeEscalation'] !== false && security['privileged'] !== true)
    refuse('allowPrivilegeEscalation', 'must be false');
  if (!textsOf(recordIn(security, 'capabilities')['drop']).includes('ALL'))
    refuse('capabilities.drop', 'must have ALL');
  const type = recordIn({ profile: effective('seccompProfile') }, 'profile')['type'];
  if (type !== 'RuntimeDefault' && type !== 'Localhost')
    refuse('seccompProfile', 'must be RuntimeDefault or Localhost');
  return refused;
}

/** Probes and hooks that make the kubelet call another host. */
function calledHosts(container: JsonRecord, path: string): readonly SecurityRefusal[] {
  const handlers = [
    ...['livenessProbe', 'readinessProbe', 'startupProbe'].map((name) => [name, recordIn(container, name)] as const),
    ...['postStart', 'preStop'].map(
      (name) => [`lifecycle.${name}`, recordIn(recordIn(container, 'lifecycle'), name)] as const,
    ),
  ];
  return handlers.flatMap(([name, handler]) =>
    ['httpGet', 'tcpSocket'].flatMap((how) => {
      const host = recordIn(handler, how)['host'];
      return isSet(host) && host !== ''
        ? [{ path: `${path}.${name}.${how}.host`, message: 'calls to other hosts are refused' }]
        : [];
    }),
  );
}

/** What of a pod spec is refused by `level`: host namespaces, hostPath, host ports, privilege, added capabilities …; `path` leads to the spec. */
export function refusedInSpec(
  spec: JsonRecord,
  path: string,
  level: Exclude<PodSecurity, 'privileged'> = 'baseline',
): readonly SecurityRefusal[] {
  const refused: SecurityRefusal[] = [];
  for (const [field, kind] of [
    ['hostNetwork', 'network'],
    ['hostPID', 'pid'],
    ['hostIPC', 'ipc'],
  ] as const)
    if (isSet(spec[field]))
      refused.push({ path: `${path}.${field}`, message: 'host namespaces are refused', thing: { kind } });
  recordsIn(spec, 'volumes').forEach((volume, index) => {
    const at = `${path}.volumes[${String(index)}]`;
    const { hostPath } = volume;
    if (isSet(hostPath)) {
      const where = isRecord(hostPath) && typeof hostPath['path'] === 'string' ? hostPath['path'] : '?';
      refused.push({
        path: `${at}.hostPath`,
        message: 'host paths are refused',
        thing: { kind: 'path', path: where },
      });
    }
    if (level !== 'restricted') return;
    for (const [source, value] of Object.entries(volume))
      if (source !== 'name' && source !== 'hostPath' && isSet(value) && !RESTRICTED_VOLUMES.has(source))
        refused.push({ path: `${at}.${source}`, message: 'volumes of this type are refused' });
  });
  const pod = recordIn(spec, 'securityContext');
  refused.push(...refusedInSecurity(pod, `${path}.securityContext`, level));
  for (const list of CONTAINER_LISTS)
    recordsIn(spec, list).forEach((container, index) => {
      const at = `${path}.${list}[${String(index)}]`;
      refused.push(...refusedInSecurity(recordIn(container, 'securityContext'), `${at}.securityContext`, level));
      recordsIn(container, 'ports').forEach((port, n) => {
        const hostPort = port['hostPort'];
        if (isSet(hostPort) && hostPort !== 0)
          refused.push({
            path: `${at}.ports[${String(n)}].hostPort`,
            message: 'host ports are refused',
            thing: { kind: 'port', port: typeof hostPort === 'number' ? hostPort : -1 },
          });
      });
      refused.push(...calledHosts(container, at));
      if (level === 'restricted') refused.push(...loose(container, pod, at));
    });
  return refused;
}

/** The annotation that switched AppArmor off before it had a field. */
const APPARMOR_ANNOTATION = 'container.apparmor.security.beta.kubernetes.io/';

/** What of a pod's metadata is refused by every level but `privileged`. `path` leads to the metadata. */
export function refusedInMetadata(metadata: JsonRecord, path: string): readonly SecurityRefusal[] {
  const refused = Object.entries(recordIn(metadata, 'annotations')).flatMap(([key, value]) =>
    key.startsWith(APPARMOR_ANNOTATION) &&
    value !== 'runtime/default' &&
    !(typeof value === 'string' && value.startsWith('localhost/'))
      ? [{ path: `${path}.annotations.${key}`, message: `${String(value)} is refused` }]
      : [],
  );
  // A pod must be able to go when its run is over. @see design §1, promise 4
  const { finalizers } = metadata;
  return Array.isArray(finalizers) && finalizers.length === 0
    ? refused
    : isSet(finalizers)
      ? [...refused, { path: `${path}.finalizers`, message: 'finalizers are refused: a pod must be able to go' }]
      : refused;
}

const isRoot = (user: unknown): boolean => !(typeof user === 'number' && user > 0);

function restrictContainer(container: JsonRecord): JsonRecord {
  const { runAsUser, runAsNonRoot, seccompProfile, ...security } = recordIn(container, 'securityContext');
  const capabilities = recordIn(security, 'capabilities');
  // What is unset here is the pod's; a container cannot loosen that, only name another non-root user.
  return {
    ...container,
    securityContext: {
      ...security,
      ...(isSet(runAsUser) && !isRoot(runAsUser) ? { runAsUser } : {}),
      ...(runAsNonRoot === true ? { runAsNonRoot } : {}),
      ...(isSet(seccompProfile) ? { seccompProfile } : {}),
      allowPrivilegeEscalation: security['privileged'] === true ? security['allowPrivilegeEscalation'] : false,
      capabilities: { ...(isSet(capabilities['add']) ? { add: capabilities['add'] } : {}), drop: ['ALL'] },
    },
  };
}

/** A pod spec as `policy` wants it; a request can only narrow it further. What cannot be mended is left for `refusedInSpec` to refuse. */
export function securedSpec(spec: JsonRecord, policy: PodSecurity): JsonRecord {
  if (policy !== 'restricted') return spec;
  const { seccompProfile, ...security } = recordIn(spec, 'securityContext');
  const user = security['runAsUser'];
  const restricted: Record<string, unknown> = {
    ...spec,
    securityContext: {
      seccompProfile: isSet(seccompProfile) ? seccompProfile : { type: 'RuntimeDefault' },
      ...security,
      runAsNonRoot: true,
      runAsUser: isRoot(user) ? NOBODY : user,
    },
  };
  for (const list of CONTAINER_LISTS) {
    const containers = recordsIn(spec, list);
    if (containers.length > 0) restricted[list] = containers.map(restrictContainer);
  }
  return restricted;
}
