import { diagnosisOf } from '../../core/run/diagnosis.ts';
import type { PodRef } from '../../core/pod/projection.ts';
import { deferred, held, lifecycleData, postponed } from '../../core/run/state-changes.ts';
import type { Stopping } from '../../core/run/state-changes.ts';
import { KubernetesError, ReentryError } from '../../errors.ts';
import { podFacts } from '../../core/pod/projection.ts';
import type { StepFacts, StepOutcome } from '../../operator/operator.ts';
import type { RunState } from '../../wire/run-state.ts';
import type { TriggerEvent } from '../../wire/triggers.ts';
import { operatorStep } from './operator-step.ts';
import type { Engine, Settled } from './engine.ts';
import { ACK } from './engine.ts';
import type { Holding } from './store.ts';
import { owe } from './announce.ts';
import type { Step } from './stop.ts';
import { cancelOf, conclude, end, executionTimedOut, over, stop } from './stop.ts';

/** Lane `start`, owned: the attempt's pod is made or adopted, then the run waits for it. */
export async function carryOutStart(engine: Engine, holding: Holding): Promise<Settled> {
  const step = await begin(engine, holding, 'start');
  const { state } = holding;
  if (state.cancel !== undefined) await stop(step, undefined, cancelOf(state));
  else if (
    state.expireAt !== undefined &&
    state.expireAt <= engine.broker.now() &&
    // An owner may have died, or lost its reply, after the create: a run whose pod exists cannot expire.
    (await step.operator.find?.(step.context)) === undefined
  )
    await end(step, { state: 'failed', diagnosis: diagnosisOf('EXPIRED') });
  else return settle(step, await step.operator.execute(step.context), undefined);
  return ACK;
}

/** Lane `resume`, owned: the operator's re-entry, or the next part of a stop. `first`: this attempt was not resumed before. */
export async function carryOutResume(
  engine: Engine,
  holding: Holding,
  event: TriggerEvent,
  first: boolean,
): Promise<Settled> {
  const step = await begin(engine, holding, 'resume');
  const { state } = holding;
  if (state.stopping !== undefined || state.cancel !== undefined) {
    const why = state.cancel === undefined && state.stopping !== undefined ? state.stopping : cancelOf(state);
    if (event.kind === 'gone') await conclude(step, why, factsOf(event, state));
    else await stop(step, undefined, why);
    return ACK;
  }
  if (event.kind === 'timeout' && event.reason === 'EXECUTION_TIMEOUT') {
    await stop(step, undefined, executionTimedOut());
    return ACK;
  }
  if (first && event.kind !== 'running') {
    const data = lifecycleData(holding.run, state, engine.broker.now());
    await engine.broker.publish.event(holding.run, 'resumed', state.step, data);
  }
  return settle(step, await step.operator.triggerReentry(step.context, event), event);
}

/** When a stopped pod began and ended, as it was last seen. */
function factsOf({ pod }: TriggerEvent, { pod: stopped }: RunState): StepFacts | undefined {
  return pod === undefined || pod.uid !== stopped?.uid ? undefined : podFacts(pod);
}

/** Lane `ctl`, owned: a cancel stops the pod. */
export async function carryOutCancel(engine: Engine, holding: Holding): Promise<Settled> {
  await stop(await begin(engine, holding, 'cancel'), undefined, cancelOf(holding.state));
  return ACK;
}

async function begin(engine: Engine, holding: Holding, origin: Step['origin']): Promise<Step> {
  return { engine, holding, origin, ...(await operatorStep(engine, holding.run, holding.state, holding)) };
}

