/**
 * How a message advances its run: read the state, ask the table what to do, carry it out, store what it came to, and look again. A state that this
 * message made, now or before a redelivery, is announced; that is where the loop ends. A message twice is harmless: the state decides.
 */
import { diagnosisOf } from '../../core/run/diagnosis.ts';
import { ended } from '../../core/run/state-changes.ts';
import { decide, isTerminal } from '../../core/run/transitions.ts';
import type { Action, StepMessage } from '../../core/run/transitions.ts';
import { ReentryError } from '../../errors.ts';
import type { PodRef } from '../../core/pod/projection.ts';
import type { Delivery } from '../../ports/broker.ts';
import type { Diagnosis } from '../../wire/outcome.ts';
import type { RunState } from '../../wire/run-state.ts';
import type { RunKey } from '../../wire/subjects.ts';
import { announce } from './announce.ts';
import type { AnnounceParts } from './announce.ts';
import { carryOut } from './carry-out.ts';
import type { CarryOutParts, StepWork } from './carry-out.ts';
import type { BrokerParts, Engine } from './engine.ts';
import { releaseConcurrencySlot } from './gates.ts';
import { operatorStep } from './operator-step.ts';
import { ACK } from './settle.ts';
import type { Requeue, Settlement } from './settle.ts';
import { onOrphan } from '../upkeep/orphans.ts';
import { OwnedRun, store } from './store.ts';
import type { Change, StoreParts } from './store.ts';
import { runSpan, SPANS, within } from './tracing.ts';

/** What advancing a run takes. */
export type AdvanceParts = AnnounceParts & CarryOutParts & StoreParts & Pick<Engine, 'id'>;

interface AnyMessage {
  readonly run: RunKey;
  readonly delivery: Delivery;
  /** What it asks for. */
  readonly asks: StepMessage;
  /** How the state is read first; later reads are the leader's. */
  readonly read: { readonly leader?: boolean; readonly atLeastRevision?: number };
  /** Called where the message changes nothing. */
  ignored?(state: RunState | undefined): void;
}

/** A delivered request: begins a run. */
export interface RequestMessage extends AnyMessage {
  readonly origin: 'request';
  /** The run's first state; `undefined` where another request makes the run. */
  create(): Promise<Proposal | undefined>;
}

/** A delivered step message of an existing run. */
export interface LaneMessage extends AnyMessage {
  readonly origin: 'start' | 'resume' | 'cancel';
  /** What the table's action comes to in this state. */
  propose(action: 'take' | 'mark' | 'end', state: RunState): Promise<Proposal>;
}

/** A delivered message about a run. */
export type RunMessage = RequestMessage | LaneMessage;

/** A change by a message that does not own the run yet. */
export interface Proposal extends Change {
  /** Called once the change is stored. */
  readonly stored?: (state: RunState) => Promise<void> | void;
  /** The step to be carried out once the change has made the message the run's owner. */
  readonly work?: StepWork;
}

/** A first state met neither a state nor room for one. */
const CONFLICT: Requeue = { kind: 'requeue', delayMs: 1_000, why: 'the state could not be stored' };

/** Advances the run until nothing is left to do for this message. `giveUp`: why the run must be ended as DEAD_LETTERED instead. */
export async function advance(
  parts: AdvanceParts,
  message: RunMessage,
  giveUp: string | undefined,
): Promise<Settlement> {
  const { run, delivery, asks, origin } = message;
  const { broker } = parts;
  let changed = false;
  for (let next = await broker.runs.read(run, message.read); ;) {
    const seen = next;
    const action = decide(seen?.value, asks, delivery, broker.now());
    if (action === 'ack') {
      if (!changed) message.ignored?.(seen?.value);
      return ACK;
    }
    if (action === 'drop') return drop(parts, run, seen?.value);
    const mustEnd = giveUp !== undefined && seen !== undefined && !isTerminal(seen.value.phase);
    if (action === 'announce' && seen !== undefined && !mustEnd) {
      await announce(parts, run, seen, origin);
      return ACK;
    }
    const change = mustEnd
      ? await givenUp(parts, message, seen.value, giveUp)
      : await proposal(message, action, seen?.value);
    if (change === undefined) {
      message.ignored?.(undefined);
      return ACK;
    }
    const stored = await store(parts, run, seen, change);
    next = stored.seen;
    if (stored.kind === 'lost') {
      if (seen === undefined && next === undefined) return CONFLICT;
      continue;
    }
    changed = true;
    await change.stored?.(stored.seen.value);
    if (change.work === undefined) continue;
    const owned = new OwnedRun(parts, run, stored.seen);
    const requeue = await finish(parts, owned, change.work);
    if (requeue !== undefined) return requeue;
    next = owned.seen;
  }
}

