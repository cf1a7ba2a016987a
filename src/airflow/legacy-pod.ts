/** The oldest generation's fields as a pod override, so that one way of building pods is left. @see spec executor §7.8 */
import { isRecord, type JsonRecord } from '../core/json.ts';
import { isUnset } from '../core/pod/merge.ts';
import type { KubernetesExecutorConfig } from './kubernetes-executor-config.ts';

const GCP_ANNOTATION = 'iam.cloud.google.com/service-account';
const GPU = 'nvidia.com/gpu';

const present = (fields: JsonRecord): JsonRecord =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => !isUnset(value)));

/** What the configuration's own sections give to every pod that does not say otherwise. */
export interface LegacyDefaults {
  readonly imagePullPolicy?: string | undefined;
  readonly nodeSelectors?: JsonRecord | undefined;
  readonly affinity?: JsonRecord | undefined;
  readonly tolerations?: readonly JsonRecord[] | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

/** The override that a config stands for. A limit is a limit even without its request; the seed dropped it then. */
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
