/**
 * Whether a run that is ready may start now, asked by the worker that is about to start it. Who is next was decided before
 * (`core/admission-order.ts`, by a triggerer); this is the strict part: nothing starts on a paused queue, and no key has more holders than slots.
 */
import { limitOf, slotFor, slotsWithout } from '../../queue/concurrency.ts';
import { isTerminal } from '../../core/run/transitions.ts';
import type { Delivery } from '../../ports/broker.ts';
import { WIRE_VERSION } from '../../core/wire-version.ts';
import type { RunState } from '../../wire/run-state.ts';
import type { Gate } from '../../wire/triggers.ts';
import type { RunKey } from '../../wire/subjects.ts';
import type { Engine } from './engine.ts';

/**
 * A start that has lain in its lane for so long shows that more is asked for than the workers start: from then on order matters, so the run
 * waits for its turn instead. Below, runs start as they come, at no cost.
 */
const CONGESTED_AFTER_MS = 5_000;

/** What keeps the run; `undefined`: it may start, and holds the slot of its key where it has one. Safe to repeat. */
export async function gateOf(
  engine: Engine,
  run: RunKey,
  state: RunState,
  delivery: Delivery,
): Promise<Gate['why'] | undefined> {
  const { broker } = engine;
  const queue = await broker.gates.queue(state.queue);
  if (queue?.value.paused === true) return 'paused';
  const hadItsTurn = state.await?.gate !== undefined;
  if (!hadItsTurn && broker.now() - delivery.publishedAt > CONGESTED_AFTER_MS) return 'turn';
  if (state.concurrencyKey !== undefined && !(await takeSlot(engine, run, state.concurrencyKey))) return 'key';
  return undefined;
}

async function takeSlot(engine: Engine, { tenant, runId }: RunKey, key: string): Promise<boolean> {
  const { gates } = engine.broker;
  const limit = limitOf(engine.concurrencyLimits, tenant, key);
  for (let verified = false; ;) {
    const present = await gates.concurrencySlots(tenant, key);
    const answer = slotFor(present?.value, runId, limit);
    if (answer.kind === 'held') return true;
    if (answer.kind === 'taken') {
      if (
        await gates.setConcurrencySlots(
          tenant,
          key,
          { v: WIRE_VERSION, ...answer.slots, holders: [...answer.slots.holders] },
          present?.revision ?? 0,
        )
      )
        return true;
    } else if (verified) {
      // Another limit than the one that was written: those who keep the order must see it.
      const other = present !== undefined && present.value.limit !== limit;
      if (!other || (await gates.setConcurrencySlots(tenant, key, { ...present.value, limit }, present.revision)))
        return false;
    } else verified = !(await freeSlots(engine, tenant, key));
  }
}

/** Gives the slots of runs that are over back, where their own end could not. `true`: some were. */
export async function freeSlots(engine: Engine, tenant: string, key: string): Promise<boolean> {
  const { gates, runs } = engine.broker;
  const present = await gates.concurrencySlots(tenant, key);
  if (present === undefined) return false;
  const gone: string[] = [];
  for (const runId of present.value.holders) {
    const seen = await runs.read({ tenant, runId }, { leader: true });
    if (seen === undefined || isTerminal(seen.value.phase)) gone.push(runId);
  }
  if (gone.length === 0) return false;
  const left = slotsWithout(present.value, gone);
  const kept = left === undefined ? undefined : { v: WIRE_VERSION, limit: left.limit, holders: [...left.holders] };
  return gates.setConcurrencySlots(tenant, key, kept, present.revision);
}

/** The run is over: its slot is free. Safe to repeat. */
export async function releaseSlot(engine: Engine, { tenant, runId }: RunKey, state: RunState): Promise<void> {
  const { gates } = engine.broker;
  const key = state.concurrencyKey;
  if (key === undefined) return;
  for (;;) {
    const present = await gates.concurrencySlots(tenant, key);
    if (present?.value.holders.includes(runId) !== true) return;
    const left = slotsWithout(present.value, [runId]);
    const kept = left === undefined ? undefined : { v: WIRE_VERSION, limit: left.limit, holders: [...left.holders] };
    if (await gates.setConcurrencySlots(tenant, key, kept, present.revision)) return;
  }
}
