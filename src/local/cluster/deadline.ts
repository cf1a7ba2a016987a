/** A pod's `activeDeadlineSeconds`, which may be changed while it runs. */
export class Deadline {
  readonly #startedAt: Date;
  readonly #over: () => void;
  #seconds: number | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** @param over called once when the time is over */
  constructor(startedAt: Date, over: () => void) {
    this.#startedAt = startedAt;
    this.#over = over;
  }

  /** Sets the seconds from the start; undefined takes the deadline away. */
  set(seconds: number | undefined): void {
    if (seconds === this.#seconds) return;
    this.#seconds = seconds;
    clearTimeout(this.#timer);
    if (seconds === undefined) return;
    const leftMs = Math.max(0, this.#startedAt.getTime() + seconds * 1000 - Date.now());
    // Node's timers hold 24 days; no local cluster lives as long.
    if (leftMs <= 2_147_483_647) this.#timer = setTimeout(this.#over, leftMs);
  }
}
