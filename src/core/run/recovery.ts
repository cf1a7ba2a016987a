/**
 * Runs found again from their pods, after the broker's data is lost. A pod's labels and annotations name its run, its attempt and its queue;
 * everything else the run asked for went with the broker, so a recovered run is followed to the end of this pod and never repeated.
 */
import { tenantKey } from '../identity.ts';
import { recordIn, recordsIn, textIn } from '../json.ts';
import type { JsonRecord } from '../json.ts';
import type { PodProjection } from '../pod/projection.ts';
import { WIRE_VERSION } from '../wire-version.ts';
import { XCOM } from '../pod/xcom-sidecar.ts';
import type { RunState } from '../../wire/run-state.ts';

/** A pod, by whether its run can be recovered from it. */
export type FoundPod =
  /** Its run can be followed again. Whether tenant and run id are valid names is not checked here. */
  | { readonly kind: 'recoverable'; readonly pod: PodProjection }
  /** Its run has ended; the pod was retained. */
  | { readonly kind: 'answered'; readonly pod: PodProjection }
  /** A later attempt of the same run has a pod. */
  | { readonly kind: 'older'; readonly pod: PodProjection }
  /** Without annotations that name a run. */
  | { readonly kind: 'unnamed'; readonly pod: PodProjection };

/** What is lost because no pod shows it; printed after a recovery. */
export const COULD_NOT_KNOW = [
  'runs that had no pod: queued, waiting for a time, for their turn or between two attempts',
  'retries left, expiry, priority, concurrency key and context of the recovered runs: none is attempted again',
  'whether a recovered run wants its pod kept (it is deleted at the end), its logging interval, skipOnExitCode and callbacks',
  'execution and start time-outs, except what Kubernetes enforces by activeDeadlineSeconds',
  'cancels that were asked for and not carried out',
  'events, results and logs stored before; logs are read again from what the nodes still have',
] as const;

/** Sorts pods by whether their runs can be recovered. */
export function foundIn(pods: readonly PodProjection[]): readonly FoundPod[] {
  const last = new Map<string, number>();
  const keyOf = ({ tenant = '', runId = '' }: PodProjection) => tenantKey(tenant, runId);
  for (const pod of pods) last.set(keyOf(pod), Math.max(last.get(keyOf(pod)) ?? 0, pod.attempt ?? 1));
  return pods.map((pod): FoundPod => {
    const { tenant, runId } = pod;
    if (tenant === undefined || runId === undefined) return { kind: 'unnamed', pod };
    if (pod.alreadyChecked) return { kind: 'answered', pod };
    if ((pod.attempt ?? 1) < (last.get(keyOf(pod)) ?? 0)) return { kind: 'older', pod };
    return { kind: 'recoverable', pod };
  });
}

/** More failures than any policy allows. */
const NO_MORE = 1_000_000;

/** The state of a run that waits for its pod's end and is not attempted again. `by`: who recovered it. */
export function recoveredState(
  pod: PodProjection,
  facts: { readonly operator: string; readonly queue: string; readonly now: number; readonly by: string },
): RunState {
  const { connection, namespace, name, uid, node } = pod;
  return {
    v: WIRE_VERSION,
    phase: 'Deferred',
    queue: facts.queue,
    operator: facts.operator,
    attempt: pod.attempt ?? 1,
    // Above 0: `accepted` is published for step 0 only.
    step: 1,
    userFailures: 0,
    infraFailures: NO_MORE,
    faults: 0,
    fence: { stream: 'recovered', seq: 0, epoch: 1, by: facts.by },
    op: '',
    pod: { connection, namespace, name, uid, ...(node === undefined ? {} : { node }) },
    await: { terminal: true },
    timings: { acceptedAt: pod.createdAt, launchedAt: pod.createdAt, recoveredAt: facts.now },
    requestHash: '',
  };
}

/** The operator that made the pod: pods of executors are labelled, whatever their queue is called. */
export function operatorOfPod(pod: PodProjection): 'command' | 'pod' {
  return pod.executor === undefined ? 'pod' : 'command';
}

/** A request that the recovered run's re-entry can read: as much of the original as its pod shows. */
export function recoveredRequest(operator: string, pod: PodProjection, manifest: JsonRecord) {
  const containers = recordsIn(recordIn(manifest, 'spec'), 'containers');
  const base = containers.find((container) => container['name'] === pod.baseContainer);
  const common = {
    image: textIn(base, 'image') ?? 'unknown',
    namespace: pod.namespace,
    kubernetesConnId: pod.connection,
    doXcomPush: containers.some((container) => container['name'] === XCOM.container),
  };
  return operator === 'command'
    ? { operator, params: { ...common, command: ['recovered'], doXcomPush: false } }
    : { operator, params: { ...common, baseContainerName: pod.baseContainer } };
}
