/**
 * The policy: for each tenant, which pods it may run. Allow-lists, resource ceilings and field rules, applied to the final manifest. Pure; the
 * file's schema is in `policy-file.ts`.
 */
import { type JsonRecord, recordIn, recordsIn, textIn } from '../core/json.ts';
import { CONTAINER_LISTS, type HostThing, type PodSecurity } from '../core/pod/pod-security.ts';
import { isOwnSidecar, type XcomSidecarSettings } from '../core/pod/xcom-sidecar.ts';
import { type Ceilings, overCeilings } from './ceilings.ts';
import { type FieldRules, refusedFields } from './field-rules.ts';
import { matches } from './patterns.ts';

/** Resources of the host that a tenant may use. Absent: none. */
export interface HostRules {
  readonly network?: boolean | undefined;
  readonly pid?: boolean | undefined;
  readonly ipc?: boolean | undefined;
  readonly privileged?: boolean | undefined;
  /** Directories, including everything below them. */
  readonly paths?: readonly string[] | undefined;
  readonly ports?: readonly number[] | undefined;
  readonly capabilities?: readonly string[] | undefined;
  readonly sysctls?: readonly string[] | undefined;
}

/** What one tenant may do. An absent list allows everything, an empty list nothing. In patterns `*` matches any text without `/`, `**` any text. */
export interface TenantPolicy {
  /** Named clusters. */
  readonly connections?: readonly string[] | undefined;
  /** Kubernetes namespaces, as patterns. */
  readonly namespaces?: readonly string[] | undefined;
  /** Service accounts, as patterns. A pod that names none uses `default`. */
  readonly serviceAccounts?: readonly string[] | undefined;
  /** Images, as patterns over the whole reference; `alpine` means `docker.io/library/alpine`. */
  readonly images?: readonly string[] | undefined;
  /** Secrets that pods may reference, as patterns. */
  readonly secrets?: readonly string[] | undefined;
  /** ConfigMaps that pods may reference, as patterns. */
  readonly configMaps?: readonly string[] | undefined;
  readonly priorityClasses?: readonly string[] | undefined;
  readonly resources?:
    | {
        /** For each container. */
        readonly perContainer?: Ceilings | undefined;
        /** For all containers together, added up as the scheduler does. */
        readonly perPod?: Ceilings | undefined;
      }
    | undefined;
  /** Manifest fields by path. A path covers everything below it; its syntax is described in `patterns.ts`. */
  readonly fields?: FieldRules | undefined;
  readonly host?: HostRules | undefined;
}

/** The content of the policy file. */
export interface Policy {
  readonly tenants: Readonly<Record<string, TenantPolicy>>;
  /** Applies to tenants without an entry. Absent: they may run nothing. */
  readonly default?: TenantPolicy | undefined;
}

/** One violation of a policy: the manifest path, what is wrong there, and the rule. */
export interface PolicyRefusal {
  readonly path: string;
  readonly message: string;
  readonly rule: string;
}

/** A tenant's rules, and their name for messages. `undefined`: the policy has none for this tenant, which then may run nothing. */
export function tenantPolicy(
  policy: Policy,
  tenant: string,
): { readonly rules: TenantPolicy; readonly name: string } | undefined {
  const own = Object.hasOwn(policy.tenants, tenant) ? policy.tenants[tenant] : undefined;
  if (own !== undefined) return { rules: own, name: `tenants.${tenant}` };
  return policy.default === undefined ? undefined : { rules: policy.default, name: 'default' };
}

/** Names of the registry that is used when a reference names none. */
const DEFAULT_REGISTRIES: ReadonlySet<string> = new Set(['docker.io', 'index.docker.io']);

/**
 * An image reference in full, as container runtimes read it: `alpine` and `docker.io/alpine` → `docker.io/library/alpine`. Repository names
 * have no upper-case letters, so a first part with one is a registry. Patterns that begin with `*` are returned as they are.
 * @see https://github.com/distribution/reference (splitDockerDomain)
 */