/** Turns what the operator came to into state, events and subscription. */
async function settle(step: Step, outcome: StepOutcome, event: TriggerEvent | undefined): Promise<Settled> {
  const { engine, holding, context, operator, origin } = step;
  switch (outcome.kind) {
    case 'defer': {
      const { pod } = outcome;
      if (pod !== undefined && operator.isBlocking?.(context.params, context.request) === true)
        return keepSlot(step, { ...outcome, pod });
      const { executionTimeoutSeconds } = context.request;
      const written = await holding.write((state) =>
        deferred(state, outcome, { executionTimeoutSeconds, now: engine.broker.now() }),
      );
      if (written === 'cancelled') await stop(step, outcome.pod, cancelOf(holding.state));
      else await owe(engine, holding.run, holding.seen, origin);
      return ACK;
    }
    case 'later': {
      const delayMs = Math.max(0, outcome.notBefore - engine.broker.now());
      // A re-entry is not begun anew: its message waits with what it owns.
      if (origin !== 'start' || event !== undefined) throw new PutBack(outcome.why.summary, delayMs);
      const infraFailures = holding.state.infraFailures + (outcome.infrastructure ? 1 : 0);
      if (infraFailures > engine.policy.infrastructureCap) await end(step, { state: 'failed', diagnosis: outcome.why });
      else if (
        (await holding.write((state) =>
          postponed(state, outcome.notBefore, infraFailures, outcome.why, outcome.memo),
        )) === 'cancelled'
      )
        await stop(step, undefined, cancelOf(holding.state));
      else await owe(engine, holding.run, holding.seen, origin);
      return ACK;
    }
    case 'over': {
      const phase = event?.pod?.phase;
      // An exit code is the base container's end: what lingers beside it goes or stays by policy, at the clean-up.
      const { exitCode } = outcome.outcome;
      const ended = event?.kind === 'gone' || phase === 'Succeeded' || phase === 'Failed' || exitCode !== undefined;
      const podGoing = (outcome.facts?.pod ?? holding.state.pod) !== undefined && !ended;
      await over(step, outcome.outcome, outcome.facts, podGoing);
      return ACK;
    }
  }
}

type PodWait = Extract<StepOutcome, { readonly kind: 'defer' }> & { readonly pod: PodRef };

/** The run keeps its message and slot: what a triggerer would say, this worker hears itself. @see spec protocol §8 */
async function keepSlot(step: Step, outcome: PodWait): Promise<Settled> {
  const { engine, holding, operator } = step;
  const { executionTimeoutSeconds } = step.context.request;
  let waiting = outcome;
  for (let first = true; ; first = false) {
    const next = waiting;
    const written = await holding.write((state) =>
      held(state, next, { executionTimeoutSeconds, now: engine.broker.now() }),
    );
    if (written === 'cancelled') return stopped(step, next.pod, cancelOf(holding.state));
    if (first) {
      const data = lifecycleData(holding.run, holding.state, engine.broker.now());
      await engine.broker.publish.event(holding.run, 'launched', holding.state.step, data);
    }
    const context = { ...step.context, state: holding.state };
    const heard = await engine.held.next(context, next.pod, holding.state.await ?? next.await);
    if (heard.kind === 'stopped') throw new PutBack('this worker stops; a sibling goes on', 0);
    if (heard.kind === 'cancelled') return stopped(step, next.pod, cancelOf(holding.state));
    const { event } = heard;
    if (event.kind === 'timeout' && event.reason === 'EXECUTION_TIMEOUT')
      return stopped(step, next.pod, executionTimedOut());
    const again = await operator.triggerReentry(context, event);
    if (again.kind !== 'defer' || again.pod === undefined) return settle(step, again, event);
    waiting = { ...again, pod: again.pod };
  }
}

async function stopped(step: Step, pod: PodRef, why: Stopping): Promise<Settled> {
  await stop(step, pod, why);
  return ACK;
}

/** Puts the message back for `delayMs`: not possible now. */
export class PutBack extends ReentryError {
  readonly delayMs: number;

  constructor(message: string, delayMs: number) {
    super('UNREACHABLE', message, { transient: true });
    this.delayMs = delayMs;
  }
}

/** What the other side asked us to wait, or what `PutBack` says. */
export function askedDelayMs(error: unknown): number | undefined {
  if (error instanceof PutBack) return error.delayMs;
  return error instanceof KubernetesError ? error.retryAfterMs : undefined;
}
