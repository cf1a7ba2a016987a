import { instantIn, isRecord, type JsonRecord, numberIn, recordIn, recordsIn, textIn } from '../json.ts';
import { ANNOTATIONS, LABEL_TRUE, LABELS, TASK_ANNOTATIONS } from './labels.ts';
import type { ContainerProjection, ExecutorFacts, PodPhase, PodProjection } from './projection.ts';

/** Longest message kept of a pod, a condition or a waiting container, in characters. A termination message is ≤ 4 KiB by the kubelet. */
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
  const status = recordIn(pod, 'status');
  const spec = recordIn(pod, 'spec');
  const initStatuses = recordsIn(status, 'initContainerStatuses');
  const mainStatuses = recordsIn(status, 'containerStatuses');
  const statusOf = (statuses: readonly JsonRecord[], of: JsonRecord): JsonRecord | undefined =>
    statuses.find((one) => one['name'] === of['name']);
  return [
    ...recordsIn(spec, 'initContainers').map((of) =>
      container(of, of['restartPolicy'] === 'Always' ? 'sidecar' : 'init', statusOf(initStatuses, of)),
    ),
    ...recordsIn(spec, 'containers').map((of) => container(of, 'main', statusOf(mainStatuses, of))),
  ];
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

/** A pod object of the Kubernetes API as far as its run cares. Never throws: what is missing or odd reads as absent. */
export function projectPod(connection: string, pod: JsonRecord): PodProjection {
  const metadata = recordIn(pod, 'metadata');
  const labels = recordIn(metadata, 'labels');
  const annotations = recordIn(metadata, 'annotations');
  const status = recordIn(pod, 'status');
  const conditions = recordsIn(status, 'conditions');
  const scheduled = conditions.find(({ type }) => type === 'PodScheduled');
  const disrupted = conditions.find((one) => one['type'] === 'DisruptionTarget' && one['status'] === 'True');
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
    disruption: disrupted === undefined ? undefined : (textIn(disrupted, 'reason') ?? 'DisruptionTarget'),
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
