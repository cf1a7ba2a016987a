/** How an attempt ends: its pod is stopped, another attempt follows, or the run is over. Each function returns the change to be stored. */
import { diagnosisOf } from '../../core/run/diagnosis.ts';
import { decideRetry } from '../../core/run/retry.ts';
import { ended, retrying, stoppingBegun } from '../../core/run/state-changes.ts';
import type { Stopping } from '../../core/run/state-changes.ts';
import type { PodRef } from '../../core/pod/projection.ts';
import type { StepFacts } from '../../operator/operator.ts';
import type { Outcome } from '../../wire/outcome.ts';
import type { RunState } from '../../wire/run-state.ts';
import type { BrokerParts, Engine } from './engine.ts';
import type { OperatorStep } from './operator-step.ts';
import type { OwnedChange, OwnedRun } from './store.ts';

/** A step that is being carried out. */
export interface Step extends OperatorStep {
  readonly parts: BrokerParts<'now'> & Pick<Engine, 'policy'>;
  readonly owned: OwnedRun;
}

/** What a step came to, as a change to be stored. `pod`: stopped where a cancel replaces the change; default: the state's pod. */
export interface StepChange extends OwnedChange {
  readonly kind: 'change';
  readonly pod?: PodRef | undefined;
}

/** Why a cancelled run is stopped. */
export function cancelOf(state: RunState): Stopping {
  return { state: 'cancelled', diagnosis: diagnosisOf('CANCELLED', { message: state.cancel?.reason }) };
}

/** The execution time-out, which spends one of the user's retries. */
export const EXECUTION_TIMED_OUT: Stopping = {
  state: 'failed',
  diagnosis: diagnosisOf('EXECUTION_TIMEOUT'),
  retry: true,
};

/**
 * Stops the attempt: the operator stores the tail of the log and deletes the pod, then the run waits until the pod is gone, without a worker.
 * A requested cancel overrules `why`.
 */
export async function stop(step: Step, pod: PodRef | undefined, why: Stopping): Promise<StepChange> {
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
export async function stopped(step: Step, why: Stopping, facts?: StepFacts): Promise<StepChange> {
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
export async function attemptOver(
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
export function end(
  { parts }: Pick<Step, 'parts'>,
  outcome: Outcome,
  facts: StepFacts | undefined,
  yieldsToCancel: boolean,
): StepChange {
  return {
    ...{ kind: 'change', on: 'end', pod: facts?.pod, yieldsToCancel },
    next: (state) => ended(state, outcome, parts.broker.now(), facts),
  };
}
