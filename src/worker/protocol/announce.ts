/**
 * Side effects implied by a stored run state: events, clean-up, subscription or start message, in the order given here. Each part is idempotent, so
 * that a redelivery can repeat them all. @see src/wire/README.md, "Order of writes"
 */
import { completedData, lifecycleData, subscriptionOf } from '../../core/run/state-changes.ts';
import { isTerminal } from '../../core/run/transitions.ts';
import { ReentryError } from '../../errors.ts';
import type { Versioned } from '../../ports/stores.ts';
import { WIRE_VERSION } from '../../core/wire-version.ts';
import type { RunState } from '../../wire/run-state.ts';
import { keys } from '../../wire/subjects.ts';
import type { RunKey } from '../../wire/subjects.ts';
import type { BrokerParts } from './engine.ts';
import { releaseConcurrencySlot } from './gates.ts';
import { operatorStep } from './operator-step.ts';
import type { OperatorParts } from './operator-step.ts';

/** What announcing takes. */
export type AnnounceParts = BrokerParts<'publish' | 'subscriptions' | 'runs' | 'gates'> & OperatorParts;

/** The kind of message that made a state, as far as its events depend on it. */
export type Origin = 'request' | 'start' | 'resume' | 'cancel';

/** Publishes what a stored state implies. Safe to repeat. */
export async function announce(
  parts: AnnounceParts,
  run: RunKey,
  seen: Versioned<RunState>,
  origin: Origin,
): Promise<void> {
  const { value: state } = seen;
  if (isTerminal(state.phase)) return announceEnd(parts, run, state, origin);
  if (state.phase === 'Queued') return announceQueued(parts, run, seen);
  if (state.phase !== 'Deferred') return;
  if (state.stopping === undefined) {
    const { publish } = parts.broker;
    const data = lifecycleData(run, state, parts.broker.now());
    if (state.launchStep === state.step) await publish.event(run, 'launched', state.step, data);
    if (origin === 'start') await publish.event(run, 'deferred', state.step, data);
  }
  await subscribe(parts, run, seen);
}

async function announceQueued(parts: AnnounceParts, run: RunKey, seen: Versioned<RunState>): Promise<void> {
  const { publish } = parts.broker;
  const { value: state, revision } = seen;
  const { now } = parts.broker;
  if (state.step === 0) await publish.event(run, 'accepted', 0, lifecycleData(run, state, now()));
  else if (state.outcome !== undefined) {
    const { diagnosis } = state.outcome;
    const why = diagnosis?.summary ?? 'the attempt failed';
    const more = { why, diagnosis, notBefore: state.await?.notBefore };
    await publish.event(run, 'retrying', state.step, lifecycleData(run, state, now(), more));
    await cleanUpPrevious(parts, run, state);
  }
  if (state.await !== undefined) return subscribe(parts, run, seen);
  const message = { v: WIRE_VERSION, attempt: state.attempt, stateRev: revision };
  await publish.start(run, state.queue, message, `start:${keys.run(run)}:${state.attempt}:${state.step}`);
}

async function announceEnd(parts: AnnounceParts, run: RunKey, state: RunState, origin: Origin): Promise<void> {
  const { broker } = parts;
  // A run that ended at step 0 was accepted all the same; the event must precede `completed`.
  if (state.step === 0 && state.requestHash !== '' && !(await wasAccepted(parts, run, origin)))
    await broker.publish.event(run, 'accepted', 0, lifecycleData(run, state, broker.now()));
  await broker.publish.event(run, 'completed', state.step, completedData(run, state));
  await cleanUp(parts, run, state);
  await releaseConcurrencySlot(parts, run, state);
  await broker.subscriptions.delete(run);
}

/**
 * Whether `accepted` has certainly been published: the intake does so before it publishes the start message or stores the subscription. The stream
 * stores no second one, but clients that listen without a stream would receive it again.
 */
async function wasAccepted({ broker }: BrokerParts<'subscriptions'>, run: RunKey, origin: Origin): Promise<boolean> {
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

/**
 * Deletes or marks the pod of a decided attempt, by its policy. An error that repeating cannot cure is logged; the search for orphans meets the pod
 * again. @throws ReentryError transient
 */
export async function cleanUp(parts: OperatorParts, run: RunKey, state: RunState): Promise<void> {
  const { pod, outcome } = state;
  if (pod === undefined || outcome === undefined) return;
  try {
    const { operator, context } = await operatorStep(parts, run, state);
    await operator.cleanUp(context, outcome, pod);
  } catch (error) {
    if (error instanceof ReentryError && error.transient) throw error;
    parts.log.error({ ...run, pod: pod.name, error: String(error) }, 'cleaning up a pod failed');
  }
}

/** Cleans up the pod of the previous attempt, which a run that waits for its next attempt still names. */
export async function cleanUpPrevious(parts: OperatorParts, run: RunKey, state: RunState): Promise<void> {
  await cleanUp(parts, run, { ...state, attempt: state.attempt - 1 });
}

/** Stores the subscription of a waiting state, unless one of a later state is there. */
export async function subscribe(
  { broker: { subscriptions, runs } }: BrokerParts<'subscriptions' | 'runs'>,
  run: RunKey,
  seen: Versioned<RunState>,
): Promise<void> {
  const wanted = subscriptionOf(seen.value, seen.revision);
  if (wanted === undefined) return;
  // A run's first wait has nothing to replace; should there be something, the write conflicts.
  let present = seen.value.step <= 1 ? undefined : await subscriptions.read(run);
  for (;;) {
    // Revisions only grow: one of a later state must not be replaced, and one of this state is what we want.
    if (present !== undefined && present.value.stateRev >= wanted.stateRev) return;
    const outcome = await subscriptions.put(run, wanted, present?.revision ?? 0);
    if (outcome.kind === 'written') return;
    present = outcome.current ?? (await subscriptions.read(run));
    if (present === undefined) {
      // Deleted in between: the run may be over.
      const now = await runs.read(run, { leader: true });
      if (now?.revision !== seen.revision) return;
    }
  }
}
