/** The live executors of a queue, from their heartbeats: start messages are divided among them. Pure: times are arguments. */
import { DEAD_AFTER_MS, GRACE_MS, HEARTBEAT_MS } from '../core/ownership.ts';

/** After listening this long, a heartbeat of every live executor has arrived, in milliseconds. */
export const LISTEN_MS = 2 * HEARTBEAT_MS + 100;

/** The executors of one queue. All times are monotonic milliseconds. */
export class Presence {
  readonly #self: string;
  /** When the latest heartbeat of each other executor arrived. */
  readonly #latest = new Map<string, number>();
  #connectedAt: number | undefined;

  constructor(self: string) {
    this.#self = self;
  }

  /** The connection to NATS was made or lost. */
  connected(isConnected: boolean, now: number): void {
    this.#connectedAt = isConnected ? (this.#connectedAt ?? now) : undefined;
  }

  /** A heartbeat has arrived. A draining executor starts nothing more. */
  receive(executor: string, { draining }: { readonly draining: boolean }, now: number): void {
    if (draining || executor === this.#self) this.#latest.delete(executor);
    else this.#latest.set(executor, now);
    for (const [id, at] of this.#latest) if (now - at > 10 * DEAD_AFTER_MS) this.#latest.delete(id);
  }

  /** How many live executors the queue has, this one included. `undefined` while disconnected, and until heartbeats of all can have arrived. */
  executors(now: number): number | undefined {
    const since = this.#connectedAt;
    if (since === undefined || now - since < LISTEN_MS) return undefined;
    // After a reconnection, silent executors get a grace period: they reconnect at different times.
    const isLive = (at: number) => now - at <= DEAD_AFTER_MS || (now - since < GRACE_MS && at < since);
    return 1 + [...this.#latest.values()].filter(isLive).length;
  }
}
