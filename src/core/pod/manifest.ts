/** Parameters → pod manifest, merged in the order of Airflow's `KubernetesPodOperator.build_pod_request_obj`. Pure. */
import { createHash } from 'node:crypto';
import { isRecord, type JsonRecord, recordIn, recordsIn, textIn } from '../json.ts';
import {
  EXECUTOR_LABELS,
  normalizeLabels,
  podAnnotations,
  type PodIdentity,
  podLabels,
  withoutMarks,
} from './labels.ts';
import { isUnset, reconcilePods } from './merge.ts';
import { typedPod } from './typed-pod.ts';
import { normalizeName, podName } from './names.ts';
import { addXcomSidecar, type XcomSidecarSettings } from './xcom-sidecar.ts';
import { type PodSecurity, refusedInSpec, securedSpec, type SecurityRefusal } from './pod-security.ts';

/** How much later than the triggerer Kubernetes enforces an execution time-out, in seconds. */
const DEADLINE_SLACK_SECONDS = 30;

type Text = string | null | undefined;
type Fields = JsonRecord | null | undefined;
type Named = JsonRecord & { readonly name: string };

/** The parameters of a `pod` run that reach its manifest, named as those of Airflow's KubernetesPodOperator. `null` is as absent. */
export interface ManifestParams {
  readonly name?: Text;
  readonly randomNameSuffix: boolean;
  readonly namespace?: Text;
  readonly labels: Readonly<Record<string, string | null>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** The base container. */
  readonly baseContainerName: string;
  readonly image?: Text;
  readonly cmds: readonly string[];
  readonly arguments: readonly string[];
  readonly ports: readonly JsonRecord[];
  /** A map, a list of variables, or a template that was not rendered, which sets none. */
  readonly envVars: string | readonly JsonRecord[] | Readonly<Record<string, string | number | boolean | null>>;
  readonly podRuntimeInfoEnvs: readonly JsonRecord[];
  readonly envFrom: readonly JsonRecord[];
  readonly configmaps: readonly string[];
  readonly secrets: readonly SecretParams[];
  readonly imagePullPolicy?: Text;
  readonly containerResources?: Fields;
  readonly volumeMounts: readonly JsonRecord[];
  readonly terminationMessagePolicy: string | null;
  readonly containerSecurityContext?: Fields;
  /** The pod. */
  readonly initContainers: readonly Named[];
  readonly volumes: readonly Named[];
  readonly affinity: JsonRecord;
  readonly nodeSelector: Readonly<Record<string, string>>;
  readonly tolerations: readonly JsonRecord[];
  /** Names, separated by commas, or references. */
  readonly imagePullSecrets: string | readonly Named[];
  readonly serviceAccountName?: Text;
  readonly automountServiceAccountToken?: boolean | null | undefined;
  readonly hostnetwork: boolean;
  readonly hostAliases?: readonly JsonRecord[] | null | undefined;
  readonly securityContext: JsonRecord;
  readonly dnspolicy?: Text;
  readonly dnsConfig?: Fields;
  readonly hostname?: Text;
  readonly subdomain?: Text;
  readonly schedulername?: Text;
  readonly priorityClassName?: Text;
  readonly runtimeClassName?: Text;
  /** Seconds; 0 sets none. */
  readonly activeDeadlineSeconds?: number | null | undefined;
  /** Seconds. */
  readonly terminationGracePeriod?: number | null | undefined;
  readonly fullPodSpec?: Fields;
  readonly podTemplateDict?: Fields;
  readonly doXcomPush: boolean;
  readonly xcomMode: 'auto' | 'message' | 'sidecar';
  readonly xcomSidecarContainerSecurityContext?: Fields;
}

/** A Kubernetes Secret for the base container: one key as a variable, all keys as variables, or a volume. */
export interface SecretParams {
  readonly deployType: 'env' | 'volume';
  /** Name of the variable, or path of the mount. */
  readonly deployTarget?: Text;
  readonly secret: string;
  readonly key?: Text;
  readonly items: readonly JsonRecord[];
}

/** What a manifest is made of besides the parameters. */
export interface ManifestSettings extends PodIdentity {
  /** The connection's default, used where neither parameters nor template name one. */
  readonly defaultNamespace: string;
  /** Seconds left of the attempt's execution time. */
  readonly executionTimeoutSeconds?: number | undefined;
  readonly podSecurity: PodSecurity;
  /** The content of `podTemplateFile`. */
  readonly template?: JsonRecord | undefined;
  /** The connection's settings of the result sidecar. Absent: no pod has one. */
  readonly xcomSidecar?: XcomSidecarSettings | undefined;
}

/** `fields` without those that count as unset, which an API server ignores. */
function pruned(fields: JsonRecord): JsonRecord {
  const set: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields))
    if (!isUnset(value) || value === false || value === 0) set[name] = value;
  return set;
}

