/**
 * Helpers over pod objects of the API, as in Airflow's `utils.pod_manager` and `triggers.pod`: phases, container states, names. Pure; missing fields
 * read as absent.
 */
import { instantIn, isRecord, type JsonRecord, numberIn, recordIn, recordsIn, textIn } from '../core/json.ts';
import { hopelessCode } from '../core/pod/judge.ts';
import { XCOM } from '../core/pod/xcom-sidecar.ts';

/** Phases of a pod, and which of them are terminal. */
export const PodPhases = {
  PENDING: 'Pending',
  RUNNING: 'Running',
  FAILED: 'Failed',
  SUCCEEDED: 'Succeeded',
  terminalStates: new Set(['Failed', 'Succeeded']),
} as const;

/** Types of Kubernetes events. */
export const PodEventType = { WARNING: 'Warning', NORMAL: 'Normal' } as const;
export type PodEventType = (typeof PodEventType)[keyof typeof PodEventType];

/** A pod object of the API, or anything of its shape. */
export type PodObject = JsonRecord | undefined;

/** `status.phase`; absent while there is no status. */
export function phaseOf(pod: PodObject): string | undefined {
  return textIn(recordIn(pod, 'status'), 'phase');
}

/** The status of a main or init container; `undefined` when there is none. */
export function getContainerStatus(pod: PodObject, containerName: string): JsonRecord | undefined {
  const status = recordIn(pod, 'status');
  return ['containerStatuses', 'initContainerStatuses']
    .flatMap((list) => recordsIn(status, list))
    .find(({ name }) => name === containerName);
}

function stateOf(
  pod: PodObject,
  containerName: string,
  key: 'running' | 'waiting' | 'terminated',
): JsonRecord | undefined {
  const state = recordIn(getContainerStatus(pod, containerName), 'state')[key];
  return isRecord(state) ? state : undefined;
}

/** Whether the container runs. */
export function containerIsRunning(pod: PodObject, containerName: string): boolean {
  return stateOf(pod, containerName, 'running') !== undefined;
}
/** Whether the container has ended, with any exit code. */
export function containerIsCompleted(pod: PodObject, containerName: string): boolean {
  return stateOf(pod, containerName, 'terminated') !== undefined;
}
/** Whether the container has ended with exit code 0. */
export function containerIsSucceeded(pod: PodObject, containerName: string): boolean {
  return numberIn(stateOf(pod, containerName, 'terminated'), 'exitCode') === 0;
}
/** Whether the container is waiting, for example for its image. */
export function containerIsWait(pod: PodObject, containerName: string): boolean {
  return stateOf(pod, containerName, 'waiting') !== undefined;
}

const mainStatus = (pod: PodObject, containerName: string): JsonRecord | undefined =>
  recordsIn(recordIn(pod, 'status'), 'containerStatuses').find(({ name }) => name === containerName);

/** Whether a main container (never an init container) has ended. */
export function containerIsTerminated(pod: PodObject, containerName: string): boolean {
  return isRecord(recordIn(mainStatus(pod, containerName), 'state')['terminated']);
}
/** The termination message of a main container; `undefined` when there is none. */
export function getContainerTerminationMessage(pod: PodObject, containerName: string): string | undefined {
  return textIn(recordIn(recordIn(mainStatus(pod, containerName), 'state'), 'terminated'), 'message');
}
/** Exit code of an ended container; `undefined` before its end. */
export function exitCodeOf(pod: PodObject, containerName: string): number | undefined {
  return numberIn(stateOf(pod, containerName, 'terminated'), 'exitCode');
}

/** State of the base container, with the values of Airflow's `ContainerState`; `terminated` means exit code 0. */
export type ContainerState = 'undefined' | 'waiting' | 'running' | 'terminated' | 'failed';

/** The state of the base container; `'undefined'` when it has no status yet. */
export function defineContainerState(pod: PodObject, baseContainerName: string): ContainerState {
  const state = recordIn(mainStatus(pod, baseContainerName), 'state');
  if (isRecord(state['running'])) return 'running';
  if (isRecord(state['waiting'])) return 'waiting';
  if (isRecord(state['terminated'])) return numberIn(state['terminated'], 'exitCode') === 0 ? 'terminated' : 'failed';
  return 'undefined';
}

