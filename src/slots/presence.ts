/** The live executors of a queue and the launches they have under way, from their heartbeats. Pure: times are arguments. */
import { DEAD_AFTER_MS, GRACE_MS, HEARTBEAT_MS } from '../core/ownership.ts';

/** After listening this long, a heartbeat of every live executor has arrived, in milliseconds. */
export const LISTEN_MS = 2 * HEARTBEAT_MS + 100;

/** An executor's latest heartbeat. */
interface Latest {
  readonly at: number;
  readonly launching: number;
  readonly draining: boolean;
}

/** The live executors of a queue, this one included, and the launches under way at the others. */
export interface Siblings {
  readonly executors: number;
  readonly launching: number;
}

/** The executors of one queue. All times are monotonic milliseconds. */
export class Presence {
  readonly #self: string;
  readonly #latest = new Map<string, Latest>();
  #connectedAt: number | undefined;

  constructor(self: string) {
    this.#self = self;
  }

  /** The connection to NATS was made or lost. */
  connected(isConnected: boolean, now: number): void {
    this.#connectedAt = isConnected ? (this.#connectedAt ?? now) : undefined;
  }

  /** A heartbeat has arrived. */
  receive(executor: string, { draining, launching }: { draining: boolean; launching: number }, now: number): void {
    // A draining executor takes no share of the slots, but finishes its launches.
    if (draining && launching === 0) this.#latest.delete(executor);
    else this.#latest.set(executor, { at: now, launching, draining });
    for (const [id, { at }] of this.#latest) if (now - at > 10 * DEAD_AFTER_MS) this.#latest.delete(id);
  }

  /** `undefined` while disconnected, and until heartbeats of all siblings can have arrived. */
  siblings(now: number): Siblings | undefined {
    const since = this.#connectedAt;
    if (since === undefined || now - since < LISTEN_MS) return undefined;
    let executors = 1;
    let launching = 0;
    for (const [id, latest] of this.#latest) {
      if (id === this.#self) continue;
      // After a reconnection, silent siblings get a grace period: they reconnect at different times.
      if (now - latest.at > DEAD_AFTER_MS && !(now - since < GRACE_MS && latest.at < since)) continue;
      if (!latest.draining) executors += 1;
      launching += latest.launching;
    }
    return { executors, launching };
  }
}
