/** The next states of a run, as values made from the present one. The worker adds the operation id `op` and writes them by compare-and-set. */
import type { PodRef } from '../pod/projection.ts';
import type { CompletedData, LifecycleData } from '../../wire/events.ts';
import type { Diagnosis, FinalState, Outcome } from '../../wire/outcome.ts';
import type { RunRequest } from '../../wire/run-request.ts';
import type { Fence, Phase, RunState } from '../../wire/run-state.ts';
import type { Await, Gate, Subscription } from '../../wire/triggers.ts';
import type { RunKey } from '../../wire/subjects.ts';
import { WIRE_VERSION } from '../wire-version.ts';

/** A state to be written: `op` is still the previous write's. */
export type Draft = RunState;

/** What a step found out about its pod; kept in the state. Times are epoch milliseconds. */
export interface StepFacts {
  readonly pod?: PodRef & { readonly node?: string | undefined };
  readonly launchedAt?: number;
  readonly startedAt?: number;
  readonly finishedAt?: number;
  readonly timeoutAt?: number;
  readonly cursors?: Readonly<Record<string, string>>;
  readonly logGaps?: number;
  readonly memo?: RunState['memo'];
}

/** The phase of each final state. */
export const PHASE_OF: Readonly<Record<FinalState, Phase>> = {
  succeeded: 'Succeeded',
  failed: 'Failed',
  skipped: 'Skipped',
  cancelled: 'Cancelled',
};

const given = <T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } => {
  const kept: { [K in keyof T]?: Exclude<T[K], undefined> } = {};
  for (const key in fields) {
    const value = fields[key];
    if (value !== undefined) Object.assign(kept, { [key]: value });
  }
  return kept;
};

const without = (state: Draft, ...keys: readonly (keyof RunState)[]): Draft => {
  const copy: Draft = { ...state };
  for (const key of keys) Reflect.deleteProperty(copy, key);
  return copy;
};

/** An accepted request. It waits at once where it starts later or can expire. */
export function accepted(
  request: Pick<
    RunRequest,
    'operator' | 'startAfter' | 'expireSeconds' | 'parentRunId' | 'priority' | 'concurrencyKey'
  >,
  facts: { readonly queue: string; readonly fence: Fence; readonly requestHash: string; readonly now: number },
): Draft {
  const { now } = facts;
  const from = Math.max(now, request.startAfter === undefined ? now : Date.parse(request.startAfter));
  const expireAt = request.expireSeconds === undefined ? undefined : Math.ceil(from + request.expireSeconds * 1000);
  const waits = from > now || expireAt !== undefined;
  return {
    v: WIRE_VERSION,
    phase: 'Queued',
    queue: facts.queue,
    operator: request.operator,
    attempt: 1,
    step: 0,
    userFailures: 0,
    infraFailures: 0,
    faults: 0,
    fence: facts.fence,
    op: '',
    ...given({
      parentRunId: request.parentRunId,
      priority: request.priority,
      concurrencyKey: request.concurrencyKey,
      expireAt,
      await: waits ? { notBefore: from, ...given({ expireAt }) } : undefined,
    }),
    timings: { acceptedAt: now },
    requestHash: facts.requestHash,
  };
}

/** A refused request: the run is stored as Failed at once. */
export function refused(
  diagnosis: Diagnosis,
  facts: {
    readonly queue: string;
    readonly operator: string;
    readonly fence: Fence;
    readonly requestHash: string;
    readonly now: number;
  },
): Draft {
  const draft = accepted({ operator: facts.operator }, facts);
  return ended(draft, { state: 'failed', diagnosis }, facts.now);
}

/** The owner takes the step; a redelivery takes over with the next epoch. */
export function taken(
  state: Draft,
  phase: 'Starting' | 'Resuming',
  fence: { readonly stream: string; readonly seq: number; readonly by: string },
): Draft {
  const again = state.fence.stream === fence.stream && state.fence.seq === fence.seq;
  const next = {
    ...(again ? state : without(state, 'naks', 'unreadSince', 'resumedStep')),
    phase,
    fence: { ...fence, epoch: state.fence.epoch + 1 },
  };
  // Wait and pod of a queued run belong to the previous attempt; those of a starting one to this attempt, which is blocking.
  return phase === 'Starting' && state.phase !== 'Starting' ? without(next, 'await', 'pod') : next;
}

