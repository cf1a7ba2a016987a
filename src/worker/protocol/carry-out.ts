/**
 * Carries one step of an owned run out and returns what it came to, as a value: a change to be stored, or that the message comes again. Writes
 * nothing itself, except for blocking runs, whose step goes on while their state changes, and for what a repeated step has to know.
 */
import { podFacts } from '../../core/pod/projection.ts';
import type { PodRef } from '../../core/pod/projection.ts';
import { diagnosisOf } from '../../core/run/diagnosis.ts';
import { decideRetry } from '../../core/run/retry.ts';
import {
  blocking,
  deferred,
  ended,
  lifecycleData,
  postponed,
  retrying,
  stoppingBegun,
  toBeRepeated,
} from '../../core/run/state-changes.ts';
import type { Stopping } from '../../core/run/state-changes.ts';
import { ReentryError, UnreadError } from '../../errors.ts';
import type { Outcome } from '../../wire/outcome.ts';
import type { StepFacts, StepOutcome } from '../../operator/operator.ts';
import type { RunState } from '../../wire/run-state.ts';
import type { TriggerEvent } from '../../wire/triggers.ts';
import type { BrokerParts, Engine } from './engine.ts';
import type { OperatorParts, OperatorStep } from './operator-step.ts';
import type { Requeue } from './settle.ts';
import type { OwnedChange, OwnedRun } from './store.ts';

/** What carrying a step out takes. */
export type CarryOutParts = BrokerParts<'publish'> & OperatorParts & Pick<Engine, 'policy' | 'blocking'>;

/** A step to be carried out. `isFresh`: no message has carried it out before, so no pod of it exists. `first`: the attempt was not resumed before. `pod`: what a cancel stops; default: the state's pod. */
export type StepWork =
  | { readonly on: 'start'; readonly isFresh: boolean }
  | { readonly on: 'resume'; readonly event: TriggerEvent; readonly first: boolean }
  | { readonly on: 'cancel'; readonly pod?: PodRef | undefined };

/** A step that is being carried out. */
export interface Step extends OperatorStep {
  readonly parts: CarryOutParts;
  readonly owned: OwnedRun;
}

/** A change to be stored. `pod`: stopped where a cancel replaces the change; default: the state's pod. */
export interface StepChange extends OwnedChange {
  readonly kind: 'change';
  readonly pod?: PodRef | undefined;
}

/** What a step came to. */
export type StepResult = StepChange | Requeue;

/** Carries a step out. */
export function carryOut(step: Step, work: StepWork): Promise<StepResult> {
  switch (work.on) {
    case 'start':
      return repeatable(step, start(step, work.isFresh));
    case 'resume':
      return resume(step, work.event, work.first);
    case 'cancel':
      return repeatable(step, stop(step, work.pod, cancelOf(step.owned.state)));
  }
}

/**
 * Work that, where it is to be repeated, first stores what the next try has to know: since when the ended pod could not be read, and, with `resumed`, that
 * the event `resumed` has been published.
 */
async function repeatable({ owned }: Step, work: Promise<StepResult>, resumed = false): Promise<StepResult> {
  const store = async (unread?: UnreadError): Promise<void> => {
    const { unreadSince, logGaps, resumedStep } = owned.state;
    const isNews = unread !== undefined && (unread.since !== unreadSince || unread.logGaps !== logGaps);
    const next = (state: RunState) => toBeRepeated(state, { unread, resumed });
    if (isNews || (resumed && resumedStep !== undefined))
      await owned.write({ on: 'requeue', next, yieldsToCancel: false });
  };
  try {
    const result = await work;
    if (result.kind === 'requeue') await store();
    return result;
  } catch (error) {
    if (error instanceof ReentryError && error.transient) await store(error instanceof UnreadError ? error : undefined);
    throw error;
  }
}

/** Creates or adopts the attempt's pod. */
async function start(step: Step, isFresh: boolean): Promise<StepResult> {
  const { owned, operator, context, parts } = step;
  const { cancel, expireAt } = owned.state;
  if (cancel !== undefined) return stop(step, undefined, cancelOf(owned.state));
  const isExpired = expireAt !== undefined && expireAt <= parts.broker.now();
  // A run whose pod exists cannot expire: a worker may have died, or lost the reply, after creating it.
  if (isExpired && (await operator.find?.(context)) === undefined)
    return end(step, { state: 'failed', diagnosis: diagnosisOf('EXPIRED') }, undefined, true);
  return outcomeOf(step, await operator.execute({ ...context, isFresh }), undefined);
}

