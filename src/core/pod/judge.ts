/**
 * What a pod's state means for a waiting run: the one pure decision behind triggerers and blocking runs.
 * @see https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
 */
import type { Await, Subscription, TriggerEvent } from '../../wire/triggers.ts';
import type { DiagnosisCode } from '../run/diagnosis.ts';
import { baseContainerOf, type ContainerProjection, type PodProjection } from './projection.ts';
import { XCOM } from './xcom-sidecar.ts';

/** What a pod's state means for its run, deadlines aside. */
export type Verdict =
  /** Not ended. */
  { readonly kind: 'open' } | { readonly kind: 'success' } | { readonly kind: 'failed'; readonly code: DiagnosisCode };

/** Nothing before `until` unless the pod changes (absent: only a change counts), or an event now. */
export type Judgement =
  { readonly kind: 'wait'; readonly until?: number } | { readonly kind: 'fire'; readonly event: TriggerEvent };

const OPEN = { kind: 'open' } as const;
const SUCCESS = { kind: 'success' } as const;
const failed = (code: DiagnosisCode): Verdict => ({ kind: 'failed', code });

/** `status.reason` of a failed pod. */
const POD_REASONS: Readonly<Record<string, DiagnosisCode>> = {
  Evicted: 'EVICTED',
  DeadlineExceeded: 'DEADLINE_EXCEEDED',
  NodeLost: 'NODE_LOST',
  Preempting: 'PREEMPTED',
  Preempted: 'PREEMPTED',
  Shutdown: 'NODE_SHUTDOWN',
  NodeShutdown: 'NODE_SHUTDOWN',
  Terminated: 'NODE_SHUTDOWN',
  UnexpectedAdmissionError: 'POD_REJECTED',
  NodeAffinity: 'POD_REJECTED',
  NodePorts: 'POD_REJECTED',
  AppArmor: 'POD_REJECTED',
  SysctlForbidden: 'POD_REJECTED',
};

/**
 * Reason of condition `DisruptionTarget`. `TerminationByKubelet` adds nothing to `status.reason`, which is read first.
 * @see https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions
 */
const DISRUPTIONS: Readonly<Record<string, DiagnosisCode>> = {
  PreemptionByScheduler: 'PREEMPTED',
  DeletionByTaintManager: 'NODE_LOST',
  DeletionByPodGC: 'NODE_LOST',
  EvictionByEvictionAPI: 'EVICTED',
  TerminationByKubelet: 'NODE_SHUTDOWN',
};

/** Parts of a waiting container's message, in lower case, that name a transient cause: the kubelet's next try may succeed. */
const TRANSIENT = [
  'pull qps exceeded',
  'rate limit',
  'too many requests',
  'toomanyrequests',
  'quota exceeded',
  'temporarily unavailable',
  'timeout',
  'timed out',
  'account limit',
  'bad gateway',
  'service unavailable',
  'gateway timeout',
  'context deadline exceeded',
  'no such host',
  'failed to sync',
  // A registry that restarts or an unstable network: waited for until the start's deadline.
  'connection refused',
  'connection reset',
  'broken pipe',
  'unexpected eof',
  'internal server error',
  'no route to host',
  'network is unreachable',
  'server misbehaving',
  'temporary failure',
];

/** Waiting reasons that do not pass. */
const HOPELESS: Readonly<Record<string, DiagnosisCode>> = {
  InvalidImageName: 'INVALID_IMAGE_NAME',
  ErrImageNeverPull: 'IMAGE_PULL_FAILED',
};
/** The same, unless the message names a transient cause. */
const HOPELESS_UNLESS_TRANSIENT: Readonly<Record<string, DiagnosisCode>> = {
  ErrImagePull: 'IMAGE_PULL_FAILED',
  ImagePullBackOff: 'IMAGE_PULL_FAILED',
  CreateContainerConfigError: 'CONTAINER_CONFIG_ERROR',
  RunContainerError: 'CONTAINER_CANNOT_RUN',
};

const KILLED = [137, 143];

function isTransient(message: string | undefined): boolean {
  const text = (message ?? '').toLowerCase();
  return TRANSIENT.some((part) => text.includes(part));
}

/** The cause that the pod itself names: `status.reason`, then the disruption condition. */
function podCause(pod: PodProjection): DiagnosisCode | undefined {
  const { reason, disruption } = pod;
  const known =
    reason === undefined ? undefined : (POD_REASONS[reason] ?? (/^OutOf/.test(reason) ? 'POD_REJECTED' : undefined));
  return known ?? (disruption === undefined ? undefined : (DISRUPTIONS[disruption] ?? 'EVICTED'));
}

