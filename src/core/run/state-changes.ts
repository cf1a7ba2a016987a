/** The next state of a run, as values: named constructors over the present one. The engine adds `op` and writes them by compare-and-set. */
import type { PodRef } from '../pod/projection.ts';
import type { CompletedData, LifecycleData } from '../../wire/events.ts';
import type { Diagnosis, FinalState, Outcome, Timings } from '../../wire/outcome.ts';
import type { RunRequest } from '../../wire/run-request.ts';
import type { Fence, Phase, RunState } from '../../wire/run-state.ts';
import type { Await, Gate, Subscription } from '../../wire/triggers.ts';
import type { RunKey } from '../../wire/subjects.ts';
import { WIRE_VERSION } from '../wire-version.ts';

/** A state before its operation id is made: `op` is still the one before. */
export type Draft = RunState;

/** What a step learnt; the operator's answer without its decision. */
export interface Learnt {
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

/** An accepted request: waits at once where it starts later or can expire. @see spec protocol §4 */
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

/** A request that cannot run: the run is over before it began. */
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
    ...(again ? state : without(state, 'naks')),
    phase,
    fence: { ...fence, epoch: state.fence.epoch + 1 },
  };
  // What a waiting run has of wait and pod belongs to the attempt before; what a starting one has, to the attempt that keeps its slot.
  return phase === 'Starting' && state.phase !== 'Starting' ? without(next, 'await', 'pod') : next;
}

/** First re-entry of an attempt that is not a log interval: once per attempt. */
export function resumed(state: Draft, now: number): Draft {
  return { ...state, timings: { ...state.timings, resumedAt: now } };
}

/** Someone asked for an end. */
export function cancelMarked(state: Draft, at: number, reason: string | undefined): Draft {
  return { ...state, cancel: { at, ...given({ reason }) } };
}

function learnt(state: Draft, facts: Learnt | undefined): Draft {
  if (facts === undefined) return state;
  const { pod, launchedAt, startedAt, finishedAt, timeoutAt, cursors, logGaps, memo } = facts;
  return {
    ...state,
    // The execution time-out is fixed when the pod is created and unchanged by re-deferral.
    ...(pod === undefined ? {} : { pod: podRef(pod) }),
    ...given({ timeoutAt: state.timeoutAt ?? timeoutAt, logGaps, memo }),
    ...(cursors === undefined ? {} : { cursors: { ...state.cursors, ...cursors } }),
    timings: { ...state.timings, ...given({ launchedAt, startedAt, finishedAt }) },
  };
}

/** What an operator waits for: its pod, or, without `pod`, a time. */
export interface Wait {
  readonly pod?: PodRef | undefined;
  readonly await: Await;
  readonly facts?: Learnt | undefined;
}

/** Wait for the pod (again) or for a time. Every wait has a step of its own, so that a late event of another wait is known as such. */
export function deferred(
  state: Draft,
  wait: Wait,
  limits: { readonly executionTimeoutSeconds?: number | undefined; readonly now: number },
): Draft {
  const known = learnt(state, wait.facts);
  const from = known.timings.launchedAt ?? limits.now;
  const seconds = limits.executionTimeoutSeconds;
  const timeoutAt = known.timeoutAt ?? (seconds === undefined ? undefined : Math.ceil(from + seconds * 1000));
  const pod = wait.pod === undefined || known.pod?.uid === wait.pod.uid ? known.pod : wait.pod;
  const launched = pod !== undefined && pod.uid !== state.pod?.uid;
  return {
    // A pod exists: the run cannot expire any more, and the last attempt's outcome is history.
    ...without(known, 'outcome', 'blocked', 'expireAt', 'stopping'),
    phase: 'Deferred',
    step: state.step + 1,
    ...(launched ? { launchStep: state.step + 1 } : {}),
    ...(pod === undefined ? {} : { pod: podRef(pod) }),
    await: { ...wait.await, ...given({ timeoutAt }) },
    ...given({ timeoutAt }),
    timings: { ...known.timings, ...(pod === undefined ? {} : { launchedAt: from }) },
  };
}

