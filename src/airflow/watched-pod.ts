/** A pod as the executor's decisions need it, made from the cluster's watch or from API JSON. */
import { type JsonRecord, numberIn, recordIn, recordsIn, textIn } from '../core/json.ts';
import { LABELS, TASK_ANNOTATIONS } from '../core/pod/labels.ts';
import type { ContainerProjection, PodProjection } from '../core/pod/projection.ts';
import type { IdentityAnnotations } from './task-key.ts';

/** One container's state. */
export interface WatchedContainer {
  readonly name: string;
  readonly state: 'waiting' | 'running' | 'terminated' | 'none';
  readonly reason: string | undefined;
  readonly message: string | undefined;
  readonly exitCode: number | undefined;
}

/** A pod in an executor's watch. */
export interface WatchedPod {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly phase: string;
  readonly reason: string | undefined;
  readonly message: string | undefined;
  /** Its deletion was requested. */
  readonly deleting: boolean;
  /** Its task was revoked. */
  readonly revoked: boolean;
  readonly annotations: IdentityAnnotations;
  readonly initContainers: readonly WatchedContainer[];
  readonly containers: readonly WatchedContainer[];
}

function containerOf(status: JsonRecord): WatchedContainer {
  const state = recordIn(status, 'state');
  const kind = (['terminated', 'running', 'waiting'] as const).find((one) => one in state) ?? 'none';
  const details = recordIn(state, kind);
  return {
    name: textIn(status, 'name') ?? '',
    state: kind,
    reason: textIn(details, 'reason'),
    message: textIn(details, 'message'),
    exitCode: numberIn(details, 'exitCode'),
  };
}

/** The annotations that name a pod's task. */
export function identityAnnotationsOf(pod: JsonRecord): IdentityAnnotations {
  const annotations = recordIn(recordIn(pod, 'metadata'), 'annotations');
  const found: Record<string, string> = {};
  for (const key of TASK_ANNOTATIONS) {
    const value = annotations[key];
    if (typeof value === 'string') found[key] = value;
  }
  return found;
}

/** Makes it from a pod object of the API. */
export function watchedPod(pod: JsonRecord): WatchedPod {
  const metadata = recordIn(pod, 'metadata');
  const status = recordIn(pod, 'status');
  return {
    name: textIn(metadata, 'name') ?? '',
    namespace: textIn(metadata, 'namespace') ?? '',
    uid: textIn(metadata, 'uid') ?? '',
    resourceVersion: textIn(metadata, 'resourceVersion') ?? '',
    phase: textIn(status, 'phase') ?? 'Pending',
    reason: textIn(status, 'reason'),
    message: textIn(status, 'message'),
    deleting: textIn(metadata, 'deletionTimestamp') !== undefined,
    revoked: LABELS.podRevoked in recordIn(metadata, 'labels'),
    annotations: identityAnnotationsOf(pod),
    initContainers: recordsIn(status, 'initContainerStatuses').map(containerOf),
    containers: recordsIn(status, 'containerStatuses').map(containerOf),
  };
}

const projected = ({ name, state, reason, message, exitCode }: ContainerProjection): WatchedContainer => ({
  name,
  state,
  reason,
  message,
  exitCode,
});

/** Makes it from a projection of the watch. Pods that no executor created have no annotations. */
export function projectedPod(pod: PodProjection): WatchedPod {
  return {
    name: pod.name,
    namespace: pod.namespace,
    uid: pod.uid,
    resourceVersion: pod.resourceVersion,
    phase: pod.phase,
    reason: pod.reason,
    message: pod.message,
    deleting: pod.deletedAt !== undefined,
    revoked: pod.executor?.revoked ?? false,
    annotations: pod.executor?.annotations ?? {},
    initContainers: pod.containers.filter(({ kind }) => kind !== 'main').map(projected),
    containers: pod.containers.filter(({ kind }) => kind === 'main').map(projected),
  };
}
