/** What a stored state owes the world, in the order of protocol §4–§6. Every part is idempotent: a redelivery repeats them all. */
import { completedData, lifecycleData, subscriptionOf } from '../../core/run/state-changes.ts';
import { isTerminal } from '../../core/run/transitions.ts';
import { ReentryError } from '../../errors.ts';
import type { Versioned } from '../../ports/stores.ts';
import type { RunState } from '../../wire/run-state.ts';
import { WIRE_VERSION } from '../../core/wire-version.ts';
import { keys } from '../../wire/subjects.ts';
import type { RunKey } from '../../wire/subjects.ts';
import { releaseSlot } from './gates.ts';
import { operatorStep } from './operator-step.ts';
import type { Engine } from './engine.ts';

/** How the state came to be, as far as its events depend on it. */
export type Origin = 'request' | 'start' | 'resume' | 'cancel';

/** Does what the state of the owning message owes: events, clean-up, subscription or the next message. */
export async function owe(engine: Engine, run: RunKey, seen: Versioned<RunState>, origin: Origin): Promise<void> {
  const { value: state } = seen;
  if (isTerminal(state.phase)) return oweEnd(engine, run, state, origin);
  if (state.phase === 'Queued') return oweQueued(engine, run, seen);
  if (state.phase !== 'Deferred') return;
  if (state.stopping === undefined) {
    const data = lifecycleData(run, state, engine.broker.now());
    if (state.launchStep === state.step) await engine.broker.publish.event(run, 'launched', state.step, data);
    if (origin === 'start') await engine.broker.publish.event(run, 'deferred', state.step, data);
  }
  await subscribeTo(engine, run, seen);
}

async function oweQueued(engine: Engine, run: RunKey, seen: Versioned<RunState>): Promise<void> {
  const { publish } = engine.broker;
  const { value: state, revision } = seen;
  const { now } = engine.broker;
  if (state.step === 0) await publish.event(run, 'accepted', 0, lifecycleData(run, state, now()));
  else if (state.outcome !== undefined) {
    const { diagnosis } = state.outcome;
    const why = diagnosis?.summary ?? 'the attempt failed';
    const more = { why, diagnosis, notBefore: state.await?.notBefore };
    await publish.event(run, 'retrying', state.step, lifecycleData(run, state, now(), more));
    await cleanUpBefore(engine, run, state);
  }
  if (state.await !== undefined) return subscribeTo(engine, run, seen);
  const message = { v: WIRE_VERSION, attempt: state.attempt, stateRev: revision };
  await publish.start(run, state.queue, message, `start:${keys.run(run)}:${state.attempt}:${state.step}`);
}

async function oweEnd(engine: Engine, run: RunKey, state: RunState, origin: Origin): Promise<void> {
  const { broker } = engine;
  // A run that ends before anything else was said of it was accepted all the same, and never after its end.
  if (state.step === 0 && state.requestHash !== '' && !(await saidAccepted(engine, run, origin)))
    await broker.publish.event(run, 'accepted', 0, lifecycleData(run, state, broker.now()));
  await broker.publish.event(run, 'completed', state.step, completedData(run, state));
  await cleanUp(engine, run, state);
  await releaseSlot(engine, run, state);
  await broker.subscriptions.delete(run);
}

/**
 * Whether `accepted` was said, where the run's end can know: its intake says it before it publishes the start or puts a wait. A second one is not
 * stored, but whoever listens without a stream hears it again.
 */
async function saidAccepted({ broker }: Engine, run: RunKey, origin: Origin): Promise<boolean> {
  switch (origin) {
    case 'start':
    case 'resume':
      return true;
    case 'cancel':
      return (await broker.subscriptions.read(run)) !== undefined;
    case 'request':
      return false;
  }
}

/** The pod by policy. What no second try can cure is said and left to the search for orphans. */
export async function cleanUp(engine: Engine, run: RunKey, state: RunState): Promise<void> {
  const { pod, outcome } = state;
  if (pod === undefined || outcome === undefined) return;
  try {
    const { operator, context } = await operatorStep(engine, run, state, undefined);
    await operator.cleanUp(context, outcome, pod);
  } catch (error) {
    if (error instanceof ReentryError && error.transient) throw error;
    engine.log.error({ ...run, pod: pod.name, error: String(error) }, 'clean-up failed');
  }
}

/** The pod of the attempt before, which a run that waits for its next attempt still names. */
export async function cleanUpBefore(engine: Engine, run: RunKey, state: RunState): Promise<void> {
  await cleanUp(engine, run, { ...state, attempt: state.attempt - 1 });
}

/** Puts the subscription of a waiting state, unless a later one is there. */
export async function subscribeTo(engine: Engine, run: RunKey, seen: Versioned<RunState>): Promise<void> {
  const { subscriptions } = engine.broker;
  const wanted = subscriptionOf(seen.value, seen.revision);
  if (wanted === undefined) return;
  // A run's first wait has nothing to replace; should there be something all the same, the write says so.
  let present = seen.value.step <= 1 ? undefined : await subscriptions.read(run);
  for (;;) {
    // Revisions only grow: what was put for a later state is not ours to replace, and the same state's is already there.
    if (present !== undefined && present.value.stateRev >= wanted.stateRev) return;
    const outcome = await subscriptions.put(run, wanted, present?.revision ?? 0);
    if (outcome.kind === 'written') return;
    present = outcome.current ?? (await subscriptions.read(run));
    if (present === undefined) {
      // Deleted between the two: the run may be over.
      const now = await engine.broker.runs.read(run, { leader: true });
      if (now?.revision !== seen.revision) return;
    }
  }
}
