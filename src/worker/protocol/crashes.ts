/**
 * Counts how often workers crashed while they handled one message. The delivery count also includes requeues, which may go on for as long as storage
 * is full or an API is down. So a message that is delivered often gets a count of its own: raised before it is handled, lowered after it.
 */
import type { Delivery } from '../../ports/broker.ts';
import { keys } from '../../wire/subjects.ts';
import type { BrokerParts, Engine } from './engine.ts';

/** Crashes that a message survives; one more and it is dead-lettered. */
export const MAX_CRASHES = 25;
/** Deliveries without a count. They are taken for crashes in `MAX_CRASHES`. */
const UNCOUNTED_DELIVERIES = 5;
/** Tries to write the count while another worker writes it. */
const TRIES = 5;

/** What counting takes. */
export type CrashParts = BrokerParts<'membership'> & Pick<Engine, 'id' | 'log'>;

/** The crash count of a message that is being handled. */
export interface CrashCount {
  readonly tooMany: boolean;
  /** Handling ended without a crash. `isLast`: the message does not come again, so its count is deleted. */
  settled(isLast: boolean): Promise<void>;
}

const UNCOUNTED: CrashCount = { tooMany: false, settled: () => Promise.resolve() };

/** Counts this delivery as a crash until it is settled. @throws ReentryError transient where the count cannot be stored */
export async function countCrash(parts: CrashParts, delivery: Delivery): Promise<CrashCount> {
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
