/**
 * Bare scalars of a pod that YAML or JSON does not write as text where Kubernetes expects text, and numbers written as text: typed as Airflow types them.
 * @see airflow.providers.cncf.kubernetes.pod_generator.PodGenerator.deserialize_model_dict
 */
import { isRecord, type JsonRecord } from '../json.ts';
import { MAP_FIELDS } from './pod-fields.ts';

const words = (text: string): ReadonlySet<string> => new Set(text.split(' '));

/** Fields whose value, or each value of the list, is text wherever they appear in a pod. */
const TEXT_FIELDS = words(
  'name generateName namespace image workingDir command args value values key path mountPath subPath subPathExpr prefix serviceAccountName serviceAccount hostname subdomain schedulerName priorityClassName runtimeClassName nodeName restartPolicy dnsPolicy imagePullPolicy medium sizeLimit secretName claimName fieldPath topologyKey operator effect hostnames nameservers searches finalizers',
);
/** Maps from text to text, besides `MAP_FIELDS`. */
const TEXT_MAPS = words('matchLabels volumeAttributes');
/** Fields whose value is a whole number wherever they appear. */
const INTEGER_FIELDS = words(
  'activeDeadlineSeconds containerPort defaultMode failureThreshold fsGroup hostPort initialDelaySeconds mode periodSeconds priority runAsGroup runAsUser successThreshold terminationGracePeriodSeconds timeoutSeconds tolerationSeconds weight',
);

/**
 * The pod with its scalars typed: 1 → "1", true → "True", "8080" → 8080.
 * @param source `yaml`: whole numbers are `bigint`, so that `1.0` differs from `1`; as text it stays "1.0"
 */
export function typedPod(pod: JsonRecord, source: 'json' | 'yaml' = 'json'): JsonRecord {
  const text = (value: unknown): unknown => asText(value, source);
  const fields = (record: JsonRecord): JsonRecord => mapped(record, typed);
  const typed = (value: unknown, field: string): unknown => {
    if (Array.isArray(value)) return value.map((item: unknown) => typed(item, field));
    if (isRecord(value)) return MAP_FIELDS.has(field) || TEXT_MAPS.has(field) ? mapped(value, text) : fields(value);
    if (TEXT_FIELDS.has(field)) return text(value);
    if (INTEGER_FIELDS.has(field) && typeof value === 'string' && /^\s*[+-]?\d+\s*$/.test(value)) return Number(value);
    return typeof value === 'bigint' ? Number(value) : value;
  };
  return fields(pod);
}

const mapped = (record: JsonRecord, by: (value: unknown, key: string) => unknown): JsonRecord =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, by(value, key)]));

/** A scalar as Python's `str` writes it; null, lists and objects as they are. */
function asText(value: unknown, source: 'json' | 'yaml'): unknown {
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'bigint') return String(value);
  if (typeof value !== 'number') return value;
  return source === 'yaml' && Number.isInteger(value) ? value.toFixed(1) : String(value);
}