/** The same, but the pod's own end comes first: after a failed init container the base container stays waiting for ever. */
export function definePodContainerState(pod: PodObject, baseContainerName: string): ContainerState {
  const phase = phaseOf(pod);
  if (phase === PodPhases.FAILED) return 'failed';
  if (phase === PodPhases.SUCCEEDED) return 'terminated';
  return defineContainerState(pod, baseContainerName);
}

/** Whether to keep waiting: the container waits or runs, or has no status while the pod is pending. */
export function shouldWait(phase: string, state: ContainerState): boolean {
  return state === 'waiting' || state === 'running' || (state === 'undefined' && phase === PodPhases.PENDING);
}

/** Why a starting pod can never start: an image of a main container that cannot be pulled. `undefined`: it may still start. */
export function detectPodTerminateEarlyIssues(
  pod: PodObject,
): { readonly reason: string; readonly message: string } | undefined {
  for (const status of recordsIn(recordIn(pod, 'status'), 'containerStatuses')) {
    const waiting = recordIn(recordIn(status, 'state'), 'waiting');
    const reason = textIn(waiting, 'reason');
    const message = textIn(waiting, 'message') ?? '';
    if (
      reason !== undefined &&
      hopelessCode({ state: 'waiting', reason, message }) !== undefined &&
      /image/i.test(reason)
    )
      return { reason, message };
  }
  return undefined;
}

/** Names of the main containers, without the result sidecar. */
export function containerNamesOf(pod: PodObject): readonly string[] {
  return namesIn(pod, 'containers').filter((name) => name !== XCOM.container);
}
/** Names of the init containers, in order. */
export function initContainerNamesOf(pod: PodObject): readonly string[] {
  return namesIn(pod, 'initContainers');
}
const namesIn = (pod: PodObject, list: string): readonly string[] =>
  recordsIn(recordIn(pod, 'spec'), list).flatMap((container) => textIn(container, 'name') ?? []);

/** The requested containers that exist, in the requested order. @param requested a name, a list of names, or `true` for all */
export function reconcileRequestedLogContainers(requested: unknown, actual: readonly string[]): readonly string[] {
  if (requested === true) return actual;
  const wanted: readonly unknown[] =
    typeof requested === 'string' ? [requested] : Array.isArray(requested) ? requested : [];
  return wanted.filter((name) => typeof name === 'string').filter((name) => actual.includes(name));
}

/** Whether the pod has an Istio proxy container, which never ends by itself. */
export function hasIstioProxy(pod: PodObject): boolean {
  return namesIn(pod, 'containers').includes(ISTIO_CONTAINER_NAME);
}
/** Name of the Istio proxy container. */
export const ISTIO_CONTAINER_NAME = 'istio-proxy';

/** The pod's name; empty when it has none yet. */
export const nameOf = (pod: PodObject): string => textIn(recordIn(pod, 'metadata'), 'name') ?? '';
/** The pod's namespace; `undefined` when it names none. */
export const namespaceIn = (pod: PodObject): string | undefined => textIn(recordIn(pod, 'metadata'), 'namespace');
/** When the kubelet acknowledged the pod, epoch milliseconds; absent before that. */
export const startedAt = (pod: PodObject): number | undefined => instantIn(recordIn(pod, 'status'), 'startTime');
/** When the pod was created, epoch milliseconds; 0 when it was not. */
export const createdAt = (pod: PodObject): number => instantIn(recordIn(pod, 'metadata'), 'creationTimestamp') ?? 0;
/** Whether the pod has reached a terminal phase. */
export const isOver = (pod: PodObject): boolean => PodPhases.terminalStates.has(phaseOf(pod) ?? '');
/** Whether the pod is scheduled to a node. */
export const isScheduled = (pod: PodObject): boolean =>
  recordsIn(recordIn(pod, 'status'), 'conditions').some(
    ({ type, status }) => type === 'PodScheduled' && status === 'True',
  );