/** The attempt is resumed for the first time by anything but its logging interval. */
export function resumed(state: Draft, now: number): Draft {
  return { ...state, resumedStep: state.step, timings: { ...state.timings, resumedAt: now } };
}

/** A cancel was requested. */
export function cancelMarked(state: Draft, at: number, reason: string | undefined): Draft {
  return { ...state, cancel: { at, ...given({ reason }) } };
}

function withFacts(state: Draft, facts: StepFacts | undefined): Draft {
  if (facts === undefined) return state;
  const { pod, launchedAt, startedAt, finishedAt, timeoutAt, cursors, logGaps, memo } = facts;
  return {
    ...state,
    // The execution time-out is fixed when the pod is created; deferring again does not move it.
    ...(pod === undefined ? {} : { pod: podRef(pod) }),
    ...given({ timeoutAt: state.timeoutAt ?? timeoutAt, logGaps, memo }),
    ...(cursors === undefined ? {} : { cursors: { ...state.cursors, ...cursors } }),
    timings: { ...state.timings, ...given({ launchedAt, startedAt, finishedAt }) },
  };
}

/** What a run waits for: its pod, or, without `pod`, a time. */
export interface RunWait {
  readonly pod?: PodRef | undefined;
  readonly await: Await;
  readonly facts?: StepFacts | undefined;
}

/** Waits for the pod (again) or for a time, without a worker. Each wait has its own step, so that a late event of an earlier wait is recognized. */
export function deferred(
  state: Draft,
  wait: RunWait,
  limits: { readonly executionTimeoutSeconds?: number | undefined; readonly now: number },
): Draft {
  const known = withFacts(state, wait.facts);
  const from = known.timings.launchedAt ?? limits.now;
  const seconds = limits.executionTimeoutSeconds;
  const timeoutAt = known.timeoutAt ?? (seconds === undefined ? undefined : Math.ceil(from + seconds * 1000));
  const pod = wait.pod === undefined || known.pod?.uid === wait.pod.uid ? known.pod : wait.pod;
  const launched = pod !== undefined && pod.uid !== state.pod?.uid;
  return {
    // With a pod the run can no longer expire, and the previous attempt's outcome does not matter any more.
    ...without(known, 'outcome', 'blocked', 'expireAt', 'stopping', 'unreadSince', 'resumedStep'),
    phase: 'Deferred',
    step: state.step + 1,
    ...(launched ? { launchStep: state.step + 1 } : {}),
    ...(pod === undefined ? {} : { pod: podRef(pod) }),
    await: { ...wait.await, ...given({ timeoutAt }) },
    ...given({ timeoutAt }),
    timings: { ...known.timings, ...(pod === undefined ? {} : { launchedAt: from }) },
  };
}

/** A blocking run (`deferrable: false`) waits for its pod: its message stays unacknowledged and goes on owning it, in the phase it is in. */
export function blocking(
  state: Draft,
  wait: RunWait,
  limits: { readonly executionTimeoutSeconds?: number | undefined; readonly now: number },
): Draft {
  const { phase, step, unreadSince } = state;
  return { ...deferred(state, wait, limits), ...given({ unreadSince }), phase, step };
}

/** Cannot start now: the same attempt again at `notBefore`. */
export function postponed(
  state: Draft,
  notBefore: number,
  infraFailures: number,
  blocked: Diagnosis,
  memo?: RunState['memo'],
): Draft {
  return {
    ...without(state, 'outcome'),
    ...given({ memo }),
    blocked: boundedDiagnosis(blocked),
    phase: 'Queued',
    step: state.step + 1,
    infraFailures,
    await: { notBefore, ...given({ expireAt: state.expireAt }) },
  };
}

