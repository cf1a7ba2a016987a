/**
 * How often the holders of one message died. A delivery's count says less: what was put back on purpose, for as long as storage is full
 * or an API is down, counts there as well. So a message that has come often is counted apart: before it is worked on, and back after it.
 */
import type { Delivery } from '../../ports/broker.ts';
import { keys } from '../../wire/subjects.ts';
import type { Engine } from './engine.ts';

/** Deliveries by crash alone that a message survives. @see spec protocol §10 */
export const MAX_CRASHES = 25;
/** Deliveries from which on a message is counted apart; up to here a put-back and a death cost nothing to tell apart. */
const SUSPECT_AFTER = 5;
/** Tries to write the count while a sibling writes it. */
const TRIES = 5;

/** What is known of a message's holders while it is worked on. */
export interface CrashCount {
  readonly diedTooOften: boolean;
  /** The work has ended in order. `isLast`: the message does not come again, and nothing is remembered of it. */
  settled(isLast: boolean): Promise<void>;
}

const UNSUSPECTED: CrashCount = { diedTooOften: false, settled: () => Promise.resolve() };

/** Counts this delivery as a death until it is settled. @throws ReentryError transient where the count cannot be kept */
export async function counted(engine: Engine, delivery: Delivery): Promise<CrashCount> {
  if (delivery.deliveries <= SUSPECT_AFTER) return UNSUSPECTED;
  const died = await change(engine, delivery, (before) => before + 1);
  return {
    diedTooOften: died > MAX_CRASHES - SUSPECT_AFTER,
    settled: async (isLast) => {
      try {
        await change(engine, delivery, (before) => (isLast ? 0 : Math.max(0, before - 1)));
      } catch (error) {
        // Counted as a death, which only means less patience.
        engine.log.warn({ seq: delivery.seq, error: String(error) }, 'a count of deaths could not be taken back');
      }
    },
  };
}

/** The count before `next`. A count of 0 is not kept. */
async function change(
  { broker: { membership }, id }: Engine,
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
