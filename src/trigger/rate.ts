/** An even rate with a burst of one second: gives instants as reservations, so that no queue is needed to keep it. */
export class Rate {
  readonly #spacingMs: number;
  readonly #burstMs: number;
  /** When the reservation after the last one would be due without any burst. */
  #dueAt = 0;

  constructor(perSecond: number) {
    this.#spacingMs = 1_000 / perSecond;
    this.#burstMs = 1_000 - this.#spacingMs;
  }

  /** The earliest free instant, reserved for the caller: `now` itself while below the rate. Epoch milliseconds. */
  reserve(now: number): number {
    // A clock that was set back must not leave reservations hours ahead.
    if (this.#dueAt - now > 3_600_000) this.#dueAt = now;
    const dueAt = Math.max(this.#dueAt, now);
    this.#dueAt = dueAt + this.#spacingMs;
    return Math.max(now, dueAt - this.#burstMs);
  }
}