/** Why a container ended with something other than 0. */
function endCode(pod: PodProjection, container: ContainerProjection): DiagnosisCode {
  const cause = podCause(pod);
  if (cause !== undefined) return cause;
  const exitCode = container.exitCode ?? -1;
  if (container.reason === 'OOMKilled') return 'OOM_KILLED';
  // A killed container of a pod under deletion: the kubelet may also overwrite its state with 137 `ContainerStatusUnknown`.
  if (pod.deletedAt !== undefined && KILLED.includes(exitCode)) return 'POD_DELETED';
  if (container.reason === 'ContainerStatusUnknown') return 'TERMINATED_UNKNOWN';
  if (container.reason === 'StartError' || container.reason === 'ContainerCannotRun') return 'CONTAINER_CANNOT_RUN';
  return container.kind === 'init' ? 'INIT_CONTAINER_FAILED' : 'CONTAINER_FAILED';
}

/** Why a waiting container will never start; `undefined`: it may. */
export function hopelessCode({
  state,
  reason,
  message,
}: Pick<ContainerProjection, 'state' | 'reason' | 'message'>): DiagnosisCode | undefined {
  if (state !== 'waiting' || reason === undefined) return undefined;
  const always = HOPELESS[reason];
  if (always !== undefined) return always;
  // The kubelet uses the same reason for a name conflict, which passes; only this message is about the image.
  if (reason === 'CreateContainerError')
    return /no command specified/i.test(message ?? '') ? 'CONTAINER_CANNOT_RUN' : undefined;
  if (reason === 'ImagePullBackOff' && BARE_BACK_OFF.test(message ?? '')) return undefined;
  const unlessTransient = HOPELESS_UNLESS_TRANSIENT[reason];
  return unlessTransient === undefined || isTransient(message) ? undefined : unlessTransient;
}

/** A back-off without its cause (kubelets before 1.32): the error before it named the cause, and was judged. */
const BARE_BACK_OFF = /^back-off pulling image "[^"]*"$/i;

/** Whether an image pull is held up by something that passes. */
export function pullThrottled({ containers }: PodProjection): boolean {
  return containers.some(
    ({ state, reason, message }) =>
      state === 'waiting' && (reason === 'ErrImagePull' || reason === 'ImagePullBackOff') && isTransient(message),
  );
}

/**
 * What a pod's state means for its run: the base container's end decides, whatever sidecars do; then the pod's phase; then
 * containers that can never start. Success only where exit code 0 or phase Succeeded was seen.
 */
export function podVerdict(pod: PodProjection): Verdict {
  const base = baseContainerOf(pod);
  if (base?.state === 'terminated') return base.exitCode === 0 ? SUCCESS : failed(endCode(pod, base));
  const badInit = pod.containers.find((one) => one.kind === 'init' && one.state === 'terminated' && one.exitCode !== 0);
  switch (pod.phase) {
    case 'Succeeded':
      return SUCCESS;
    case 'Failed':
      return failed(podCause(pod) ?? (badInit === undefined ? 'TERMINATED_UNKNOWN' : endCode(pod, badInit)));
    case 'Pending':
    case 'Running':
    case 'Unknown': {
      // These pods never restart a container, so a failed init container is the end already.
      if (badInit !== undefined) return failed(endCode(pod, badInit));
      // A pod under deletion will not start any more; its removal shows how it ended.
      if (pod.deletedAt !== undefined) return OPEN;
      // While the base container runs, a container beside it is no reason to end the run.
      if (base?.state === 'running') return OPEN;
      for (const container of pod.containers) {
        const code = hopelessCode(container);
        if (code !== undefined) return failed(code);
      }
      return OPEN;
    }
  }
}

/** Whether the pod has started: it left Pending. Phase Unknown proves nothing. */
export function hasStarted({ phase }: PodProjection): boolean {
  return phase === 'Running' || phase === 'Succeeded' || phase === 'Failed';
}

const timeout = (reason: DiagnosisCode, now: number, pod: PodProjection | undefined): Judgement => ({
  kind: 'fire',
  event: { kind: 'timeout', reason, at: now, ...(pod === undefined ? {} : { pod: podInMessage(pod) }) },
});

/** A projection as messages carry it: a copy of its own. */
export function podInMessage(pod: PodProjection): NonNullable<TriggerEvent['pod']> {
  return { ...pod, containers: pod.containers.map((container) => ({ ...container })) };
}

const WAIT: Judgement = { kind: 'wait' };

/** Waits for the earliest of the given instants, if there is one. */
function wait(first: number | undefined, second?: number, third?: number): Judgement {
  const until = Math.min(first ?? Infinity, second ?? Infinity, third ?? Infinity);
  return until === Infinity ? WAIT : { kind: 'wait', until };
}

