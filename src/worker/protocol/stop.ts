import { decideRetry } from '../../core/run/retry.ts';
import type { Stopping } from '../../core/run/state-changes.ts';
import { ended, retrying, stoppingBegun } from '../../core/run/state-changes.ts';
import { diagnosisOf } from '../../core/run/diagnosis.ts';
import type { PodRef } from '../../core/pod/projection.ts';
import type { StepFacts } from '../../operator/operator.ts';
import type { Outcome } from '../../wire/outcome.ts';
import type { RunState } from '../../wire/run-state.ts';
import type { OperatorStep } from './operator-step.ts';
import type { Engine } from './engine.ts';
import type { Holding } from './store.ts';
import type { Origin } from './announce.ts';
import { owe } from './announce.ts';
import { runSpan, SPANS } from './tracing.ts';
import type { RunKey } from '../../wire/subjects.ts';

/** One step being carried out. */
export interface Step extends OperatorStep {
  readonly engine: Engine;
  readonly holding: Holding;
  readonly origin: Origin;
}

/** Why a cancelled run is stopped. */
export function cancelOf(state: RunState): Stopping {
  return { state: 'cancelled', diagnosis: diagnosisOf('CANCELLED', { message: state.cancel?.reason }) };
}

/** The execution time-out: it spends a retry. */
export function executionTimedOut(): Stopping {
  return { state: 'failed', diagnosis: diagnosisOf('EXECUTION_TIMEOUT'), retry: true };
}

/**
 * Stops the attempt: tail of the log and DELETE by the operator, then the run waits for the pod to be gone, without a slot.
 * A cancel overrules every other reason. @see spec protocol §6
 */
export async function stop(step: Step, pod: PodRef | undefined, why: Stopping): Promise<void> {
  const { engine, holding, operator, context, origin } = step;
  // An owner may have died between the create and the write that names the pod.
  const found = pod ?? holding.state.pod ?? (await operator.find?.(context));
  const reason = () => (holding.state.cancel === undefined ? why : cancelOf(holding.state));
  if (found === undefined || (await operator.stop(context, found)) === 'gone') {
    return conclude(step, reason(), found === undefined ? undefined : { pod: found });
  }
  const next = (state: RunState) => stoppingBegun(state, found, reason());
  // Told of a cancel meanwhile: the pod is on its way out already, only the reason changes.
  if ((await holding.write(next)) === 'cancelled') await holding.write(next);
  await owe(engine, holding.run, holding.seen, origin);
}

/** The stopped pod is gone: the run ends, or goes on with another attempt where stopping was a failure that may be repeated. */
export async function conclude(step: Step, why: Stopping, facts?: StepFacts): Promise<void> {
  const { state, diagnosis, exitCode, retry } = why;
  const outcome: Outcome = {
    state,
    ...(diagnosis === undefined ? {} : { diagnosis }),
    ...(exitCode === undefined ? {} : { exitCode }),
  };
  if (retry === true && step.holding.state.cancel === undefined) return over(step, outcome, facts, false);
  await end(step, outcome, facts);
}

/** An attempt is over: another one by policy, or the end. `podGoing`: its pod is still there and has not ended. */
export async function over(
  step: Step,
  outcome: Outcome,
  facts: StepFacts | undefined,
  podGoing: boolean,
): Promise<void> {
  const { engine, holding, context, origin } = step;
  // An operator that was told of the cancel before it created anything says `cancelled`; only the pod's absence makes it so.
  const tooLate = outcome.state === 'succeeded' || outcome.state === 'skipped';
  if (holding.state.cancel !== undefined && !tooLate) return stop(step, facts?.pod, cancelOf(holding.state));
  if (outcome.state !== 'failed') return end(step, outcome, facts);
  const decision = decideRetry(holding.state, context.request, outcome.diagnosis, engine.broker.now(), engine.policy);
  if (decision.kind === 'end') return end(step, outcome, facts);
  const pod = facts?.pod ?? holding.state.pod;
  // With a fixed name, the next pod cannot exist beside the old one.
  const sameName = context.request.params['randomNameSuffix'] === false;
  const untilGone = podGoing && pod !== undefined ? (await step.operator.stop(context, pod)) === 'stopping' : sameName;
  const written = await holding.write((state) => retrying(state, outcome, facts, { ...decision, untilGone }));
  if (written === 'cancelled') return stop(step, pod, cancelOf(holding.state));
  engine.meter.count('runs_retried_total', {
    queue: holding.state.queue,
    category: outcome.diagnosis?.category ?? 'user',
  });
  await owe(engine, holding.run, holding.seen, origin);
}

/** The end of the run. A cancel that came while it succeeded comes too late; one that came while it failed does not. */
export async function end(step: Step, outcome: Outcome, facts?: StepFacts): Promise<void> {
  const { engine, holding, origin } = step;
  const next = (state: RunState) => ended(state, outcome, engine.broker.now(), facts);
  if ((await holding.write(next)) === 'cancelled') {
    if (outcome.state === 'failed') return stop(step, facts?.pod, cancelOf(holding.state));
    await holding.write(next);
  }
  await owe(engine, holding.run, holding.seen, origin);
  countEnd(engine, holding.run, holding.state);
}

/** One more run over. */
export function countEnd(engine: Engine, run: RunKey, state: RunState): void {
  const { timings, outcome } = state;
  const span = runSpan(engine.tracer, SPANS.complete, run, state, timings.resumedAt ?? timings.completedAt);
  const code = outcome?.diagnosis?.code;
  span.end({
    attributes: {
      'reentry.state': outcome?.state ?? 'failed',
      ...(code === undefined ? {} : { 'reentry.code': code }),
    },
    ...(outcome?.state === 'failed' ? { error: outcome.diagnosis?.summary ?? 'failed' } : {}),
  });
  engine.meter.count('runs_completed_total', { queue: state.queue, state: state.outcome?.state ?? 'failed' });
}