/** The pod is there and its run keeps the slot: the un-acked message goes on owning it, in the phase it is in. */
export function held(
  state: Draft,
  wait: Wait,
  limits: { readonly executionTimeoutSeconds?: number | undefined; readonly now: number },
): Draft {
  return { ...deferred(state, wait, limits), phase: state.phase, step: state.step };
}

/** Not possible now: the same attempt again at `notBefore`. */
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

/** Pause before a run whose gate was shut again is let go anew. */
const gateBackOffMs = (tries: number): number => Math.min(5_000, 25 * 2 ** Math.min(tries, 10));

/** Ready, but not its turn: the same attempt again when its gate opens. The message that found the gate shut owns the run until then. */
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
    // The attempt before has been told of; whatever made the run wait is over.
    ...without(state, 'outcome', 'blocked', 'naks'),
    step: state.step + 1,
    fence: { ...fence, epoch: state.fence.epoch + 1 },
    await: {
      gate: { why, since: timings.acceptedAt ?? 0, ...given({ priority, concurrencyKey, tries }) },
      // Whoever let it go saw the gates otherwise: let both views meet, and never in a hot loop.
      ...given({ expireAt, notBefore: tries === undefined ? undefined : now + gateBackOffMs(tries) }),
    },
  };
}

/** The pod was asked to go; the run ends (or goes on) when it is gone. */
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
/** Why a pod is being stopped, and what the run says when it is gone. */
export type Stopping = NonNullable<RunState['stopping']>;

/** Another attempt. The old pod stays in state until the new one is known. */
export function retrying(
  state: Draft,
  outcome: Outcome,
  facts: Learnt | undefined,
  again: {
    readonly userFailures: number;
    readonly infraFailures: number;
    readonly notBefore: number;
    readonly untilGone: boolean;
  },
): Draft {
  const known = without(learnt(state, facts), 'stopping', 'timeoutAt', 'cursors', 'logGaps', 'memo', 'expireAt');
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
export function ended(state: Draft, outcome: Outcome, now: number, facts?: Learnt): Draft {
  const known = without(learnt(state, facts), 'await', 'blocked', 'stopping', 'memo', 'expireAt', 'timeoutAt');
  return {
    ...known,
    phase: PHASE_OF[outcome.state],
    outcome: bounded(outcome),
    timings: { ...known.timings, completedAt: now },
  };
}

/** The end of a run that waits, with no pod of its present attempt: what it has of one is the attempt's before, which was told of and dealt with. */
export function unlaunched(state: Draft, outcome: Outcome, now: number): Draft {
  return ended(without(state, 'pod', 'launchStep'), outcome, now);
}

/** States stay under 8 KiB: what is said beside code and summary gives way. @see spec protocol §2 */
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

/** One more exception nobody could classify. */
export function faulted(state: Draft): Draft {
  return { ...state, faults: state.faults + 1 };
}

/** The message was put back on purpose. */
export function putBack(state: Draft): Draft {
  return { ...state, naks: (state.naks ?? 0) + 1 };
}

/** The wait of a state as the triggerer sees it; `undefined` where the run does not wait. `stateRev`: revision the state was written at. */
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

const iso = (ms: number): string => new Date(ms).toISOString();

/** `data` of a run's `completed` event. */
export function completedData(run: RunKey, state: Draft): CompletedData {
  const outcome: Outcome = state.outcome ?? { state: 'failed' };
  const pod = state.pod === undefined ? undefined : podRef(state.pod);
  const node = pod?.['node'];
  return {
    tenant: run.tenant,
    runId: run.runId,
    attempt: state.attempt,
    ...given({ parentRunId: state.parentRunId }),
    ...outcome,
    ...(pod === undefined ? {} : { pod: { ...pod, ...(typeof node === 'string' ? { node } : {}) } }),
    timings: isoTimings(state.timings),
  };
}

function isoTimings(timings: Timings): Record<string, string> {
  const texts: Record<string, string> = {};
  for (const [name, ms] of Object.entries(timings)) if (typeof ms === 'number') texts[name] = iso(ms);
  return texts;
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
    at: iso(now),
    ...given(rest),
    ...(notBefore === undefined ? {} : { notBefore: iso(notBefore) }),
  };
}