function envOf({ envVars, podRuntimeInfoEnvs }: ManifestParams): readonly JsonRecord[] {
  if (typeof envVars === 'string') return podRuntimeInfoEnvs;
  const given = isRecord(envVars)
    ? Object.entries(envVars).map(([name, value]) => (value === null ? { name } : { name, value: String(value) }))
    : envVars;
  return [...given, ...podRuntimeInfoEnvs];
}

/** A parameter that is an object; an empty one is unset, as in Airflow, where it is a plain dictionary. */
const unlessEmpty = (value: unknown): unknown => (isRecord(value) && isUnset(value) ? undefined : value);

/** The parameters as a pod. Fields that they leave out are undefined or null; `podManifest` removes them. */
function operatorPod(params: ManifestParams): JsonRecord {
  const { imagePullSecrets, automountServiceAccountToken } = params;
  const base = {
    name: params.baseContainerName,
    image: params.image,
    command: params.cmds,
    args: params.arguments,
    ports: params.ports,
    env: envOf(params),
    envFrom: [...params.envFrom, ...params.configmaps.map((name) => ({ configMapRef: { name } }))],
    imagePullPolicy: params.imagePullPolicy,
    resources: params.containerResources,
    volumeMounts: params.volumeMounts,
    terminationMessagePolicy: params.terminationMessagePolicy === '' ? undefined : params.terminationMessagePolicy,
    securityContext: unlessEmpty(params.containerSecurityContext),
  };
  const spec = {
    containers: [base],
    initContainers: params.initContainers,
    volumes: params.volumes,
    affinity: unlessEmpty(params.affinity),
    nodeSelector: params.nodeSelector,
    tolerations: params.tolerations,
    imagePullSecrets:
      typeof imagePullSecrets === 'string'
        ? imagePullSecrets
            .split(',')
            .map((name) => ({ name: name.trim() }))
            .filter(({ name }) => name !== '')
        : imagePullSecrets,
    serviceAccountName: params.serviceAccountName,
    automountServiceAccountToken,
    hostNetwork: params.hostnetwork ? true : undefined,
    hostAliases: params.hostAliases,
    securityContext: unlessEmpty(params.securityContext),
    dnsPolicy: params.dnspolicy,
    dnsConfig: unlessEmpty(params.dnsConfig),
    hostname: params.hostname,
    subdomain: params.subdomain,
    schedulerName: params.schedulername,
    priorityClassName: params.priorityClassName,
    runtimeClassName: params.runtimeClassName,
    activeDeadlineSeconds: params.activeDeadlineSeconds === 0 ? undefined : params.activeDeadlineSeconds,
    terminationGracePeriodSeconds: params.terminationGracePeriod,
    restartPolicy: 'Never',
  };
  const metadata = {
    name: typeof params.name === 'string' && params.name !== '' ? normalizeName(params.name) : undefined,
    namespace: params.namespace,
    labels: normalizeLabels(params.labels),
    annotations: params.annotations,
  };
  return { apiVersion: 'v1', kind: 'Pod', metadata, spec };
}

function basePod({ fullPodSpec, podTemplateDict }: ManifestParams, template: JsonRecord | undefined): JsonRecord {
  const low = template ?? (isRecord(podTemplateDict) ? typedPod(podTemplateDict) : undefined);
  const high = isRecord(fullPodSpec) ? typedPod(fullPodSpec) : undefined;
  return reconcilePods(low, high);
}

const withFirst = (
  containers: readonly JsonRecord[],
  change: (first: JsonRecord) => JsonRecord,
): readonly JsonRecord[] => containers.map((container, index) => (index === 0 ? change(container) : container));

const listIn = (value: JsonRecord, key: string): readonly unknown[] => {
  const list: unknown = value[key];
  return Array.isArray(list) ? list : [];
};

/** Secrets go to the first container, in list order. */
function withSecrets(spec: JsonRecord, secrets: readonly SecretParams[]): JsonRecord {
  let result = spec;
  secrets.forEach(({ deployType, deployTarget, secret, key, items }, index) => {
    const add = (field: string, entry: JsonRecord): void => {
      const containers = withFirst(recordsIn(result, 'containers'), (first) => ({
        ...first,
        [field]: [...listIn(first, field), entry],
      }));
      result = { ...result, containers };
    };
    if (deployType === 'volume') {
      // A repeated step must build the same manifest, so the volume's name is a hash and not random.
      const id = createHash('sha256')
        .update(`${String(index)}/${secret}/${deployTarget ?? ''}`)
        .digest('hex')
        .slice(0, 12);
      const name = `secretvol-${id}`;
      const source = { secretName: secret, ...(items.length === 0 ? {} : { items }) };
      result = { ...result, volumes: [...listIn(result, 'volumes'), { name, secret: source }] };
      add('volumeMounts', { name, mountPath: deployTarget ?? '', readOnly: true });
    } else if (typeof key === 'string' && typeof deployTarget === 'string') {
      add('env', { name: deployTarget.toUpperCase(), valueFrom: { secretKeyRef: { name: secret, key } } });
    } else add('envFrom', { secretRef: { name: secret } });
  });
  return result;
}