/** Re-enters the operator with the trigger event, or goes on with a stop. */
async function resume(step: Step, event: TriggerEvent, first: boolean): Promise<StepResult> {
  const { owned, parts } = step;
  const { state, run } = owned;
  if (state.stopping !== undefined || state.cancel !== undefined) {
    const why = state.cancel === undefined && state.stopping !== undefined ? state.stopping : cancelOf(state);
    return event.kind === 'gone'
      ? stopped(step, why, factsOf(event, state))
      : repeatable(step, stop(step, undefined, why));
  }
  if (isExecutionTimeout(event)) return repeatable(step, stop(step, undefined, EXECUTION_TIMED_OUT));
  if (first && event.kind !== 'running')
    await parts.broker.publish.event(run, 'resumed', state.step, lifecycleData(run, state, parts.broker.now()));
  return repeatable(step, reentered(step, event), event.kind !== 'running');
}

async function reentered(step: Step, event: TriggerEvent): Promise<StepResult> {
  return outcomeOf(step, await step.operator.triggerReentry(step.context, event), event);
}

const isExecutionTimeout = ({ kind, reason }: TriggerEvent): boolean =>
  kind === 'timeout' && reason === 'EXECUTION_TIMEOUT';

/** When a stopped pod began and ended, as it was last seen. */
function factsOf({ pod }: TriggerEvent, { pod: stopping }: RunState): StepFacts | undefined {
  return pod === undefined || pod.uid !== stopping?.uid ? undefined : podFacts(pod);
}

/** What follows from the operator's outcome. `event`: what it was re-entered with; `undefined` for a start. */
async function outcomeOf(step: Step, outcome: StepOutcome, event: TriggerEvent | undefined): Promise<StepResult> {
  const { parts, owned, context, operator } = step;
  const { now } = parts.broker;
  switch (outcome.kind) {
    case 'defer': {
      const { pod } = outcome;
      if (pod !== undefined && operator.isBlocking?.(context.params, context.request) === true)
        return block(step, { ...outcome, pod });
      const { executionTimeoutSeconds } = context.request;
      return {
        ...{ kind: 'change', on: 'defer', pod, yieldsToCancel: true },
        next: (state) => deferred(state, outcome, { executionTimeoutSeconds, now: now() }),
      };
    }
    case 'later': {
      const { notBefore, why, memo, infrastructure } = outcome;
      // A re-entry goes on where it was; only a start is made anew.
      if (event !== undefined) return { kind: 'requeue', delayMs: Math.max(0, notBefore - now()), why: why.summary };
      const infraFailures = owned.state.infraFailures + (infrastructure ? 1 : 0);
      if (infraFailures > parts.policy.infrastructureCap)
        return end(step, { state: 'failed', diagnosis: why }, undefined, true);
      return {
        ...{ kind: 'change', on: 'postpone', yieldsToCancel: true },
        next: (state) => postponed(state, notBefore, infraFailures, why, memo),
      };
    }
    case 'over': {
      const phase = event?.pod?.phase;
      // An exit code means that the base container has ended; sidecars may still run and are left to the clean-up.
      const { exitCode } = outcome.outcome;
      const hasEnded = event?.kind === 'gone' || phase === 'Succeeded' || phase === 'Failed' || exitCode !== undefined;
      const podGoing = (outcome.facts?.pod ?? owned.state.pod) !== undefined && !hasEnded;
      return attemptOver(step, outcome.outcome, outcome.facts, podGoing);
    }
  }
}

type PodWait = Extract<StepOutcome, { readonly kind: 'defer' }> & { readonly pod: PodRef };

