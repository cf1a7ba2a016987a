/**
 * Pod Security: what is refused in a pod spec, and what level `restricted` sets in it. The levels are Kubernetes' Pod Security Standards,
 * except that both refuse added capabilities and sysctls which the tenant's policy does not allow.
 * @see https://kubernetes.io/docs/concepts/security/pod-security-standards/
 */
import { isRecord, type JsonRecord, recordIn, recordsIn } from '../json.ts';

/**
 * `privileged`: refuses nothing. `baseline`: refuses what endangers the node. `restricted`: pods also run as non-root without capabilities,
 * unless they set stricter values themselves.
 */
export type PodSecurity = 'privileged' | 'baseline' | 'restricted';

/** User id of `restricted` pods that set none. */
export const UNPRIVILEGED_USER = 65_534;

/** A resource of the host that a tenant's policy may allow. */
export type HostThing =
  | { readonly kind: 'network' | 'pid' | 'ipc' | 'privileged' }
  | { readonly kind: 'path'; readonly path: string }
  | { readonly kind: 'port'; readonly port: number }
  | { readonly kind: 'capability'; readonly capability: string }
  | { readonly kind: 'sysctl'; readonly name: string };

/** One violation. `thing`: the host resource that the tenant's policy can allow; absent: no policy can. */
export interface SecurityRefusal {
  readonly path: string;
  readonly message: string;
  readonly thing?: HostThing;
}

/** Lists of containers in a pod spec. */
export const CONTAINER_LISTS = ['initContainers', 'containers', 'ephemeralContainers'] as const;

/** Volume types allowed by level `restricted`. */
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
/** The only capability that level `restricted` lets a container add. */
const HARMLESS_CAPABILITY = 'NET_BIND_SERVICE';

/** Whether a field is set. Values of a wrong type count, because the next parser may be less strict. */
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
      message: 'privileged containers are not allowed',
      thing: { kind: 'privileged' },
    });
  for (const capability of textsOf(recordIn(security, 'capabilities')['add']))
    if (level !== 'restricted' || capability !== HARMLESS_CAPABILITY)
      refused.push({
        path: `${path}.capabilities.add`,
        message: `adding capability ${capability} is not allowed`,
        thing: { kind: 'capability', capability },
      });
  const procMount = security['procMount'];
  if (isSet(procMount) && procMount !== 'Default')
    refused.push({ path: `${path}.procMount`, message: 'must be Default' });
  for (const profile of ['seccompProfile', 'appArmorProfile']) {
    const type = recordIn(security, profile)['type'];
    if (isSet(type) && type !== 'RuntimeDefault' && type !== 'Localhost')
      refused.push({ path: `${path}.${profile}.type`, message: `${String(type)} is not allowed` });
  }
  const linux = recordIn(security, 'seLinuxOptions');
  const type = linux['type'];
  if (isSet(type) && type !== '' && !(typeof type === 'string' && /^container_(?:t|init_t|kvm_t|engine_t)$/.test(type)))
    refused.push({
      path: `${path}.seLinuxOptions.type`,
      message: 'must be a container type (container_t, container_init_t, container_kvm_t, container_engine_t)',
    });
  for (const field of ['user', 'role'])
    if (isSet(linux[field]) && linux[field] !== '')
      refused.push({ path: `${path}.seLinuxOptions.${field}`, message: 'must not be set' });
  if (isSet(recordIn(security, 'windowsOptions')['hostProcess']))
    refused.push({ path: `${path}.windowsOptions.hostProcess`, message: 'host processes are not allowed' });
  for (const [index, { name }] of recordsIn(security, 'sysctls').entries())
    refused.push({
      path: `${path}.sysctls[${String(index)}]`,
      message: 'sysctls are not allowed',
      thing: { kind: 'sysctl', name: typeof name === 'string' ? name : '?' },
    });
  return refused;
}

/** What level `restricted` requires of each container beyond `baseline`. `pod`: the pod's own security context. */
function loose(container: JsonRecord, pod: JsonRecord, path: string): readonly SecurityRefusal[] {
  const security = recordIn(container, 'securityContext');
  const refused: SecurityRefusal[] = [];
  const refuse = (field: string, message: string) =>
    refused.push({ path: `${path}.securityContext.${field}`, message });
  const effective = (field: string): unknown => security[field] ?? pod[field];
  if (effective('runAsNonRoot') !== true) refuse('runAsNonRoot', 'must be true');
  if (effective('runAsUser') === 0) refuse('runAsUser', 'must not be 0 (root)');
  if (security['allowPrivilegeEscalation'] !== false && security['privileged'] !== true)
    refuse('allowPrivilegeEscalation', 'must be false');
  if (!textsOf(recordIn(security, 'capabilities')['drop']).includes('ALL'))
    refuse('capabilities.drop', 'must include ALL');
  const type = recordIn({ profile: effective('seccompProfile') }, 'profile')['type'];
  if (type !== 'RuntimeDefault' && type !== 'Localhost')
    refuse('seccompProfile', 'must be RuntimeDefault or Localhost');
  return refused;
}

