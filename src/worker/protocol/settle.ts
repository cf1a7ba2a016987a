/** What went wrong in a step, and what follows: put back, given up, or left to its owner. @see spec protocol §10 */
import { diagnosisOf } from '../../core/run/diagnosis.ts';
import { isTerminal, owns } from '../../core/run/transitions.ts';
import { backOffMs } from '../../core/back-off.ts';

import { ended, faulted, putBack } from '../../core/run/state-changes.ts';
import { ReentryError } from '../../errors.ts';
import type { Delivery } from '../../ports/broker.ts';
import type { Versioned } from '../../ports/stores.ts';
import type { RunState } from '../../wire/run-state.ts';
import type { RunKey } from '../../wire/subjects.ts';
import { operatorStep } from './operator-step.ts';
import { counted } from './crashes.ts';
import type { CrashCount } from './crashes.ts';
import { deadLetter } from './dead-letters.ts';
import type { Engine, Settled } from './engine.ts';
import { writeOver } from './store.ts';
import { owe } from './announce.ts';
import type { Origin } from './announce.ts';
import { askedDelayMs } from './carry-out.ts';
import { countEnd } from './stop.ts';

/** Exceptions nobody classified that a run survives. */
export const MAX_FAULTS = 10;
/** Runs `work` for a delivery and settles it: acknowledged, put back, or left alone where somebody else owns the run by now. */
export async function settled(
  engine: Engine,
  lane: string,
  run: RunKey | undefined,
  delivery: Delivery,
  work: (diedTooOften: boolean) => Promise<Settled>,
): Promise<void> {
  const begunAt = performance.now();
  const log = engine.log.child({ lane, ...run, seq: delivery.seq, deliveries: delivery.deliveries });
  const done = (outcome: string) => {
    engine.meter.count('steps_total', { lane, outcome });
    engine.meter.observeSeconds('step_duration_seconds', (performance.now() - begunAt) / 1000, { lane });
  };
  let crashes: CrashCount | undefined;
  try {
    crashes = await counted(engine, delivery);
    const result = await work(crashes.diedTooOften);
    await crashes.settled(result.kind === 'ack');
    if (result.kind === 'ack') await delivery.ack();
    else await delivery.nak(result.delayMs);
    done(result.kind);
  } catch (error) {
    const classified = error instanceof ReentryError && (error.transient || error.code === 'FENCED');
    // An exception nobody classified stays counted beside the deaths: met before a message owns its run, it stands in no state.
    if (classified) await crashes?.settled(false);
    if (error instanceof ReentryError && error.code === 'FENCED') {
      // Not acknowledged: a late ack would take the message from its new owner.
      delivery.abandon();
      engine.meter.count('fenced_total');
      log.debug({}, 'another worker owns the run');
      done('fenced');
      return;
    }
    const transient = error instanceof ReentryError && error.transient;
    const code = error instanceof ReentryError ? error.code : 'UNCLASSIFIED';
    const { faultBaseMs, faultMaxMs } = engine.policy;
    const pauseMs = askedDelayMs(error) ?? backOffMs(delivery.deliveries, faultBaseMs, faultMaxMs);
    const delayMs = Math.min(faultMaxMs, pauseMs);
    engine.meter.count('step_faults_total', { code });
    const problem = { code, error: error instanceof Error ? (error.stack ?? error.message) : String(error), delayMs };
    if (transient) log.warn(problem, 'not possible now; put back');
    else log.error(problem, 'a step failed');
    const over = run !== undefined && (await noted(engine, run, delivery, lane, transient, String(error)));
    if (over) {
      await crashes?.settled(true);
      await delivery.ack();
    } else await delivery.nak(delayMs);
    done(over ? 'deadLettered' : 'nak');
  }
}

/** Writes the fault or the put-back into the run's state; `true` where it was one too many and the run is over. */
async function noted(
  engine: Engine,
  run: RunKey,
  delivery: Delivery,
  lane: string,
  transient: boolean,
  message: string,
): Promise<boolean> {
  try {
    const seen = await engine.broker.runs.read(run, { leader: true });
    if (seen === undefined || !owns(seen.value.fence, delivery)) return false;
    if (!transient && seen.value.faults + 1 >= MAX_FAULTS && !isTerminal(seen.value.phase)) {
      return await giveUp(engine, run, seen, delivery, lane, message);
    }
    // Lost to a concurrent write: then this one is not counted, which only means more patience.
    const next = putBack(transient ? seen.value : faulted(seen.value));
    await writeOver(engine.broker.runs, run, next, seen.revision);
  } catch (error) {
    engine.log.warn({ ...run, error: String(error) }, 'a fault could not be noted');
  }
  return false;
}

/** Ends a run that cannot be helped: Failed `DEAD_LETTERED`, a copy of the message kept. `false`: somebody else wrote first. */
export async function giveUp(
  engine: Engine,
  run: RunKey,
  seen: Versioned<RunState>,
  delivery: Delivery,
  lane: string,
  message: string,
): Promise<boolean> {
  const { broker } = engine;
  const diagnosis = diagnosisOf('DEAD_LETTERED', { message });
  const { stream, seq } = delivery;
  const pod = seen.value.pod;
  if (pod !== undefined && !isTerminal(seen.value.phase)) {
    try {
      const { operator, context } = await operatorStep(engine, run, seen.value, undefined);
      await operator.stop(context, pod);
    } catch (error) {
      engine.log.error({ ...run, pod: pod.name, error: String(error) }, 'pod of a dead-lettered run not stopped');
    }
  }
  const kind = lane === 'intake' ? 'run' : 'step';
  // Before the state: once that says Failed, no redelivery comes back here to write the letter.
  await deadLetter(engine, kind, run, delivery, diagnosis);
  const fence = { stream, seq, epoch: seen.value.fence.epoch + 1, by: engine.id };
  const draft = { ...ended(seen.value, { state: 'failed', diagnosis }, broker.now()), fence };
  const written = await writeOver(broker.runs, run, draft, seen.revision);
  if (written.kind === 'lost') return false;
  await owe(engine, run, written.seen, originOf(lane));
  countEnd(engine, run, written.seen.value);
  return true;
}

/** What a lane's messages make of a state's events. */
export function originOf(lane: string): Origin {
  if (lane === 'start' || lane === 'resume') return lane;
  return lane === 'intake' ? 'request' : 'cancel';
}
