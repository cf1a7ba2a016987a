/** The pod of a task with a command: template, task settings and override, merged in this order. Pure except for random names. */
import { randomInt } from 'node:crypto';
import { isRecord, type JsonRecord, recordIn, recordsIn, textIn } from '../core/json.ts';
import {
  buildLabelsForK8sExecutorPod,
  EXECUTOR_POD_ENV,
  executorPodAnnotations,
  type ExecutorPodIdentity,
} from '../core/pod/executor-labels.ts';
import { withoutMarks } from '../core/pod/labels.ts';
import { reconcilePods } from '../core/pod/merge.ts';
import { addSuffix, MAX_POD_NAME } from '../core/pod/names.ts';
import { messageOf, ReentryError } from '../errors.ts';

/** Name of the container that runs the task. */
export const BASE_CONTAINER = 'base';
/** Characters of a random suffix. */
export const RANDOM_LENGTH = 8;
const ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789';

/** Template, task settings and override cannot be merged into a pod. */
export class PodReconciliationError extends ReentryError {
  override readonly name = 'PodReconciliationError';
  constructor(message: string, cause?: unknown) {
    super('INVALID_REQUEST', message, { transient: false, cause });
  }
}

/** `mutatePod` threw; the exception is the `cause`. */
export class PodMutationHookError extends ReentryError {
  override readonly name = 'PodMutationHookError';
  constructor(message: string, cause: unknown) {
    super('INVALID_REQUEST', message, { transient: false, cause });
  }
}

/** `length` random characters of a–z and 0–9. */
export function randStr(length: number): string {
  return Array.from({ length }, () => ALPHABET.charAt(randomInt(ALPHABET.length))).join('');
}

/** The input of `constructPod`. */
export interface ConstructPodOptions extends ExecutorPodIdentity {
  /** Name of the pod; when longer than 63 characters, it is cut and gets a random suffix. */
  readonly podId: string;
  readonly namespace: string;
  /** Overrides the template's image, and is overridden by the override's. Absent or empty: the template's. */
  readonly kubeImage?: string | undefined;
  /** Arguments of the first container. */
  readonly args: readonly string[];
  readonly podOverride?: unknown;
  readonly baseWorkerPod?: JsonRecord | undefined;
  /** Set after the merge, so that an override cannot remove the labels by which pods are tracked. */
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Changes the finished pod, like Airflow's `pod_mutation_hook`. Its exceptions become a `PodMutationHookError`. */
  readonly mutatePod?: ((pod: JsonRecord) => JsonRecord) | undefined;
  readonly random?: (length: number) => string;
}

function overrideOf(value: unknown): JsonRecord | undefined {
  if (value === undefined || value === null) return undefined;
  const problem = podProblem(value);
  if (problem !== undefined || !isRecord(value)) throw new PodReconciliationError(`the pod override ${problem ?? ''}`);
  return value;
}

/** Why a value is not a pod or part of one; `undefined` when it is. */
export function podProblem(value: unknown): string | undefined {
  if (!isRecord(value)) return 'is not an object';
  for (const part of ['metadata', 'spec']) {
    const field = value[part];
    if (field !== undefined && field !== null && !isRecord(field)) return `has a ${part} that is not an object`;
  }
  const { containers, initContainers, volumes } = recordIn(value, 'spec');
  for (const [name, list] of Object.entries({ containers, initContainers, volumes }))
    if (list !== undefined && list !== null && !(Array.isArray(list) && list.every(isRecord)))
      return `has spec.${name} that is not a list of objects`;
  return undefined;
}

/**
 * The pod of one try. The override wins over the task settings, which win over the template. `restartPolicy` defaults to `Never`: a container that
 * Kubernetes restarts would run the task twice.
 * @throws PodReconciliationError, PodMutationHookError
 */
export function constructPod(options: ConstructPodOptions): JsonRecord {
  const { baseWorkerPod, namespace, args, random = randStr } = options;
  const override = overrideOf(options.podOverride);
  const name = options.podId.length > MAX_POD_NAME ? addSuffix(options.podId, random(RANDOM_LENGTH)) : options.podId;
  const image = textIn(recordsIn(recordIn(override, 'spec'), 'containers')[0], 'image') ?? options.kubeImage;
  const dynamic: JsonRecord = {
    metadata: {
      namespace,
      name,
      annotations: executorPodAnnotations(options),
      labels: buildLabelsForK8sExecutorPod(options),
    },
    spec: {
      containers: [
        {
          name: BASE_CONTAINER,
          ...(args.length === 0 ? {} : { args }),
          ...(image === undefined || image === '' ? {} : { image }),
          env: [EXECUTOR_POD_ENV],
        },
      ],
    },
  };
  let merged: JsonRecord;
  try {
    merged = reconcilePods(reconcilePods(baseWorkerPod, dynamic), override);
  } catch (error) {
    throw new PodReconciliationError(`template, task and override do not make a pod: ${messageOf(error)}`, error);
  }
  const pod = identified(merged, options);
  if (options.mutatePod === undefined) return pod;
  try {
    return options.mutatePod(pod);
  } catch (error) {
    throw new PodMutationHookError(`the pod mutation hook failed: ${messageOf(error)}`, error);
  }
}

function identified(pod: JsonRecord, { labels, annotations }: ConstructPodOptions): JsonRecord {
  const metadata = recordIn(pod, 'metadata');
  const spec = recordIn(pod, 'spec');
  return {
    ...pod,
    apiVersion: textIn(pod, 'apiVersion') ?? 'v1',
    kind: textIn(pod, 'kind') ?? 'Pod',
    metadata: {
      ...metadata,
      labels: { ...withoutMarks(recordIn(metadata, 'labels')), ...labels },
      annotations: { ...recordIn(metadata, 'annotations'), ...annotations },
    },
    spec: { ...spec, restartPolicy: textIn(spec, 'restartPolicy') ?? 'Never' },
  };
}
