/** What reentry stores of a pod: scalars only, so that tens of thousands fit in a triggerer's memory. */
import { instantIn, isRecord, type JsonRecord, numberIn, recordIn, recordsIn, textIn } from '../json.ts';
import { ANNOTATIONS, LABEL_TRUE, LABELS, TASK_ANNOTATIONS } from './labels.ts';

/** Identifies a pod. `connection` is a name, never an address or a credential. */
export interface PodRef {
  readonly connection: string;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

export type PodPhase = 'Pending' | 'Running' | 'Succeeded' | 'Failed' | 'Unknown';

/** State of one container, as last reported by the kubelet. Times in epoch milliseconds. */
export interface ContainerProjection {
  readonly name: string;
  /** `sidecar`: an init container with `restartPolicy: Always`. */
  readonly kind: 'init' | 'sidecar' | 'main';
  readonly state: 'waiting' | 'running' | 'terminated';
  readonly reason?: string | undefined;
  readonly message?: string | undefined;
  readonly exitCode?: number | undefined;
  readonly signal?: number | undefined;
  readonly startedAt?: number | undefined;
  readonly finishedAt?: number | undefined;
  readonly restartCount: number;
}

/** The parts of a pod that matter to its run. Times in epoch milliseconds. */
export interface PodProjection extends PodRef {
  readonly resourceVersion: string;
  readonly phase: PodPhase;
  /** `status.reason`: `Evicted`, `DeadlineExceeded`, … */
  readonly reason?: string | undefined;
  readonly message?: string | undefined;
  readonly node?: string | undefined;
  readonly createdAt: number;
  /** `metadata.deletionTimestamp`; set once deletion was requested. */
  readonly deletedAt?: number | undefined;
  /** When condition `PodScheduled` became True. */
  readonly scheduledAt?: number | undefined;
  /** Reason and message of `PodScheduled=False`. */
  readonly unschedulable?: { readonly reason: string; readonly message: string } | undefined;
  /** Names of its scheduling gates, separated by commas. The scheduler ignores a pod with gates (Kueue uses one until there is quota). */
  readonly gates?: string | undefined;
  /** When a watch saw its last scheduling gate removed. */
  readonly ungatedAt?: number | undefined;
  /** Reason of condition `DisruptionTarget`. */
  readonly disruption?: string | undefined;
  /** Name of the container that decides the run: annotation `reentry.dev/base-container`, else the first. */
  readonly baseContainer: string;
  readonly containers: readonly ContainerProjection[];
  /** Ids from annotations, unchanged; absent on a pod that reentry did not create. */
  readonly tenant?: string | undefined;
  readonly runId?: string | undefined;
  readonly attempt?: number | undefined;
  /** Queue of its run, from an annotation. */
  readonly queue?: string | undefined;
  /** Label `already_checked`: its run is over and the pod is retained. */
  readonly alreadyChecked: boolean;
  /** Only on pods of an executor (label `kubernetes_executor`). */
  readonly executor?: ExecutorFacts | undefined;
}

/** What an executor reads of its pods besides their state. */
export interface ExecutorFacts {
  /** Label `airflow-worker`: the executor that launched or adopted it, as a label value. */
  readonly owner: string;
  /** Label `airflow_executor_done`. */
  readonly done: boolean;
  /** Whether label `airflow_pod_revoked` is present, with any value. */
  readonly revoked: boolean;
  /** The annotations that name its task; ids unchanged. */
  readonly annotations: Readonly<Record<string, string>>;
}

/** The reference of a projected pod. */
export const podRef = ({ connection, namespace, name, uid }: PodRef): PodRef => ({ connection, namespace, name, uid });

/** The base container, whose end decides the attempt; `undefined` when the pod has none of that name. */
export function baseContainerOf(pod: PodProjection): ContainerProjection | undefined {
  return pod.containers.find(({ name, kind }) => kind === 'main' && name === pod.baseContainer);
}

/** What a run's state stores of its pod: reference, node, and times of its base container. */
export function podFacts(pod: PodProjection): {
  readonly pod: PodRef & { readonly node: string | undefined };
  readonly startedAt?: number;
  readonly finishedAt?: number;
} {
  const { startedAt, finishedAt } = baseContainerOf(pod) ?? {};
  return {
    pod: { ...podRef(pod), node: pod.node },
    ...(startedAt === undefined ? {} : { startedAt }),
    ...(finishedAt === undefined ? {} : { finishedAt }),
  };
}

/** Longest stored message of a pod, a condition or a waiting container, in characters. (The kubelet limits a termination message to 4 KiB.) */
const MAX_MESSAGE = 1024;
const MAX_TERMINATION_MESSAGE = 4096;

const PHASES: Readonly<Record<string, PodPhase>> = {
  Pending: 'Pending',
  Running: 'Running',
  Succeeded: 'Succeeded',
  Failed: 'Failed',
};

const cut = (text: string | undefined, length: number): string | undefined =>
  text !== undefined && text.length > length ? text.slice(0, length) : text;

function container(spec: JsonRecord, kind: ContainerProjection['kind'], status: unknown): ContainerProjection {
  const base = { name: textIn(spec, 'name') ?? '', kind, restartCount: numberIn(status, 'restartCount') ?? 0 };
  const state = recordIn(status, 'state');
  if (isRecord(state['terminated'])) {
    const end = state['terminated'];
    return {
      ...base,
      state: 'terminated',
      reason: textIn(end, 'reason'),
      message: cut(textIn(end, 'message'), MAX_TERMINATION_MESSAGE),
      exitCode: numberIn(end, 'exitCode'),
      signal: numberIn(end, 'signal'),
      startedAt: instantIn(end, 'startedAt'),
      finishedAt: instantIn(end, 'finishedAt'),
    };
  }
  if (isRecord(state['running']))
    return { ...base, state: 'running', startedAt: instantIn(state['running'], 'startedAt') };
  const waiting = recordIn(state, 'waiting');
  return {
    ...base,
    state: 'waiting',
    reason: textIn(waiting, 'reason'),
    message: cut(textIn(waiting, 'message'), MAX_MESSAGE),
  };
}

function containersOf(pod: JsonRecord): readonly ContainerProjection[] {
  const found: ContainerProjection[] = [];
  for (const kind of ['init', 'main'] as const) {
    const [list, statuses] =
      kind === 'init' ? ['initContainers', 'initContainerStatuses'] : ['containers', 'containerStatuses'];
    const byName = new Map<unknown, JsonRecord>();
    for (const status of recordsIn(recordIn(pod, 'status'), statuses)) byName.set(status['name'], status);
    for (const spec of recordsIn(recordIn(pod, 'spec'), list)) {
      const isSidecar = kind === 'init' && spec['restartPolicy'] === 'Always';
      found.push(container(spec, isSidecar ? 'sidecar' : kind, byName.get(spec['name'])));
    }
  }
  return found;
}

function executorFacts(labels: JsonRecord, annotations: JsonRecord): ExecutorFacts {
  const named: Record<string, string> = {};
  for (const key of TASK_ANNOTATIONS) {
    const value = annotations[key];
    if (typeof value === 'string') named[key] = value;
  }
  return {
    owner: textIn(labels, LABELS.worker) ?? '',
    done: textIn(labels, LABELS.executorDone) === LABEL_TRUE,
    revoked: LABELS.podRevoked in labels,
    annotations: named,
  };
}

/** Projects a pod object of the Kubernetes API. Never throws: missing or malformed fields read as absent. */
export function projectPod(connection: string, pod: JsonRecord): PodProjection {
  const metadata = recordIn(pod, 'metadata');
  const labels = recordIn(metadata, 'labels');
  const annotations = recordIn(metadata, 'annotations');
  const status = recordIn(pod, 'status');
  const conditions = new Map<unknown, JsonRecord>();
  for (const condition of recordsIn(status, 'conditions')) conditions.set(condition['type'], condition);
  const scheduled = conditions.get('PodScheduled');
  const disrupted = conditions.get('DisruptionTarget');
  const containers = containersOf(pod);
  const gates = recordsIn(recordIn(pod, 'spec'), 'schedulingGates').flatMap((gate) => textIn(gate, 'name') ?? []);
  const attempt = Number.parseInt(textIn(annotations, ANNOTATIONS.attempt) ?? textIn(labels, LABELS.attempt) ?? '', 10);
  return {
    connection,
    namespace: textIn(metadata, 'namespace') ?? '',
    name: textIn(metadata, 'name') ?? '',
    uid: textIn(metadata, 'uid') ?? '',
    resourceVersion: textIn(metadata, 'resourceVersion') ?? '',
    phase: PHASES[textIn(status, 'phase') ?? 'Pending'] ?? 'Unknown',
    reason: textIn(status, 'reason'),
    message: cut(textIn(status, 'message'), MAX_MESSAGE),
    node: textIn(recordIn(pod, 'spec'), 'nodeName'),
    createdAt: instantIn(metadata, 'creationTimestamp') ?? 0,
    deletedAt: instantIn(metadata, 'deletionTimestamp'),
    scheduledAt: scheduled?.['status'] === 'True' ? (instantIn(scheduled, 'lastTransitionTime') ?? 0) : undefined,
    unschedulable:
      scheduled?.['status'] === 'False'
        ? {
            reason: textIn(scheduled, 'reason') ?? 'Unschedulable',
            message: cut(textIn(scheduled, 'message'), MAX_MESSAGE) ?? '',
          }
        : undefined,
    ...(gates.length === 0 ? {} : { gates: gates.join(',') }),
    disruption: disrupted?.['status'] === 'True' ? (textIn(disrupted, 'reason') ?? 'DisruptionTarget') : undefined,
    baseContainer:
      textIn(annotations, ANNOTATIONS.baseContainer) ?? containers.find(({ kind }) => kind === 'main')?.name ?? '',
    containers,
    tenant: textIn(annotations, ANNOTATIONS.tenant),
    runId: textIn(annotations, ANNOTATIONS.runId),
    attempt: Number.isSafeInteger(attempt) && attempt >= 1 ? attempt : undefined,
    queue: textIn(annotations, ANNOTATIONS.queue),
    alreadyChecked: textIn(labels, LABELS.alreadyChecked) === LABEL_TRUE,
    ...(LABELS.kubernetesExecutor in labels ? { executor: executorFacts(labels, annotations) } : {}),
  };
}

/** The container that the verdict on an ended or hopeless pod is about: the base container if it failed, else the first that did. */
export function decidingContainer(pod: PodProjection): ContainerProjection | undefined {
  const bad = (one: ContainerProjection): boolean =>
    (one.state === 'terminated' && one.exitCode !== 0) || (one.state === 'waiting' && one.reason !== undefined);
  const base = pod.containers.find(({ name, kind }) => kind === 'main' && name === pod.baseContainer);
  if (base?.state === 'terminated') return base;
  return (
    pod.containers.find((one) => one.kind === 'init' && one.state === 'terminated' && bad(one)) ??
    pod.containers.find(bad) ??
    base
  );
}
