/** How many executors serve a queue, from what they say of themselves. Pure: time comes in. @see spec protocol §8 */
import { DEAD_AFTER_MS, GRACE_MS, HEARTBEAT_MS } from '../core/ownership.ts';

/** Siblings speak every `HEARTBEAT_MS`: after so long all that live have been heard. */
export const LISTEN_MS = 2 * HEARTBEAT_MS + 100;

/** The executors of one queue. */
export class Presence {
  readonly #me: string;
  readonly #heard = new Map<string, number>();
  #connectedAt: number | undefined;

  constructor(me: string) {
    this.#me = me;
  }

  connected(isConnected: boolean, now: number): void {
    this.#connectedAt = isConnected ? (this.#connectedAt ?? now) : undefined;
  }

  heard(executor: string, draining: boolean, now: number): void {
    if (draining) this.#heard.delete(executor);
    else this.#heard.set(executor, now);
    for (const [id, at] of this.#heard) if (now - at > 10 * DEAD_AFTER_MS) this.#heard.delete(id);
  }

  /** The live ones, this one included; undefined while the siblings may not have been heard yet, or nothing can be heard. */
  count(now: number): number | undefined {
    const since = this.#connectedAt;
    if (since === undefined || now - since < LISTEN_MS) return undefined;
    let live = 1;
    for (const [id, at] of this.#heard) {
      if (id === this.#me) continue;
      // After a reconnection nobody is taken for dead at once: all come back at different times.
      if (now - at <= DEAD_AFTER_MS || (now - since < GRACE_MS && at < since)) live += 1;
    }
    return live;
  }
}