/** A wait for a time, a retry or a quota: no pod's state matters. */
function judgeTimer(
  { notBefore, expireAt, timeoutAt }: Await,
  now: number,
  kind: 'timer' | 'gone',
  last?: PodProjection,
  isAdmitted = true,
): Judgement {
  if ((expireAt ?? Infinity) <= now) return timeout('EXPIRED', now, last);
  if ((timeoutAt ?? Infinity) <= now) return timeout('EXECUTION_TIMEOUT', now, last);
  if (!isAdmitted) return wait(expireAt, timeoutAt);
  if (notBefore !== undefined && notBefore > now) return wait(notBefore, expireAt, timeoutAt);
  return { kind: 'fire', event: { kind, at: now, ...(last === undefined ? {} : { pod: podInMessage(last) }) } };
}

function verdictEvent(pod: PodProjection, now: number): TriggerEvent | undefined {
  const verdict = podVerdict(pod);
  switch (verdict.kind) {
    case 'open':
      return undefined;
    case 'success':
      return { kind: 'success', at: now, pod: podInMessage(pod) };
    case 'failed':
      return { kind: 'failed', reason: verdict.code, at: now, pod: podInMessage(pod) };
  }
}

/** The kubelet's and the scheduler's times are whole seconds. */
const CLUSTER_TIME_STEP_MS = 1_000;

/**
 * By when this pod must have been scheduled and started. Scheduling gates put both deadlines off by the time that they held the pod back; the
 * time for starting counts from the scheduling, so it may end before `startBy`. Two times of the cluster's clock are compared with each other
 * only, never with this process's clock.
 * @see https://kubernetes.io/docs/concepts/scheduling-eviction/pod-scheduling-readiness/
 */
export function startDeadlines(
  { from, scheduleBy, startBy }: Await,
  { createdAt, scheduledAt, ungatedAt }: PodProjection,
): Pick<Await, 'scheduleBy' | 'startBy'> {
  // A watch saw the last gate being removed; else it shows in a scheduling after its deadline, which only a gate can have allowed.
  const isLate = scheduledAt !== undefined && scheduleBy !== undefined && scheduledAt > scheduleBy;
  const gatedUntil = ungatedAt ?? (isLate ? scheduledAt : createdAt);
  const gatedMs = Math.max(0, gatedUntil - createdAt);
  const ungated = {
    scheduleBy: scheduleBy === undefined ? undefined : scheduleBy + gatedMs,
    startBy: startBy === undefined ? undefined : startBy + gatedMs,
  };
  if (from === undefined || scheduleBy === undefined || startBy === undefined || scheduledAt === undefined)
    return ungated;
  const scheduledAfterMs = Math.max(0, scheduledAt - createdAt) + CLUSTER_TIME_STEP_MS;
  const startMs = Math.max(0, startBy - scheduleBy);
  return { ...ungated, startBy: Math.min(startBy + gatedMs, from + scheduledAfterMs + startMs) };
}

/** Grace for Kubernetes to report why a container was killed after its exit code appears, in milliseconds. */
const SETTLE_MS = 10_000;

/**
 * Until when a killed container's verdict waits for the pod's own: a kubelet that ends a pod (deadline, eviction, shutdown) writes the
 * exit code first, and phase and reason when all containers have ended. A sidecar may delay the phase, hence the limit.
 */
function settlesAt(pod: PodProjection): number | undefined {
  const base = baseContainerOf(pod);
  const isOpen = pod.phase !== 'Failed' && pod.phase !== 'Succeeded' && pod.deletedAt === undefined;
  const killed = base?.state === 'terminated' && KILLED.includes(base.exitCode ?? 0) && base.reason === 'Error';
  if (!isOpen || !killed || podCause(pod) !== undefined || base.finishedAt === undefined) return undefined;
  return base.finishedAt + SETTLE_MS;
}

/** How long after the base container's end its result sidecar may still be starting, in milliseconds. */
export const SIDECAR_START_MS = 60_000;

/**
 * Until when the end of the base container waits for a result sidecar that has not started: a base container may end before the sidecar's image
 * is pulled. The result is read through the sidecar (a failed run may have left one, too), and a retained pod would run for ever with a sidecar
 * that was never asked to end. Undefined: it has started or ended, or never will.
 */
