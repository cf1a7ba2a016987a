/** What a pod run waits for, and what it has learnt of its pod. */
import { diagnosisOf } from '../core/run/diagnosis.ts';
import type { ContainerProjection, PodProjection, PodRef } from '../core/pod/projection.ts';
import type { Await } from '../wire/triggers.ts';
import type { StepContext, StepFacts, StepOutcome } from './operator.ts';
import type { PodParams } from './pod-params.ts';
import type { LogsRead } from './run-pods.ts';

type Context = StepContext<PodParams>;

/** Least time between two `running` re-entries, in milliseconds. @see spec protocol §7 */
export const MIN_LOGGING_INTERVAL_MS = 5_000;

/** Who wants none says a large number: as long as the longest run. What the wire carries is a safe integer. */
const MAX_LOGGING_INTERVAL_MS = 366 * 24 * 3_600_000;

const loggingEveryMs = (seconds: number): number =>
  Math.min(MAX_LOGGING_INTERVAL_MS, Math.max(MIN_LOGGING_INTERVAL_MS, Math.round(seconds * 1000)));

/** Where a pod is, without what else is known of it. */
export const refOf = ({ connection, namespace, name, uid }: PodRef): PodRef => ({ connection, namespace, name, uid });

/** The container that decides. */
export function baseOf(pod: PodProjection): ContainerProjection | undefined {
  return pod.containers.find(({ name, kind }) => kind === 'main' && name === pod.baseContainer);
}

/** The pod and its base container’s times. */
export function timesOf(pod: PodProjection): StepFacts {
  const base = baseOf(pod);
  return {
    pod: { ...refOf(pod), node: pod.node },
    ...(base?.startedAt === undefined ? {} : { startedAt: base.startedAt }),
    ...(base?.finishedAt === undefined ? {} : { finishedAt: base.finishedAt }),
  };
}

/** Where the logs have been read to. `before`: gaps found earlier. */
export function factsOf({ cursors, gaps }: LogsRead, before = 0): StepFacts {
  return { cursors, logGaps: gaps + before };
}

/**
 * The first wait of an attempt. Deadlines are absolute: from the launch, once. Scheduling may take its time-out (without one, as
 * long as starting), and starting its own from the scheduling, hence at most both together. @see spec pod-operator §6.3
 */
export function launched(context: Context, params: PodParams, pod: PodProjection, created: boolean): StepOutcome {
  const { request, state } = context;
  const now = context.now();
  // An adopted pod has used up time already; its own clock may run ahead of ours.
  const from = created ? now : Math.min(now, pod.createdAt);
  const startMs = params.startupTimeoutSeconds * 1000;
  const scheduleMs = (params.scheduleTimeoutSeconds ?? 0) * 1000 || startMs;
  const { executionTimeoutSeconds } = request;
  const timeoutAt =
    state.timeoutAt ?? (executionTimeoutSeconds === undefined ? undefined : from + executionTimeoutSeconds * 1000);
  const wait: Await = {
    terminal: true,
    from: Math.round(from),
    scheduleBy: Math.round(from + scheduleMs),
    startBy: Math.round(from + scheduleMs + startMs),
    ...(timeoutAt === undefined ? {} : { timeoutAt: Math.round(timeoutAt) }),
    ...(typeof params.loggingInterval === 'number' && params.getLogs
      ? { loggingEveryMs: loggingEveryMs(params.loggingInterval) }
      : {}),
  };
  return {
    kind: 'defer',
    pod: refOf(pod),
    await: wait,
    facts: {
      pod: { ...refOf(pod), node: pod.node },
      launchedAt: now,
      ...(timeoutAt === undefined ? {} : { timeoutAt: Math.round(timeoutAt) }),
    },
  };
}

/** The same wait again, with the same absolute deadlines. */
export function again({ state }: Context, pod: PodProjection | undefined, logs?: LogsRead): StepOutcome {
  const ref = pod ?? state.pod;
  if (ref === undefined)
    return { kind: 'over', outcome: { state: 'failed', diagnosis: diagnosisOf('TERMINATED_UNKNOWN') } };
  return {
    kind: 'defer',
    pod: refOf(ref),
    await: state.await ?? { terminal: true },
    facts: {
      ...(pod === undefined ? {} : timesOf(pod)),
      ...(logs === undefined ? {} : factsOf(logs, state.logGaps)),
    },
  };
}