/** Pause before a run that met a closed gate again is let through once more. */
const gateBackOffMs = (tries: number): number => Math.min(5_000, 25 * 2 ** Math.min(tries, 10));

/** Ready to start, but held back by a gate. The start message that met the closed gate owns the run until the gate opens. */
export function gated(
  state: Draft,
  why: Gate['why'],
  fence: { readonly stream: string; readonly seq: number; readonly by: string },
  now: number,
): Draft {
  const { priority, concurrencyKey, expireAt, timings } = state;
  const before = state.await?.gate;
  const tries = before === undefined ? undefined : (before.tries ?? 0) + 1;
  return {
    // The previous attempt has been announced, and what postponed the run has passed.
    ...without(state, 'outcome', 'blocked', 'naks'),
    step: state.step + 1,
    fence: { ...fence, epoch: state.fence.epoch + 1 },
    await: {
      gate: { why, since: timings.acceptedAt ?? 0, ...given({ priority, concurrencyKey, tries }) },
      // The triggerer that let it through saw the gate open: pause, so that both views can agree without a hot loop.
      ...given({ expireAt, notBefore: tries === undefined ? undefined : now + gateBackOffMs(tries) }),
    },
  };
}

/** The pod is being deleted; the run ends, or is repeated, once it is gone. */
export function stoppingBegun(state: Draft, pod: PodRef, why: Stopping): Draft {
  return {
    ...state,
    phase: 'Deferred',
    step: state.step + 1,
    pod: podRef(pod),
    await: { gone: true },
    stopping: why,
  };
}

/** Why a pod is being stopped, and the outcome of its attempt once it is gone. */
export type Stopping = NonNullable<RunState['stopping']>;

/** Another attempt. The state names the old pod until the new one is known. */
export function retrying(
  state: Draft,
  outcome: Outcome,
  facts: StepFacts | undefined,
  again: {
    readonly userFailures: number;
    readonly infraFailures: number;
    readonly notBefore: number;
    readonly untilGone: boolean;
  },
): Draft {
  const known = without(
    withFacts(state, facts),
    ...(['stopping', 'timeoutAt', 'cursors', 'logGaps', 'memo', 'expireAt', 'unreadSince', 'resumedStep'] as const),
  );
  const { acceptedAt } = known.timings;
  return {
    ...known,
    phase: 'Queued',
    attempt: state.attempt + 1,
    step: state.step + 1,
    userFailures: again.userFailures,
    infraFailures: again.infraFailures,
    ...given({
      stuckStarts: outcome.diagnosis?.code === 'STUCK_QUEUED' ? (state.stuckStarts ?? 0) + 1 : state.stuckStarts,
    }),
    await: { notBefore: again.notBefore, ...(again.untilGone && known.pod !== undefined ? { gone: true } : {}) },
    outcome: bounded(outcome),
    timings: given({ acceptedAt }),
  };
}

/** The end. */
export function ended(state: Draft, outcome: Outcome, now: number, facts?: StepFacts): Draft {
  const known = without(
    withFacts(state, facts),
    ...(['await', 'blocked', 'stopping', 'memo', 'expireAt', 'timeoutAt', 'unreadSince', 'resumedStep'] as const),
  );
  return {
    ...known,
    phase: PHASE_OF[outcome.state],
    outcome: bounded(outcome),
    timings: { ...known.timings, completedAt: now },
  };
}

/** Ends a waiting run. A pod that the state still names belongs to the previous attempt and has been cleaned up. */
export function unlaunched(state: Draft, outcome: Outcome, now: number): Draft {
  return ended(without(state, 'pod', 'launchStep'), outcome, now);
}

/** Longest diagnosis in a state, in characters of JSON; beyond it all but code and summary is shortened. States stay under 8 KiB. */
const MAX_DIAGNOSIS_LENGTH = 2_500;

function bounded(outcome: Outcome): Outcome {
  const { diagnosis } = outcome;
  return diagnosis === undefined ? outcome : { ...outcome, diagnosis: boundedDiagnosis(diagnosis) };
}

