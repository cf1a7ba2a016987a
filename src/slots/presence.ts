/** How many executors serve a queue, and what they are about to take, from what they say of themselves. Pure: time comes in. @see spec protocol §8 */
import { DEAD_AFTER_MS, GRACE_MS, HEARTBEAT_MS } from '../core/ownership.ts';

/** Siblings speak every `HEARTBEAT_MS`: after so long all that live have been heard. */
export const LISTEN_MS = 2 * HEARTBEAT_MS + 100;

/** An executor's last word. */
interface Word {
  readonly at: number;
  readonly launching: number;
  readonly draining: boolean;
}

/** The live executors of a queue, this one included, and the launches under way at the others. */
export interface Siblings {
  readonly executors: number;
  readonly launching: number;
}

/** The executors of one queue. */
export class Presence {
  readonly #me: string;
  readonly #heard = new Map<string, Word>();
  #connectedAt: number | undefined;

  constructor(me: string) {
    this.#me = me;
  }

  connected(isConnected: boolean, now: number): void {
    this.#connectedAt = isConnected ? (this.#connectedAt ?? now) : undefined;
  }

  heard(executor: string, { draining, launching }: { draining: boolean; launching: number }, now: number): void {
    // One that leaves takes no share any more, but finishes the launches it has begun.
    if (draining && launching === 0) this.#heard.delete(executor);
    else this.#heard.set(executor, { at: now, launching, draining });
    for (const [id, { at }] of this.#heard) if (now - at > 10 * DEAD_AFTER_MS) this.#heard.delete(id);
  }

  /** `undefined` while the siblings may not have been heard yet, or nothing can be heard. */
  siblings(now: number): Siblings | undefined {
    const since = this.#connectedAt;
    if (since === undefined || now - since < LISTEN_MS) return undefined;
    let executors = 1;
    let launching = 0;
    for (const [id, word] of this.#heard) {
      if (id === this.#me) continue;
      // After a reconnection nobody is taken for dead at once: all come back at different times.
      if (now - word.at > DEAD_AFTER_MS && !(now - since < GRACE_MS && word.at < since)) continue;
      if (!word.draining) executors += 1;
      launching += word.launching;
    }
    return { executors, launching };
  }
}
