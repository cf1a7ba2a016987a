/** Settles deliveries: the one wrapper around the handlers of requests and steps. @see src/wire/README.md, "Faults" */
import { backOffMs } from '../../core/back-off.ts';
import { faulted, requeued } from '../../core/run/state-changes.ts';
import { isTerminal, owns } from '../../core/run/transitions.ts';
import { KubernetesError, ReentryError, UnreadError } from '../../errors.ts';
import type { Log } from '../../ports/ambient.ts';
import type { Delivery } from '../../ports/broker.ts';
import type { RunState } from '../../wire/run-state.ts';
import { keys } from '../../wire/subjects.ts';
import type { Lane, RunKey } from '../../wire/subjects.ts';
import type { BrokerParts, Engine } from './engine.ts';
import { OwnedRun } from './store.ts';
import type { StoreParts } from './store.ts';

/** Unclassified exceptions that a run survives; one more ends it as DEAD_LETTERED. */
export const MAX_FAULTS = 10;

/** Crashes that a message survives; one more and it is dead-lettered. */
export const MAX_CRASHES = 25;

/** The message comes again after `delayMs`. */
export interface Requeue {
  readonly kind: 'requeue';
  readonly delayMs: number;
  readonly why: string;
}

/** What becomes of a delivered message. */
export type Settlement = { readonly kind: 'ack' } | Requeue;

/** The message is done with. */
export const ACK: Settlement = { kind: 'ack' };

/** What settling takes. */
export type SettleParts = CrashParts & StoreParts & Pick<Engine, 'policy' | 'log' | 'meter'>;

/** What a handler does. `giveUp`: why the run must be ended as DEAD_LETTERED instead. */
export type Handler = (giveUp: string | undefined) => Promise<Settlement>;

interface Delivered {
  readonly lane: Lane | 'intake';
  readonly run: RunKey | undefined;
  readonly delivery: Delivery;
}

/** Runs `handle` for a delivery, then acknowledges it, requeues it, or abandons it where another worker owns the run. */
export async function settle(parts: SettleParts, delivered: Delivered, handle: Handler): Promise<void> {
  const { lane, run, delivery } = delivered;
  const { meter } = parts;
  const begunAt = performance.now();
  const log = parts.log.child({ lane, ...run, seq: delivery.seq, deliveries: delivery.deliveries });
  const done = (outcome: string) => {
    meter.count('steps_total', { lane, outcome });
    meter.observeSeconds('step_duration_seconds', (performance.now() - begunAt) / 1000, { lane });
  };
  let crashes: CrashCount | undefined;
  try {
    crashes = await countCrash(parts, delivery);
    const crashed = `its worker crashed ${String(delivery.deliveries - 1)} times`;
    const result = await handle(crashes.tooMany ? crashed : undefined);
    if (result.kind === 'requeue') {
      log.info({ why: result.why, delayMs: result.delayMs }, 'requeued');
      await recordRequeue(parts, delivered, log);
    }
    await crashes.settled(result.kind === 'ack');
    if (result.kind === 'ack') await delivery.ack();
    else await delivery.nak(Math.min(parts.policy.faultMaxMs, result.delayMs));
    done(result.kind);
  } catch (error) {
    const isFenced = error instanceof ReentryError && error.code === 'FENCED';
    const isTransient = error instanceof ReentryError && error.transient;
    // An unclassified exception stays counted as a crash: before a message owns its run, no state counts it.
    if (isFenced || isTransient) await crashes?.settled(false);
    if (isFenced) {
      // Not acknowledged: a late acknowledgement would take the message from its new owner.
      delivery.abandon();
      meter.count('fenced_total');
      log.debug({}, 'another worker owns the run');
      done('fenced');
      return;
    }
    const delayMs = pauseAfter(parts, delivery, error);
    const code = error instanceof ReentryError ? error.code : 'UNCLASSIFIED';
    meter.count('step_faults_total', { code });
    logFault(log, { code, delayMs }, error, isTransient);
    const isOver = await recordRequeue(parts, delivered, log, isTransient ? undefined : { error, handle });
    if (isOver) {
      await crashes?.settled(true);
      await delivery.ack();
    } else await delivery.nak(delayMs);
    done(isOver ? 'deadLettered' : 'fault');
  }
}

