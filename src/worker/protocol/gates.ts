/**
 * The gates that hold a queued run back, as checked by the worker that is about to start it: a paused queue, its turn, its concurrency key. The
 * order of runs is a triggerer's (`queue/order.ts`); this check is the strict one: nothing starts on a paused queue, and no key has more holders
 * than concurrency slots.
 */
import { isTerminal } from '../../core/run/transitions.ts';
import type { Delivery } from '../../ports/broker.ts';
import type { Versioned } from '../../ports/stores.ts';
import { limitOf, slotFor, slotsWithout } from '../../queue/concurrency.ts';
import { WIRE_VERSION } from '../../core/wire-version.ts';
import type { ConcurrencySlots } from '../../wire/queues.ts';
import type { RunState } from '../../wire/run-state.ts';
import type { Gate } from '../../wire/triggers.ts';
import type { RunKey } from '../../wire/subjects.ts';
import type { BrokerParts, Engine } from './engine.ts';

/** What checking the gates takes. */
export type GateParts = BrokerParts<'gates' | 'runs' | 'now'> & Pick<Engine, 'concurrencyLimits'>;

/**
 * A start message that has waited this long for a worker shows congestion: more is submitted than the workers start, so order matters and the run
 * waits for its turn. Below it, runs start in order of arrival at no cost.
 */
const CONGESTED_AFTER_MS = 5_000;

/** The gate that is closed to the run; `undefined`: it may start, and has its concurrency slot where it needs one. Safe to repeat. */
export async function closedGate(
  parts: GateParts,
  run: RunKey,
  state: RunState,
  delivery: Delivery,
): Promise<Gate['why'] | undefined> {
  const { broker } = parts;
  const queue = await broker.gates.queue(state.queue);
  if (queue?.value.paused === true) return 'paused';
  const hadItsTurn = state.await?.gate !== undefined;
  if (!hadItsTurn && broker.now() - delivery.publishedAt > CONGESTED_AFTER_MS) return 'turn';
  if (state.concurrencyKey !== undefined && !(await takeConcurrencySlot(parts, run, state.concurrencyKey)))
    return 'key';
  return undefined;
}

async function takeConcurrencySlot(parts: GateParts, { tenant, runId }: RunKey, key: string): Promise<boolean> {
  const { gates } = parts.broker;
  const limit = limitOf(parts.concurrencyLimits, tenant, key);
  for (let verified = false; ;) {
    const present = await gates.concurrencySlots(tenant, key);
    const answer = slotFor(present?.value, runId, limit);
    if (answer.kind === 'held') return true;
    if (answer.kind === 'taken') {
      const slots = { v: WIRE_VERSION, ...answer.slots, holders: [...answer.slots.holders] };
      if (await gates.setConcurrencySlots(tenant, key, slots, present?.revision ?? 0)) return true;
    } else if (verified) {
      // The limit has changed since it was stored: triggerers order runs by the stored one.
      const other = present !== undefined && present.value.limit !== limit;
      if (!other || (await gates.setConcurrencySlots(tenant, key, { ...present.value, limit }, present.revision)))
        return false;
    } else verified = !(await freeConcurrencySlots(parts, tenant, key));
  }
}

/** Frees the slots of runs that are over and did not free their own. `true`: there were some. */
export async function freeConcurrencySlots(
  { broker: { gates, runs } }: BrokerParts<'gates' | 'runs'>,
  tenant: string,
  key: string,
): Promise<boolean> {
  const present = await gates.concurrencySlots(tenant, key);
  if (present === undefined) return false;
  const gone: string[] = [];
  for (const runId of present.value.holders) {
    const seen = await runs.read({ tenant, runId }, { leader: true });
    if (seen === undefined || isTerminal(seen.value.phase)) gone.push(runId);
  }
  return gone.length > 0 && gates.setConcurrencySlots(tenant, key, without(present, gone), present.revision);
}

/** Frees the slot of a run that is over. Safe to repeat. */
export async function releaseConcurrencySlot(
  { broker: { gates } }: BrokerParts<'gates'>,
  { tenant, runId }: RunKey,
  { concurrencyKey: key }: RunState,
): Promise<void> {
  if (key === undefined) return;
  for (;;) {
    const present = await gates.concurrencySlots(tenant, key);
    if (present?.value.holders.includes(runId) !== true) return;
    if (await gates.setConcurrencySlots(tenant, key, without(present, [runId]), present.revision)) return;
  }
}

function without({ value }: Versioned<ConcurrencySlots>, gone: readonly string[]): ConcurrencySlots | undefined {
  const left = slotsWithout(value, gone);
  return left === undefined ? undefined : { v: WIRE_VERSION, limit: left.limit, holders: [...left.holders] };
}