function sidecarStartsBy(pod: PodProjection, now: number): number | undefined {
  if (pod.phase !== 'Running' && pod.phase !== 'Pending') return undefined;
  const base = baseContainerOf(pod);
  const sidecar = pod.containers.find(({ name, kind }) => kind === 'main' && name === XCOM.container);
  const isLate = sidecar?.state === 'waiting' && hopelessCode(sidecar) === undefined;
  if (!isLate || base?.state !== 'terminated' || pod.deletedAt !== undefined) return undefined;
  const until = (base.finishedAt ?? 0) + SIDECAR_START_MS;
  return until > now ? until : undefined;
}

/** What the state of a pod means for a wait, deadlines included. */
export function judgePod(wanted: Await, pod: PodProjection, now: number): Judgement {
  const ended = verdictEvent(pod, now);
  const settled = ended === undefined ? undefined : settlesAt(pod);
  if (settled !== undefined && settled > now) return wait(settled);
  if (ended !== undefined) {
    const until = sidecarStartsBy(pod, now);
    if (until === undefined || (wanted.timeoutAt ?? Infinity) <= now) return { kind: 'fire', event: ended };
    return wait(until, wanted.timeoutAt);
  }
  if ((wanted.timeoutAt ?? Infinity) <= now) return timeout('EXECUTION_TIMEOUT', now, pod);
  if (hasStarted(pod)) return wait(wanted.timeoutAt);
  // Scheduling gates hold it back: neither deadline is about that.
  if (pod.gates !== undefined) return wait(wanted.timeoutAt);
  const unscheduled = pod.scheduledAt === undefined && pod.node === undefined;
  const { scheduleBy, startBy } = startDeadlines(wanted, pod);
  if (unscheduled && (scheduleBy ?? Infinity) <= now) return timeout('SCHEDULE_TIMEOUT', now, pod);
  if ((startBy ?? Infinity) <= now) {
    if (pullThrottled(pod)) return timeout('IMAGE_PULL_THROTTLED', now, pod);
    return timeout(unscheduled ? 'SCHEDULE_TIMEOUT' : 'STARTUP_TIMEOUT', now, pod);
  }
  return wait(wanted.timeoutAt, startBy, unscheduled ? scheduleBy : undefined);
}

/**
 * Compares what a subscription waits for with what is known of its pod. Pure, and a level: called again it gives the same.
 * `pod` undefined, or one of another uid: no pod of the subscription's uid is known, which is not yet absence; once that is
 * confirmed, call `judgeAbsence`. `running` events (logging interval) come from the pipeline's second clock.
 * Deadlines that need the pod's state (`scheduleBy`, `startBy`) do not fire while it is unknown.
 * `isAdmitted`: whether the gate of a run that waits for its turn is open (`queue/order.ts`); the worker checks it again.
 */
export function judge(
  subscription: Subscription,
  pod: PodProjection | undefined,
  now: number,
  isAdmitted = true,
): Judgement {
  const wanted = subscription.await;
  const known = pod !== undefined && pod.uid === subscription.pod?.uid ? pod : undefined;
  if (wanted.gone === true && subscription.pod !== undefined) {
    return (wanted.expireAt ?? Infinity) <= now ? timeout('EXPIRED', now, known) : wait(wanted.expireAt);
  }
  if (wanted.terminal === true && subscription.pod !== undefined) {
    if (known !== undefined) return judgePod(wanted, known, now);
    return (wanted.timeoutAt ?? Infinity) <= now
      ? timeout('EXECUTION_TIMEOUT', now, undefined)
      : wait(wanted.timeoutAt);
  }
  return judgeTimer(
    wanted,
    now,
    wanted.gone === true ? 'gone' : 'timer',
    undefined,
    isAdmitted || wanted.gate === undefined,
  );
}

/**
 * The same when the subscription's pod is confirmed to be gone (404, another uid, DELETED seen). A pod that had ended keeps
 * its verdict; any other was deleted by someone else.
 */
export function judgeAbsence(subscription: Subscription, last: PodProjection | undefined, now: number): Judgement {
  const wanted = subscription.await;
  if (wanted.gone === true) return judgeTimer(wanted, now, 'gone', last);
  if (wanted.terminal !== true) return judgeTimer(wanted, now, 'timer', last);
  if (last === undefined) return { kind: 'fire', event: { kind: 'gone', reason: 'POD_DELETED', at: now } };
  const verdict = podVerdict(last);
  // A pod that had not started when it was last seen has not failed: its removal is what happened to it.
  const ended = verdict.kind === 'success' || hasStarted(last) ? verdictEvent(last, now) : undefined;
  if (ended !== undefined) return { kind: 'fire', event: ended };
  const reason = podCause(last) ?? 'POD_DELETED';
  return { kind: 'fire', event: { kind: 'gone', reason, at: now, pod: podInMessage(last) } };
}
