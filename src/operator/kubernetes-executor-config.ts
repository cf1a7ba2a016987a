/** `KubernetesExecutorConfig` of Airflow 1.10: fifteen pod settings of a task, and their conversion to a pod override. */
import { isRecord, type JsonRecord } from '../core/json.ts';
import { isUnset } from '../core/pod/merge.ts';
import { ReentryError } from '../errors.ts';

/** The fields in Airflow's order: camelCase → name in the dictionary. */
const FIELDS = {
  image: 'image',
  imagePullPolicy: 'image_pull_policy',
  requestMemory: 'request_memory',
  requestCpu: 'request_cpu',
  limitMemory: 'limit_memory',
  limitCpu: 'limit_cpu',
  limitGpu: 'limit_gpu',
  gcpServiceAccountKey: 'gcp_service_account_key',
  nodeSelectors: 'node_selectors',
  affinity: 'affinity',
  annotations: 'annotations',
  volumes: 'volumes',
  volumeMounts: 'volume_mounts',
  tolerations: 'tolerations',
  labels: 'labels',
} as const;
type Field = keyof typeof FIELDS;
const NAMES: readonly Field[] = [
  'image',
  'imagePullPolicy',
  'requestMemory',
  'requestCpu',
  'limitMemory',
  'limitCpu',
  'limitGpu',
  'gcpServiceAccountKey',
  'nodeSelectors',
  'affinity',
  'annotations',
  'volumes',
  'volumeMounts',
  'tolerations',
  'labels',
];

/** The fields as given; `undefined`: unset. */
export type KubernetesExecutorConfigFields = Readonly<Partial<Record<Field, unknown>>>;

/** Defaults of fields that the dictionary leaves out. */
const DEFAULTS: KubernetesExecutorConfigFields = { annotations: {}, volumes: [], volumeMounts: [], labels: {} };

/** Image, resources, scheduling, volumes and labels of a task's pod, each optional. Converted to a pod override when the task is queued. */
export class KubernetesExecutorConfig {
  /** Image of the task's container. */
  readonly image: unknown;
  readonly imagePullPolicy: unknown;
  /** Memory request, as a Kubernetes quantity. */
  readonly requestMemory: unknown;
  readonly requestCpu: unknown;
  readonly limitMemory: unknown;
  readonly limitCpu: unknown;
  /** Becomes the limit `nvidia.com/gpu`. */
  readonly limitGpu: unknown;
  /** Becomes annotation `iam.cloud.google.com/service-account`. */
  readonly gcpServiceAccountKey: unknown;
  /** Becomes `nodeSelector`. */
  readonly nodeSelectors: unknown;
  readonly affinity: unknown;
  readonly annotations: unknown;
  /** Kubernetes volumes, added to the template's. */
  readonly volumes: unknown;
  readonly volumeMounts: unknown;
  readonly tolerations: unknown;
  readonly labels: unknown;

  constructor(fields: KubernetesExecutorConfigFields = {}) {
    this.image = fields.image;
    this.imagePullPolicy = fields.imagePullPolicy;
    this.requestMemory = fields.requestMemory;
    this.requestCpu = fields.requestCpu;
    this.limitMemory = fields.limitMemory;
    this.limitCpu = fields.limitCpu;
    this.limitGpu = fields.limitGpu;
    this.gcpServiceAccountKey = fields.gcpServiceAccountKey;
    this.nodeSelectors = fields.nodeSelectors;
    this.affinity = fields.affinity;
    this.annotations = fields.annotations;
    this.volumes = fields.volumes;
    this.volumeMounts = fields.volumeMounts;
    this.tolerations = fields.tolerations;
    this.labels = fields.labels ?? {};
  }

  /**
   * Reads the sub-dictionary `KubernetesExecutor`; field names may be camelCase or snake_case. `undefined` or `null` gives an empty config.
   * @throws ReentryError CONFIG_INVALID when it is not an object, or for an unknown field
   */
  static fromDict(obj: unknown): KubernetesExecutorConfig {
    if (obj === undefined || obj === null) return new KubernetesExecutorConfig();
    const given = isRecord(obj) ? (obj['KubernetesExecutor'] ?? {}) : obj;
    if (!isRecord(given)) throw invalid('the executor config of a task must be a dictionary');
    const fields: Partial<Record<Field, unknown>> = { ...DEFAULTS };
    for (const [key, value] of Object.entries(given)) {
      const field = NAMES.find((name) => name === key || FIELDS[name] === key);
      if (field === undefined) throw invalid(`"KubernetesExecutor" has no field "${key}"; it has ${NAMES.join(', ')}`);
      if (value !== undefined && value !== null) fields[field] = value;
    }
    return new KubernetesExecutorConfig(fields);
  }

  /** The fifteen fields by their names in the dictionary; unset ones are `null`. */
  asDict(): Readonly<Record<string, unknown>> {
    return Object.fromEntries(NAMES.map((name) => [FIELDS[name], this[name] ?? null]));
  }

  /** Every field in Airflow's order: `KubernetesExecutorConfig(image="alpine", image_pull_policy=null, …)`. */
  toString(): string {
    const fields = Object.entries(this.asDict()).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
    return `KubernetesExecutorConfig(${fields.join(', ')})`;
  }
}

const invalid = (message: string): ReentryError =>
  new ReentryError('CONFIG_INVALID', message, {
    transient: false,
    problems: [{ path: 'executorConfig.KubernetesExecutor', message }],
  });

const GCP_ANNOTATION = 'iam.cloud.google.com/service-account';
const GPU = 'nvidia.com/gpu';

const present = (fields: JsonRecord): JsonRecord =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => !isUnset(value)));

/** Settings of the configuration for pods whose config leaves them out. */
export interface LegacyDefaults {
  readonly imagePullPolicy?: string | undefined;
  readonly nodeSelectors?: JsonRecord | undefined;
  readonly affinity?: JsonRecord | undefined;
  readonly tolerations?: readonly JsonRecord[] | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

/** Converts a config to a pod override. A limit applies without its request as well; Airflow 1.10 dropped it then. */
export function legacyPod(config: KubernetesExecutorConfig, defaults: LegacyDefaults = {}): JsonRecord {
  const key = config.gcpServiceAccountKey;
  const annotations = {
    ...(isRecord(config.annotations) && !isUnset(config.annotations) ? config.annotations : defaults.annotations),
    ...(isUnset(key) ? {} : { [GCP_ANNOTATION]: key }),
  };
  const requests = present({ memory: config.requestMemory, cpu: config.requestCpu });
  const limits = present({ memory: config.limitMemory, cpu: config.limitCpu, [GPU]: config.limitGpu });
  const container = present({
    name: 'base',
    image: config.image,
    imagePullPolicy: config.imagePullPolicy ?? defaults.imagePullPolicy,
    resources: present({ requests, limits }),
    volumeMounts: config.volumeMounts,
  });
  return {
    metadata: present({ labels: config.labels, annotations }),
    spec: present({
      containers: [container],
      volumes: config.volumes,
      nodeSelector: config.nodeSelectors ?? defaults.nodeSelectors,
      affinity: config.affinity ?? defaults.affinity,
      tolerations: config.tolerations ?? defaults.tolerations,
    }),
  };
}
