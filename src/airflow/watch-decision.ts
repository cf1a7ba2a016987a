/** What a watch event means for a pod's task: the rules of Airflow's `KubernetesJobWatcher.process_status`, first match wins. Pure. */
import { ADOPTED, type FailureDetails } from './records.ts';
import { annotationsToKey } from './task-key.ts';
import type { WatchedContainer, WatchedPod } from './watched-pod.ts';

/** Types of watch events, as the API names them. */
export type WatchEventType = 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';

/** `none`: no record, with the reason for a debug log. `nameless`: the pod names no task. `report`: queue a record with this state. */
export type WatchDecision =
  | { readonly kind: 'none'; readonly why: string }
  | { readonly kind: 'nameless' }
  | {
      readonly kind: 'report';
      /** `null`: the pod succeeded. */
      readonly state: 'failed' | typeof ADOPTED | null;
      readonly details?: FailureDetails | undefined;
    };

/** Message of an image pull that the kubelet has only postponed. */
const THROTTLED_PULL = 'pull QPS exceeded';

const none = (why: string): WatchDecision => ({ kind: 'none', why });
const failed = (details?: FailureDetails): WatchDecision => ({ kind: 'report', state: 'failed', details });

function isFatal({ state, reason, message }: WatchedContainer, fatal: readonly string[]): boolean {
  if (state !== 'waiting' || reason === undefined || !fatal.includes(reason)) return false;
  return !(reason === 'ErrImagePull' && message === THROTTLED_PULL);
}

/** Decides about one event. @param fatalReasons reasons of waiting containers with which a pending pod counts as failed */
export function decideStatus(
  pod: WatchedPod,
  event: WatchEventType,
  { fatalReasons }: { readonly fatalReasons: readonly string[] },
): WatchDecision {
  const key = annotationsToKey(pod.annotations);
  const dated = Boolean(pod.annotations['logical_date'] ?? pod.annotations['execution_date']);
  if (key === undefined || (key.runId === null && !dated)) return { kind: 'nameless' };
  if (pod.revoked) return none('the task was revoked');
  if (event === 'DELETED' && !pod.deleting) return { kind: 'report', state: ADOPTED };
  if (pod.reason === 'ProviderFailed') return failed();
  switch (pod.phase) {
    case 'Pending': {
      if (event === 'DELETED') return none('deleted before it started');
      const fatal = [...pod.initContainers, ...pod.containers.slice(0, 1)].find((one) => isFatal(one, fatalReasons));
      return fatal === undefined ? none('pending') : failed();
    }
    case 'Failed':
      return failed(failureDetails(pod));
    case 'Succeeded':
      return { kind: 'report', state: null };
    case 'Running':
      return event === 'DELETED' ? failed() : none('running');
    default:
      return none(`phase ${pod.phase}`);
  }
}

/** Why a failed pod failed; `undefined` in any other phase. Init containers are examined first. */
export function failureDetails(pod: WatchedPod): FailureDetails | undefined {
  if (pod.phase !== 'Failed') return undefined;
  return {
    podStatus: pod.phase,
    podReason: pod.reason,
    podMessage: pod.message,
    ...(containerDetails(pod.initContainers, 'init') ?? containerDetails(pod.containers, 'main')),
  };
}

function containerDetails(
  containers: readonly WatchedContainer[],
  containerType: 'init' | 'main',
): FailureDetails | undefined {
  const ended = containers.find(
    ({ state, exitCode, reason }) => state === 'terminated' && exitCode !== 0 && reason !== 'Completed',
  );
  const found = ended ?? containers.findLast(({ state }) => state === 'waiting');
  if (found === undefined) return undefined;
  return {
    containerState: found === ended ? 'terminated' : 'waiting',
    containerReason: found.reason,
    containerMessage: found.message,
    containerType,
    containerName: found.name,
    ...(found === ended ? { exitCode: found.exitCode } : {}),
  };
}

/** The failure as one line for events and logs. */
export function failureText(details: FailureDetails): string {
  const { podReason, podMessage, containerName, containerReason, exitCode } = details;
  const pod = podReason === undefined ? 'the pod failed' : `the pod failed: ${podReason}`;
  const message = podMessage === undefined ? '' : ` (${podMessage})`;
  if (containerName === undefined) return `${pod}${message}`;
  const code = exitCode === undefined ? '' : ` with exit code ${exitCode}`;
  return `${pod}${message}; container ${containerName} ended${code}${containerReason === undefined ? '' : `: ${containerReason}`}`;
}
