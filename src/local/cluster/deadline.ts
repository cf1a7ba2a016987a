/** A pod's `activeDeadlineSeconds`, which can change while it runs. */
export class Deadline {
  readonly #startedAt: Date;
  readonly #over: () => void;
  #seconds: number | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** @param over called once when the time has elapsed */
  constructor(startedAt: Date, over: () => void) {
    this.#startedAt = startedAt;
    this.#over = over;
  }

  /** Sets the seconds from the start; undefined removes the deadline. */
  set(seconds: number | undefined): void {
    if (seconds === this.#seconds) return;
    this.#seconds = seconds;
    clearTimeout(this.#timer);
    if (seconds === undefined) return;
    const leftMs = Math.max(0, this.#startedAt.getTime() + seconds * 1000 - Date.now());
    // Node's timers hold at most 24 days; no local cluster lives that long.
    if (leftMs <= 2_147_483_647) this.#timer = setTimeout(this.#over, leftMs);
  }
}
