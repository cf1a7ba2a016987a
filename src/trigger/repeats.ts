/** When what was told of an unchanged subscription is told again: nobody may have heard it. */
import type { TriggerEvent } from '../wire/triggers.ts';

/** An unchanged subscription fires again after this long, then after twice as long, up to the second figure. */
const AGAIN_AFTER_MS = 60_000;
const AGAIN_AFTER_AT_MOST_MS = 600_000;
/** After a publish that failed in spite of its own retries. */
const AGAIN_AFTER_FAILURE_MS = 5_000;

/** That an event of one kind was fired. */
interface Fired {
  readonly count: number;
  readonly againAt: number;
  readonly backoffMs: number;
}

/** The firings of one revision of a subscription, by kind of event. Times are epoch milliseconds. */
export class Repeats {
  readonly #fired = new Map<TriggerEvent['kind'], Fired>();

  /** Notes a firing, the n-th (from 0); or says when the next may be. */
  fire(kind: TriggerEvent['kind'], now: number): { readonly count?: number; readonly againAt: number } {
    const before = this.#fired.get(kind);
    if (before !== undefined && now < before.againAt) return { againAt: before.againAt };
    const isFirst = before === undefined || before.count < 0;
    const backoffMs = isFirst ? AGAIN_AFTER_MS : Math.min(before.backoffMs * 2, AGAIN_AFTER_AT_MOST_MS);
    const fired = { count: (before?.count ?? -1) + 1, againAt: now + backoffMs, backoffMs };
    this.#fired.set(kind, fired);
    return fired;
  }

  /** The last firing did not get out: it comes again soon, under the same number. Answers when; undefined: there was none. */
  takeBack(kind: TriggerEvent['kind'], now: number): number | undefined {
    const fired = this.#fired.get(kind);
    if (fired === undefined) return undefined;
    const againAt = now + AGAIN_AFTER_FAILURE_MS;
    this.#fired.set(kind, { ...fired, count: fired.count - 1, againAt });
    return againAt;
  }
}