/** What the server asked for, else exponential back-off; at most `faultMaxMs`. */
function pauseAfter({ policy: { faultBaseMs, faultMaxMs } }: SettleParts, delivery: Delivery, error: unknown): number {
  const askedMs = error instanceof KubernetesError || error instanceof UnreadError ? error.retryAfterMs : undefined;
  return Math.min(faultMaxMs, askedMs ?? backOffMs(delivery.deliveries, faultBaseMs, faultMaxMs));
}

function logFault(log: Log, fields: object, error: unknown, isTransient: boolean): void {
  const problem = { ...fields, error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  if (isTransient) log.warn(problem, 'not possible now; requeued');
  else log.error(problem, 'a step failed');
}

/** Counts the requeue, and the fault, in the state of the run that the message owns. `true`: one fault too many, the run was ended. */
async function recordRequeue(
  parts: SettleParts,
  { run, delivery }: Delivered,
  log: Log,
  fault?: { readonly error: unknown; readonly handle: Handler },
): Promise<boolean> {
  if (run === undefined) return false;
  try {
    const seen = await parts.broker.runs.read(run, { leader: true });
    if (seen === undefined || !owns(seen.value.fence, delivery)) return false;
    const { faults, phase } = seen.value;
    if (fault !== undefined && faults + 1 >= MAX_FAULTS && !isTerminal(phase))
      return (await fault.handle(String(fault.error))).kind === 'ack';
    const next = (state: RunState) => requeued(fault === undefined ? state : faulted(state));
    await new OwnedRun(parts, run, seen).write({ on: 'requeue', next, yieldsToCancel: false });
  } catch (error) {
    log.warn({ error: String(error) }, 'recording a requeue failed');
  }
  return false;
}

/** Deliveries without a count. They are taken for crashes in `MAX_CRASHES`. */
const UNCOUNTED_DELIVERIES = 5;
/** Tries to write the count while another worker writes it. */
const TRIES = 5;

type CrashParts = BrokerParts<'membership'> & Pick<Engine, 'id' | 'log'>;

/** The crash count of a message that is being handled. */
interface CrashCount {
  readonly tooMany: boolean;
  /** Handling ended without a crash. `isLast`: the message does not come again, so its count is deleted. */
  settled(isLast: boolean): Promise<void>;
}

const UNCOUNTED: CrashCount = { tooMany: false, settled: () => Promise.resolve() };

/**
 * Counts this delivery as a crash of its worker until it is settled. The delivery count also includes requeues, which may go on for as long as storage is
 * full or an API is down; so a message that is delivered often gets a count of its own: raised before it is handled, lowered after it.
 * @throws ReentryError transient where the count cannot be stored
 */
async function countCrash(parts: CrashParts, delivery: Delivery): Promise<CrashCount> {
  if (delivery.deliveries <= UNCOUNTED_DELIVERIES) return UNCOUNTED;
  const crashes = await change(parts, delivery, (before) => before + 1);
  return {
    tooMany: crashes > MAX_CRASHES - UNCOUNTED_DELIVERIES,
    settled: async (isLast) => {
      try {
        await change(parts, delivery, (before) => (isLast ? 0 : Math.max(0, before - 1)));
      } catch (error) {
        // Stays counted as a crash: the message is given up one delivery earlier.
        parts.log.warn({ seq: delivery.seq, error: String(error) }, 'lowering a crash count failed');
      }
    },
  };
}

/** Changes the count and returns it as it was before. A count of 0 is deleted. */
async function change(
  { broker: { membership }, id }: CrashParts,
  { stream, seq }: Delivery,
  next: (before: number) => number,
): Promise<number> {
  const key = keys.crashes(stream, seq);
  for (let n = 0; n < TRIES; n += 1) {
    const present = await membership.readClaim(key);
    const before = present?.value.epoch ?? 0;
    const epoch = next(before);
    if (epoch > 0) {
      if ((await membership.claim(key, { owner: id, epoch }, present?.revision ?? 0)) !== undefined) return before;
    } else if (present === undefined || (await membership.dropClaim(key, present.revision))) return before;
  }
  return 0;
}