function proposal(message: RunMessage, action: Action, state: RunState | undefined): Promise<Proposal | undefined> {
  if (message.origin === 'request') return message.create();
  if (state !== undefined && (action === 'take' || action === 'mark' || action === 'end'))
    return message.propose(action, state);
  throw new ReentryError('INTERNAL', `${message.asks.on} without a state cannot ${action}`, { transient: false });
}

const SPAN_OF = { start: SPANS.launch, resume: SPANS.resume, cancel: SPANS.cancel } as const;

/** Carries the owned step out and stores what it came to. Where a cancel was requested meanwhile, the pod is stopped instead. */
function finish(parts: AdvanceParts, owned: OwnedRun, work: StepWork): Promise<Requeue | undefined> {
  return within(runSpan(parts.tracer, SPAN_OF[work.on], owned.run, owned.state), async () => {
    const step = { parts, owned, ...(await operatorStep(parts, owned.run, owned.state, owned)) };
    const { attempt } = owned.state;
    let result = await carryOut(step, work);
    while (result.kind === 'change') {
      const { pod } = result;
      try {
        if ((await owned.write(result)) === 'stored') return undefined;
      } catch (error) {
        const isFenced = error instanceof ReentryError && error.code === 'FENCED';
        if (isFenced && pod !== undefined && work.on === 'start')
          await cleanUpLate(parts, owned.run, { ...pod, attempt });
        throw error;
      }
      result = await carryOut(step, { on: 'cancel', pod });
    }
    return result;
  });
}

/** Another worker took the run over while this one created its pod: where the run is over or at another pod by now, this one is cleaned up. */
async function cleanUpLate(
  parts: AdvanceParts,
  run: RunKey,
  pod: PodRef & { readonly attempt: number },
): Promise<void> {
  try {
    await onOrphan(parts, run, pod);
  } catch (error) {
    // The triggerer reports the pod as an orphan.
    parts.log.warn(
      { ...run, pod: pod.name, error: String(error) },
      'cleaning up a pod that was created too late failed',
    );
  }
}

/** The run is over, or forgotten: what is left of its wait goes. Its slot too: this message may have taken it right before the run was cancelled. */
async function drop(parts: AdvanceParts, run: RunKey, state: RunState | undefined): Promise<Settlement> {
  await parts.broker.subscriptions.delete(run);
  if (state !== undefined) await releaseConcurrencySlot(parts, run, state);
  return ACK;
}

/** Ends a run as DEAD_LETTERED: its pod is stopped and a copy of the message stored. */
async function givenUp(
  parts: AdvanceParts,
  { run, delivery, origin }: RunMessage,
  state: RunState,
  message: string,
): Promise<Proposal> {
  const { pod, fence } = state;
  if (pod !== undefined) {
    try {
      // No read is repeated: the message does not come again.
      const { operator, context } = await operatorStep(parts, run, { ...state, unreadSince: 0 });
      await operator.stop(context, pod);
    } catch (error) {
      parts.log.error(
        { ...run, pod: pod.name, error: String(error) },
        'stopping the pod of a dead-lettered run failed',
      );
    }
  }
  const diagnosis = diagnosisOf('DEAD_LETTERED', { message });
  // Before the state: once that is Failed, no redelivery would write the dead letter.
  await deadLetter(parts, origin === 'request' ? 'run' : 'step', run, delivery, diagnosis);
  const draft = {
    ...ended(state, { state: 'failed', diagnosis }, parts.broker.now()),
    fence: { stream: delivery.stream, seq: delivery.seq, epoch: fence.epoch + 1, by: parts.id },
  };
  return { on: 'give up', draft };
}

/** Stores a copy of a message that is given up, and counts it. A repetition may count again. */
export async function deadLetter(
  { broker, meter }: BrokerParts<'publish'> & Pick<Engine, 'meter'>,
  kind: 'run' | 'step',
  run: RunKey,
  delivery: Delivery,
  why: Diagnosis,
): Promise<void> {
  await broker.publish.deadLetter(kind, run, delivery.data, why, delivery);
  meter.count('dead_letters_total', { kind });
}
