/** The logging interval: when the logs of running pods are to be read. The second clock of the pipeline, with a ration of its own. */
import type { PodProjection } from '../core/pod/projection.ts';
import { TimingWheel } from '../core/timing-wheel.ts';
import { Rate } from './rate.ts';

/**
 * The first instant after `after` on the pod's own grid: its base container's start, plus whole intervals. The grid is the same
 * for every replica and every step, so reading logs late shifts nothing (no drift), and after a pause there is one instant, not
 * one per missed interval (no burst). Shards are spread over a second: the API gives start times in whole seconds, and pods
 * launched together would all be due in the same millisecond. Undefined while the base container does not run.
 */
export function nextLoggingAt(
  { containers, baseContainer }: PodProjection,
  shard: string,
  everyMs: number,
  after: number,
): number | undefined {
  const base = containers.find(({ name }) => name === baseContainer);
  if (base?.state !== 'running') return undefined;
  const spreadMs = Math.floor((Number.parseInt(shard, 16) / 256) * Math.min(everyMs, 1_000));
  const start = (base.startedAt ?? after) + spreadMs;
  return start + Math.max(1, Math.floor((after - start) / everyMs) + 1) * everyMs;
}

const NONE: readonly string[] = [];

/** When the logs of which runs are due: at most so many per second, the others are put off, each with a reservation. */
export class LoggingInterval {
  readonly #wheel: TimingWheel<string>;
  readonly #rate: Rate;
  /** Runs whose instant on the wheel is fixed: a reservation, or the repeat of an event that was not published. */
  readonly #fixed = new Set<string>();
  readonly #due = new Set<string>();
  #putOff = 0;
  #raised = 0;

  /** `perSecond`: runs whose logs are due per second. */
  constructor(perSecond: number, now: number) {
    this.#wheel = new TimingWheel(now);
    this.#rate = new Rate(perSecond);
  }

  /** Intervals stretched since the start: to keep the rate, and to the shortest interval. */
  get stretched(): { readonly rate: number; readonly floor: number } {
    return { rate: this.#putOff, floor: this.#raised };
  }

  /** A run's interval was raised to the shortest one. */
  raised(): void {
    this.#raised += 1;
  }

  /** The run's logs are due `at`, unless that is fixed already; `undefined`: not at all. */
  schedule(key: string, at: number | undefined): void {
    if (at === undefined) this.cancel(key);
    else if (!this.#fixed.has(key) && !this.#due.has(key)) this.#wheel.schedule(key, at);
  }

  /** The run's logs are due `at`, whatever is scheduled afterwards. */
  fix(key: string, at: number): void {
    this.#due.delete(key);
    this.#fixed.add(key);
    this.#wheel.schedule(key, at);
  }

  cancel(key: string): void {
    this.#wheel.cancel(key);
    this.#fixed.delete(key);
    this.#due.delete(key);
  }

  /** The logs of this run are due and have not been asked for yet. */
  isDue(key: string): boolean {
    return this.#due.has(key);
  }

  /** The runs whose logs become due. */
  turn(now: number): readonly string[] {
    const keys = this.#wheel.turn(now);
    if (keys.length === 0) return NONE;
    return keys.filter((key) => {
      const at = this.#fixed.delete(key) ? now : this.#rate.reserve(now);
      if (at <= now) {
        this.#due.add(key);
        return true;
      }
      this.#putOff += 1;
      this.fix(key, at);
      return false;
    });
  }
}