function boundedDiagnosis(diagnosis: Diagnosis): Diagnosis {
  if (JSON.stringify(diagnosis).length <= MAX_DIAGNOSIS_LENGTH) return diagnosis;
  const { code, category, summary, hint, evidence, problems } = diagnosis;
  return {
    code,
    category,
    summary: summary.slice(0, 500),
    evidence: evidence.slice(0, 3).map(({ kind, text }) => ({ kind: kind.slice(0, 40), text: text.slice(0, 200) })),
    ...given({ hint: hint?.slice(0, 200) }),
    ...given({
      problems: problems
        ?.slice(0, 8)
        .map(({ path, message }) => ({ path: path.slice(0, 60), message: message.slice(0, 100) })),
    }),
  };
}

/** One more unclassified exception. */
export function faulted(state: Draft): Draft {
  return { ...state, faults: state.faults + 1 };
}

/** The step is repeated: since when what an ended pod has could not be read, and whether its event `resumed` has been published. */
export function toBeRepeated(
  state: Draft,
  known: {
    readonly unread?: { readonly since: number; readonly logGaps?: number | undefined } | undefined;
    readonly resumed: boolean;
  },
): Draft {
  const next = known.resumed ? without(state, 'resumedStep') : state;
  return { ...next, ...given({ unreadSince: known.unread?.since, logGaps: known.unread?.logGaps }) };
}

/** The message was requeued. */
export function requeued(state: Draft): Draft {
  return { ...state, naks: (state.naks ?? 0) + 1 };
}

/** The trigger subscription of a state; `undefined` where the run does not wait. `stateRev`: revision at which the state was stored. */
export function subscriptionOf(state: Draft, stateRev: number): Subscription | undefined {
  if (state.await === undefined || (state.phase !== 'Queued' && state.phase !== 'Deferred')) return undefined;
  const needsPod = state.phase === 'Deferred' || state.await.gone === true;
  return {
    v: WIRE_VERSION,
    queue: state.queue,
    attempt: state.attempt,
    step: state.step,
    stateRev,
    ...(needsPod && state.pod !== undefined ? { pod: podRef(state.pod) } : {}),
    await: state.await,
    then: state.phase === 'Queued' ? 'start' : 'resume',
  };
}

function podRef({
  connection,
  namespace,
  name,
  uid,
  ...rest
}: PodRef & { readonly node?: unknown }): NonNullable<RunState['pod']> {
  return { connection, namespace, name, uid, ...(typeof rest.node === 'string' ? { node: rest.node } : {}) };
}

/** `data` of a run's `completed` event. */
export function completedData(run: RunKey, state: Draft): CompletedData {
  const outcome: Outcome = state.outcome ?? { state: 'failed' };
  const pod = state.pod === undefined ? undefined : podRef(state.pod);
  const node = pod?.['node'];
  const timings: Record<string, string> = {};
  for (const [name, ms] of Object.entries(state.timings))
    if (typeof ms === 'number') timings[name] = new Date(ms).toISOString();
  return {
    tenant: run.tenant,
    runId: run.runId,
    attempt: state.attempt,
    ...given({ parentRunId: state.parentRunId }),
    ...outcome,
    ...(pod === undefined ? {} : { pod: { ...pod, ...(typeof node === 'string' ? { node } : {}) } }),
    timings,
  };
}

/** `data` of the other lifecycle events. */
export function lifecycleData(
  run: RunKey,
  state: Draft,
  now: number,
  more: {
    readonly why?: string;
    readonly diagnosis?: Diagnosis | undefined;
    readonly notBefore?: number | undefined;
  } = {},
): LifecycleData {
  const { notBefore, ...rest } = more;
  return {
    tenant: run.tenant,
    runId: run.runId,
    attempt: state.attempt,
    step: state.step,
    ...(state.pod === undefined ? {} : { pod: podRef(state.pod) }),
    at: new Date(now).toISOString(),
    ...given(rest),
    ...(notBefore === undefined ? {} : { notBefore: new Date(notBefore).toISOString() }),
  };
}