export function fullImage(reference: string): string {
  if (reference.startsWith('*')) return reference;
  const slash = reference.indexOf('/');
  if (slash < 0) return `docker.io/library/${reference}`;
  const first = reference.slice(0, slash);
  const isRegistry =
    first.includes('.') || first.includes(':') || first === 'localhost' || first !== first.toLowerCase();
  if (!isRegistry) return `docker.io/${reference}`;
  if (!DEFAULT_REGISTRIES.has(first)) return reference;
  const rest = reference.slice(slash + 1);
  // In a pattern, `**` can match more than one path segment.
  return rest.includes('/') || rest.includes('**') ? `docker.io/${rest}` : `docker.io/library/${rest}`;
}

/** Whether the host rules allow this resource. */
export function allowsHost(host: HostRules | undefined, thing: HostThing): boolean {
  if (host === undefined) return false;
  switch (thing.kind) {
    case 'network':
    case 'pid':
    case 'ipc':
    case 'privileged':
      return host[thing.kind] === true;
    case 'path': {
      const { path } = thing;
      // `..` would leave an allowed directory.
      if (path.split('/').some((part) => part === '..' || part === '.')) return false;
      return (host.paths ?? []).some(
        (root) => path === root || path.startsWith(root.endsWith('/') ? root : `${root}/`),
      );
    }
    case 'port':
      return (host.ports ?? []).includes(thing.port);
    case 'capability':
      return (host.capabilities ?? []).includes(thing.capability);
    case 'sysctl':
      return (host.sysctls ?? []).includes(thing.name);
  }
}

/** An object of the manifest, with its path. */
interface Located {
  readonly path: string;
  readonly value: JsonRecord;
}

function containersOf(spec: JsonRecord): readonly (Located & { readonly list: (typeof CONTAINER_LISTS)[number] })[] {
  return CONTAINER_LISTS.flatMap((list) =>
    recordsIn(spec, list).map((value, index) => ({ list, value, path: `pod.spec.${list}[${String(index)}]` })),
  );
}

const volumesOf = (spec: JsonRecord): readonly Located[] =>
  recordsIn(spec, 'volumes').map((value, index) => ({ value, path: `pod.spec.volumes[${String(index)}]` }));

interface Named {
  readonly path: string;
  readonly name: string;
}
const named = (holder: unknown, field: string, path: string): readonly Named[] => {
  const name = textIn(holder, field);
  return name === undefined ? [] : [{ path: `${path}.${field}`, name }];
};

/** Every Secret or ConfigMap that the pod references. */
function referencesOf(spec: JsonRecord, kind: 'secret' | 'configMap'): readonly Named[] {
  const [ref, keyRef] = kind === 'secret' ? ['secretRef', 'secretKeyRef'] : ['configMapRef', 'configMapKeyRef'];
  const found = containersOf(spec).flatMap(({ value, path }) => [
    ...recordsIn(value, 'env').flatMap((one, n) =>
      named(recordIn(recordIn(one, 'valueFrom'), keyRef), 'name', `${path}.env[${String(n)}].valueFrom.${keyRef}`),
    ),
    ...recordsIn(value, 'envFrom').flatMap((one, n) =>
      named(recordIn(one, ref), 'name', `${path}.envFrom[${String(n)}].${ref}`),
    ),
  ]);
  for (const { value, path } of volumesOf(spec)) {
    found.push(...named(recordIn(value, kind), kind === 'secret' ? 'secretName' : 'name', `${path}.${kind}`));
    recordsIn(recordIn(value, 'projected'), 'sources').forEach((source, n) => {
      found.push(...named(recordIn(source, kind), 'name', `${path}.projected.sources[${String(n)}].${kind}`));
    });
    if (kind !== 'secret') continue;
    // Volume drivers reference their credentials, too.
    for (const [driver, settings] of Object.entries(value)) {
      for (const field of ['secretRef', 'nodePublishSecretRef'])
        found.push(...named(recordIn(settings, field), 'name', `${path}.${driver}.${field}`));
      // CSI drivers do so in their own attributes, for example `secretName` of file.csi.azure.com and smb.csi.k8s.io.
      for (const [key, name] of Object.entries(recordIn(settings, 'volumeAttributes')))
        if (typeof name === 'string' && /secret-?name$/i.test(key))
          found.push({ path: `${path}.${driver}.volumeAttributes.${key}`, name });
      if (driver === 'azureFile') found.push(...named(settings, 'secretName', `${path}.${driver}`));
    }
  }
  if (kind === 'secret')
    recordsIn(spec, 'imagePullSecrets').forEach((one, n) => {
      found.push(...named(one, 'name', `pod.spec.imagePullSecrets[${String(n)}]`));
    });
  return found;
}

