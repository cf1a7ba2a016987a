/** What a request may not ask of a node, and what policy `restricted` adds. @see design §5 "Security" */
import { isRecord, type JsonRecord, recordIn, recordsIn } from './json.ts';

/** `privileged`: nothing is refused. `baseline`: what endangers the node is refused. `restricted`: pods also run as non-root without capabilities unless they say more narrowly. */
export type PodSecurity = 'privileged' | 'baseline' | 'restricted';

/** User of restricted pods that name none. */
const NOBODY = 65_534;

interface Refusal {
  readonly path: string;
  readonly message: string;
}

const CONTAINER_LISTS = ['initContainers', 'containers', 'ephemeralContainers'] as const;

function refusedInSecurity(security: JsonRecord, path: string): readonly Refusal[] {
  const refused: Refusal[] = [];
  if (security['privileged'] === true)
    refused.push({ path: `${path}.privileged`, message: 'privileged containers are refused' });
  const add = recordIn(security, 'capabilities')['add'];
  if (Array.isArray(add) && add.length > 0)
    refused.push({ path: `${path}.capabilities.add`, message: 'added capabilities are refused' });
  const procMount = security['procMount'];
  if (procMount !== undefined && procMount !== 'Default')
    refused.push({ path: `${path}.procMount`, message: 'only Default is allowed' });
  for (const profile of ['seccompProfile', 'appArmorProfile'])
    if (recordIn(security, profile)['type'] === 'Unconfined')
      refused.push({ path: `${path}.${profile}.type`, message: 'Unconfined is refused' });
  if (recordIn(security, 'windowsOptions')['hostProcess'] === true)
    refused.push({ path: `${path}.windowsOptions.hostProcess`, message: 'host processes are refused' });
  const sysctls = security['sysctls'];
  if (Array.isArray(sysctls) && sysctls.length > 0)
    refused.push({ path: `${path}.sysctls`, message: 'sysctls are refused' });
  return refused;
}

/** What of a pod spec is refused by `baseline` and `restricted`: host namespaces, hostPath, host ports, privilege, added capabilities. `path` leads to the spec. */
export function refusedInSpec(spec: JsonRecord, path: string): readonly Refusal[] {
  const refused: Refusal[] = [];
  for (const field of ['hostNetwork', 'hostPID', 'hostIPC'])
    if (spec[field] === true) refused.push({ path: `${path}.${field}`, message: 'host namespaces are refused' });
  recordsIn(spec, 'volumes').forEach((volume, index) => {
    if (isRecord(volume['hostPath']))
      refused.push({ path: `${path}.volumes[${String(index)}].hostPath`, message: 'host paths are refused' });
  });
  refused.push(...refusedInSecurity(recordIn(spec, 'securityContext'), `${path}.securityContext`));
  for (const list of CONTAINER_LISTS)
    recordsIn(spec, list).forEach((container, index) => {
      const at = `${path}.${list}[${String(index)}]`;
      refused.push(...refusedInSecurity(recordIn(container, 'securityContext'), `${at}.securityContext`));
      recordsIn(container, 'ports').forEach((port, n) => {
        if (typeof port['hostPort'] === 'number' && port['hostPort'] > 0)
          refused.push({ path: `${at}.ports[${String(n)}].hostPort`, message: 'host ports are refused' });
      });
    });
  return refused;
}

function restrictContainer(container: JsonRecord): JsonRecord {
  const security = recordIn(container, 'securityContext');
  return {
    ...container,
    securityContext: { ...security, allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
  };
}

/** A pod spec as `policy` wants it; a request can only narrow it further. */
export function securedSpec(spec: JsonRecord, policy: PodSecurity): JsonRecord {
  if (policy !== 'restricted') return spec;
  const security = recordIn(spec, 'securityContext');
  const user = security['runAsUser'];
  const restricted: Record<string, unknown> = {
    ...spec,
    securityContext: {
      seccompProfile: { type: 'RuntimeDefault' },
      ...security,
      runAsNonRoot: true,
      runAsUser: typeof user === 'number' && user > 0 ? user : NOBODY,
    },
  };
  for (const list of CONTAINER_LISTS) {
    const containers = recordsIn(spec, list);
    if (containers.length > 0) restricted[list] = containers.map(restrictContainer);
  }
  return restricted;
}