/** `spec` with the result sidecar, where the run's result may be in a file. */
function withSidecar(spec: JsonRecord, params: ManifestParams, settings: XcomSidecarSettings | undefined): JsonRecord {
  if (settings === undefined || !params.doXcomPush || params.xcomMode === 'message') return spec;
  const { xcomSidecarContainerSecurityContext: own } = params;
  return addXcomSidecar(spec, { ...settings, securityContext: own ?? settings.securityContext });
}

/** `activeDeadlineSeconds`: the pod's own or the execution time-out plus 30 s, whichever is less, so that Kubernetes ends a pod although no process of ours runs. */
export function deadlineOf(spec: JsonRecord, executionTimeoutSeconds: number | undefined): JsonRecord {
  if (executionTimeoutSeconds === undefined) return {};
  const mirrored = Math.max(1, Math.ceil(executionTimeoutSeconds)) + DEADLINE_SLACK_SECONDS;
  const own = spec['activeDeadlineSeconds'];
  return { activeDeadlineSeconds: typeof own === 'number' ? Math.min(own, mirrored) : mirrored };
}

/** The manifest of an attempt's pod. The same inputs give the same manifest, name included. */
export function podManifest(params: ManifestParams, settings: ManifestSettings): JsonRecord {
  const merged = reconcilePods(basePod(params, settings.template), operatorPod(params));
  const metadata = recordIn(merged, 'metadata');
  const { taskId } = settings.context;
  const name = podName(
    { name: textIn(metadata, 'name'), taskId, randomNameSuffix: params.randomNameSuffix },
    settings.run,
    settings.attempt,
  );
  const mergedSpec = recordIn(merged, 'spec');
  const timed = { ...mergedSpec, ...deadlineOf(mergedSpec, settings.executionTimeoutSeconds) };
  const spec = securedSpec(
    withSidecar(withSecrets(timed, params.secrets), params, settings.xcomSidecar),
    settings.podSecurity,
  );
  return {
    ...merged,
    metadata: pruned({
      ...metadata,
      generateName: undefined,
      name,
      namespace: textIn(metadata, 'namespace') ?? settings.defaultNamespace,
      labels: { ...withoutMarks(recordIn(metadata, 'labels'), EXECUTOR_LABELS), ...podLabels(settings) },
      annotations: { ...recordIn(metadata, 'annotations'), ...podAnnotations(settings, params.baseContainerName) },
    }),
    spec: pruned({
      ...spec,
      containers: recordsIn(spec, 'containers').map(pruned),
      initContainers: recordsIn(spec, 'initContainers').map(pruned),
    }),
    status: undefined,
  };
}

/** What the pod security level refuses of a request, by paths of the request. */
export function refusedInParams(params: ManifestParams): readonly SecurityRefusal[] {
  const { fullPodSpec, podTemplateDict } = params;
  const own = refusedInSpec(
    {
      hostNetwork: params.hostnetwork,
      volumes: params.volumes,
      securityContext: params.securityContext,
      initContainers: params.initContainers,
      containers: [{ ports: params.ports, securityContext: params.containerSecurityContext ?? {} }],
    },
    'params',
  ).map((refusal) => ({
    ...refusal,
    path: refusal.path
      .replace('params.hostNetwork', 'params.hostnetwork')
      .replace('params.containers[0].securityContext', 'params.containerSecurityContext')
      .replace('params.containers[0].ports', 'params.ports'),
  }));
  return [
    ...own,
    ...refusedInSpec(recordIn(fullPodSpec, 'spec'), 'params.fullPodSpec.spec'),
    ...refusedInSpec(recordIn(podTemplateDict, 'spec'), 'params.podTemplateDict.spec'),
  ];
}

/** Shown instead of an environment value. */
export const REDACTED = '***';

/** A manifest for display: literal environment values are replaced by `***`. */
export function redactedManifest(manifest: JsonRecord): JsonRecord {
  const spec = recordIn(manifest, 'spec');
  const hide = (containers: readonly JsonRecord[]): readonly JsonRecord[] =>
    containers.map((container) =>
      Array.isArray(container['env'])
        ? {
            ...container,
            env: recordsIn(container, 'env').map((one) => ('value' in one ? { ...one, value: REDACTED } : one)),
          }
        : container,
    );
  const lists = Object.fromEntries(
    ['containers', 'initContainers']
      .filter((key) => Array.isArray(spec[key]))
      .map((key) => [key, hide(recordsIn(spec, key))]),
  );
  return { ...manifest, spec: { ...spec, ...lists } };
}