/** Probes and lifecycle hooks that make the kubelet call another host. */
function calledHosts(container: JsonRecord, path: string): readonly SecurityRefusal[] {
  const refused: SecurityRefusal[] = [];
  for (const name of ['livenessProbe', 'readinessProbe', 'startupProbe', 'lifecycle.postStart', 'lifecycle.preStop']) {
    const [, hook] = name.split('.');
    const handler = hook === undefined ? recordIn(container, name) : recordIn(recordIn(container, 'lifecycle'), hook);
    for (const how of ['httpGet', 'tcpSocket']) {
      const host = recordIn(handler, how)['host'];
      if (isSet(host) && host !== '')
        refused.push({ path: `${path}.${name}.${how}.host`, message: 'probes and hooks must not call other hosts' });
    }
  }
  return refused;
}

/** Violations of `level` in a pod spec: host namespaces, hostPath, host ports, privilege, added capabilities … `path`: path of the spec. */
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
      refused.push({ path: `${path}.${field}`, message: 'host namespaces are not allowed', thing: { kind } });
  for (const [index, volume] of recordsIn(spec, 'volumes').entries()) {
    const at = `${path}.volumes[${String(index)}]`;
    const { hostPath } = volume;
    if (isSet(hostPath)) {
      const where = isRecord(hostPath) && typeof hostPath['path'] === 'string' ? hostPath['path'] : '?';
      refused.push({
        path: `${at}.hostPath`,
        message: 'host paths are not allowed',
        thing: { kind: 'path', path: where },
      });
    }
    if (level !== 'restricted') continue;
    for (const [source, value] of Object.entries(volume))
      if (source !== 'name' && source !== 'hostPath' && isSet(value) && !RESTRICTED_VOLUMES.has(source))
        refused.push({ path: `${at}.${source}`, message: 'volumes of this type are not allowed' });
  }
  const pod = recordIn(spec, 'securityContext');
  refused.push(...refusedInSecurity(pod, `${path}.securityContext`, level));
  for (const list of CONTAINER_LISTS)
    for (const [index, container] of recordsIn(spec, list).entries()) {
      const at = `${path}.${list}[${String(index)}]`;
      refused.push(...refusedInSecurity(recordIn(container, 'securityContext'), `${at}.securityContext`, level));
      for (const [n, port] of recordsIn(container, 'ports').entries()) {
        const hostPort = port['hostPort'];
        if (isSet(hostPort) && hostPort !== 0)
          refused.push({
            path: `${at}.ports[${String(n)}].hostPort`,
            message: 'host ports are not allowed',
            thing: { kind: 'port', port: typeof hostPort === 'number' ? hostPort : -1 },
          });
      }
      refused.push(...calledHosts(container, at));
      if (level === 'restricted') refused.push(...loose(container, pod, at));
    }
  return refused;
}

/** Annotation for AppArmor profiles before Kubernetes 1.30. */
const APPARMOR_ANNOTATION = 'container.apparmor.security.beta.kubernetes.io/';

/** Violations in a pod's metadata, under all levels but `privileged`. `path`: path of the metadata. */
export function refusedInMetadata(metadata: JsonRecord, path: string): readonly SecurityRefusal[] {
  const refused: SecurityRefusal[] = [];
  for (const [key, value] of Object.entries(recordIn(metadata, 'annotations'))) {
    const isHarmless = value === 'runtime/default' || (typeof value === 'string' && value.startsWith('localhost/'));
    if (key.startsWith(APPARMOR_ANNOTATION) && !isHarmless)
      refused.push({ path: `${path}.annotations.${key}`, message: `${String(value)} is not allowed` });
  }
  const { finalizers } = metadata;
  const isEmpty = Array.isArray(finalizers) && finalizers.length === 0;
  if (isSet(finalizers) && !isEmpty) {
    const message = 'finalizers are not allowed: they could keep the pod after its run is over';
    refused.push({ path: `${path}.finalizers`, message });
  }
  return refused;
}

const isRoot = (user: unknown): boolean => !(typeof user === 'number' && user > 0);

function restrictContainer(container: JsonRecord): JsonRecord {
  const { runAsUser, runAsNonRoot, seccompProfile, ...security } = recordIn(container, 'securityContext');
  const capabilities = recordIn(security, 'capabilities');
  // Fields unset here are inherited from the pod. A container cannot loosen them, only set another non-root user.
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

/** A pod spec with the values of `level` set; a request can only be stricter. What cannot be set is left for `refusedInSpec` to refuse. */
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
      runAsUser: isRoot(user) ? UNPRIVILEGED_USER : user,
    },
  };
  for (const list of CONTAINER_LISTS) {
    const containers = recordsIn(spec, list);
    if (containers.length > 0) restricted[list] = containers.map(restrictContainer);
  }
  return restricted;
}