/** A blocking run (`deferrable: false`): this worker waits for the pod's events itself and keeps the message, which occupies its slot. */
async function block(step: Step, outcome: PodWait): Promise<StepResult> {
  const { parts, owned, operator } = step;
  const { publish, now } = parts.broker;
  const { executionTimeoutSeconds } = step.context.request;
  for (let wait = outcome, first = true; ; first = false) {
    const { pod } = wait;
    const written = await owned.write({
      ...{ on: 'block', yieldsToCancel: true },
      next: (state) => blocking(state, wait, { executionTimeoutSeconds, now: now() }),
    });
    if (written === 'cancelled') return stop(step, pod, cancelOf(owned.state));
    const { state, run } = owned;
    if (first) await publish.event(run, 'launched', state.step, lifecycleData(run, state, now()));
    const context = { ...step.context, state };
    const next = await parts.blocking.next(context, pod, state.await ?? wait.await);
    if (next.kind === 'stopped') return { kind: 'requeue', delayMs: 0, why: 'this worker stops' };
    if (next.kind === 'cancelled') return stop(step, pod, cancelOf(owned.state));
    const { event } = next;
    if (isExecutionTimeout(event)) return stop(step, pod, EXECUTION_TIMED_OUT);
    const again = await operator.triggerReentry(context, event);
    if (again.kind !== 'defer' || again.pod === undefined) return outcomeOf(step, again, event);
    wait = { ...again, pod: again.pod };
  }
}

/** Why a cancelled run is stopped. */
export function cancelOf(state: RunState): Stopping {
  return { state: 'cancelled', diagnosis: diagnosisOf('CANCELLED', { message: state.cancel?.reason }) };
}

/** The execution time-out, which spends one of the user's retries. */
const EXECUTION_TIMED_OUT: Stopping = {
  state: 'failed',
  diagnosis: diagnosisOf('EXECUTION_TIMEOUT'),
  retry: true,
};

/**
 * Stops the attempt: the operator stores the tail of the log and deletes the pod, then the run waits until the pod is gone, without a worker.
 * A requested cancel overrules `why`.
 */
async function stop(step: Step, pod: PodRef | undefined, why: Stopping): Promise<StepChange> {
  const { owned, operator, context } = step;
  // A worker may have died between creating the pod and storing its name.
  const found = pod ?? owned.state.pod ?? (await operator.find?.(context));
  const reason = (state: RunState) => (state.cancel === undefined ? why : cancelOf(state));
  if (found === undefined || (await operator.stop(context, found)) === 'gone')
    return stopped(step, reason(owned.state), found === undefined ? undefined : { pod: found });
  return {
    ...{ kind: 'change', on: 'stop', pod: found, yieldsToCancel: false },
    next: (state) => stoppingBegun(state, found, reason(state)),
  };
}

/** The stopped pod is gone: the run ends, or is repeated where it was stopped for a failure that may be. */
async function stopped(step: Step, why: Stopping, facts?: StepFacts): Promise<StepChange> {
  const { state, diagnosis, exitCode, retry } = why;
  const outcome: Outcome = {
    state,
    ...(diagnosis === undefined ? {} : { diagnosis }),
    ...(exitCode === undefined ? {} : { exitCode }),
  };
  if (retry === true && step.owned.state.cancel === undefined) return attemptOver(step, outcome, facts, false);
  // `cancelled` is true now: the pod is gone.
  return end(step, outcome, facts, state === 'failed');
}

/** The attempt is over: another one by policy, or the end. `podGoing`: its pod exists and has not ended. */
async function attemptOver(
  step: Step,
  outcome: Outcome,
  facts: StepFacts | undefined,
  podGoing: boolean,
): Promise<StepChange> {
  const { owned, context, operator, parts } = step;
  // A cancel comes too late for a success. An operator that saw the cancel reports `cancelled`: it becomes true when the pod is gone.
  const yieldsToCancel = outcome.state !== 'succeeded' && outcome.state !== 'skipped';
  if (outcome.state !== 'failed') return end(step, outcome, facts, yieldsToCancel);
  const decision = decideRetry(owned.state, context.request, outcome.diagnosis, parts.broker.now(), parts.policy);
  if (decision.kind === 'end') return end(step, outcome, facts, yieldsToCancel);
  const pod = facts?.pod ?? owned.state.pod;
  // A pod with a fixed name cannot exist beside its predecessor.
  const hasFixedName = context.request.params['randomNameSuffix'] === false;
  const untilGone = podGoing && pod !== undefined ? (await operator.stop(context, pod)) === 'stopping' : hasFixedName;
  return {
    ...{ kind: 'change', on: 'retry', pod, yieldsToCancel },
    next: (state) => retrying(state, outcome, facts, { ...decision, untilGone }),
  };
}

/** The end of the run. */
function end({ parts }: Step, outcome: Outcome, facts: StepFacts | undefined, yieldsToCancel: boolean): StepChange {
  return {
    ...{ kind: 'change', on: 'end', pod: facts?.pod, yieldsToCancel },
    next: (state) => ended(state, outcome, parts.broker.now(), facts),
  };
}