function imagesOf(spec: JsonRecord, sidecar: XcomSidecarSettings | undefined): readonly Named[] {
  return [
    // The sidecar belongs to the installation, and so does an image that the connection configures for it.
    ...containersOf(spec)
      .filter(({ value }) => !isOwnSidecar(value, sidecar))
      .flatMap(({ value, path }) => named(value, 'image', path)),
    ...volumesOf(spec).flatMap(({ value, path }) => named(recordIn(value, 'image'), 'reference', `${path}.image`)),
  ];
}

function unlisted(
  found: readonly Named[],
  patterns: readonly string[] | undefined,
  rule: string,
  full: (text: string) => string = (text) => text,
): readonly PolicyRefusal[] {
  if (patterns === undefined) return [];
  return found
    .filter(({ name }) => !patterns.some((pattern) => matches(full(pattern), full(name))))
    .map(({ path, name }) => ({ path, message: `${name.slice(0, 200)} is not allowed`, rule }));
}

/**
 * How a final manifest violates the tenant's policy. Host resources are checked with the Pod Security level, in `check-manifest.ts`.
 * `where` is what the pod will get: namespace, connection, and that connection's settings of the XCom sidecar.
 */
export function refusedByPolicy(
  manifest: JsonRecord,
  where: {
    readonly namespace: string | undefined;
    readonly connection: string | undefined;
    readonly sidecar?: XcomSidecarSettings | undefined;
    /** Level that the pod's security context was set to. */
    readonly podSecurity: PodSecurity;
  },
  { rules, name }: { readonly rules: TenantPolicy; readonly name: string },
): readonly PolicyRefusal[] {
  const spec = recordIn(manifest, 'spec');
  // `serviceAccount` is the deprecated name; Kubernetes uses it where the new one is absent.
  const account = textIn(spec, 'serviceAccountName');
  const oldAccount = textIn(spec, 'serviceAccount');
  const accounts: readonly Named[] = [
    ...(account === undefined ? [] : [{ path: 'pod.spec.serviceAccountName', name: account }]),
    ...(oldAccount === undefined ? [] : [{ path: 'pod.spec.serviceAccount', name: oldAccount }]),
    ...(account === undefined && oldAccount === undefined
      ? [{ path: 'pod.spec.serviceAccountName', name: 'default' }]
      : []),
  ];
  const known = (path: string, text: string | undefined): readonly Named[] =>
    text === undefined ? [] : [{ path, name: text }];
  return [
    ...unlisted(known('kubernetesConnId', where.connection), rules.connections, `${name}.connections`),
    ...unlisted(known('pod.metadata.namespace', where.namespace), rules.namespaces, `${name}.namespaces`),
    ...unlisted(accounts, rules.serviceAccounts, `${name}.serviceAccounts`),
    ...unlisted(imagesOf(spec, where.sidecar), rules.images, `${name}.images`, fullImage),
    ...unlisted(referencesOf(spec, 'secret'), rules.secrets, `${name}.secrets`),
    ...unlisted(referencesOf(spec, 'configMap'), rules.configMaps, `${name}.configMaps`),
    ...unlisted(named(spec, 'priorityClassName', 'pod.spec'), rules.priorityClasses, `${name}.priorityClasses`),
    ...(rules.resources === undefined ? [] : overCeilings(spec, rules.resources, `${name}.resources`, where.sidecar)),
    ...(rules.fields === undefined ? [] : refusedFields(manifest, rules.fields, `${name}.fields`, where)),
  ];
}
