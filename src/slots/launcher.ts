/** Limits an executor's pod creations in flight to what the API server can take, first come first served. */
import { KubernetesError } from '../errors.ts';
import type { Meter } from '../ports/ambient.ts';
import type { Answered, AimdSettings, AimdState } from './aimd.ts';
import { afterAnswer, initialAimd, roomNow } from './aimd.ts';

/** The limit before the first answers. */
const INITIAL_IN_FLIGHT = 16;

/** Settings of a launcher. */
export interface LauncherOptions {
  /** Most creations in flight. */
  readonly maxInFlight: number;
  readonly meter?: Meter;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
}

/** A launcher's present state. */
export interface LauncherState {
  readonly inFlight: number;
  readonly waiting: number;
  readonly limit: number;
}

/** Runs creations in turn; one for all runs of a process. */
export class Launcher {
  readonly #settings: AimdSettings;
  readonly #meter: Meter | undefined;
  readonly #now: () => number;
  #aimd: AimdState;
  #inFlight = 0;
  /** In order of arrival; no more than the start lane's credits. */
  readonly #waiting: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor({ maxInFlight, meter, now = () => performance.now() }: LauncherOptions) {
    this.#settings = { initial: Math.min(INITIAL_IN_FLIGHT, maxInFlight), max: maxInFlight };
    this.#aimd = initialAimd(this.#settings);
    this.#meter = meter;
    this.#now = now;
  }

  get state(): LauncherState {
    return { inFlight: this.#inFlight, waiting: this.#waiting.length, limit: Math.floor(this.#aimd.limit) };
  }

  /** Runs `create` when its turn has come. Its error is rethrown, and counts as an answer of the server. */
  async run<T>(create: () => Promise<T>): Promise<T> {
    await this.#turn();
    const sentAt = this.#now();
    try {
      const made = await create();
      this.#ended({ kind: 'answered' }, sentAt, '200');
      return made;
    } catch (error) {
      this.#ended(answerOf(error), sentAt, statusOf(error));
      throw error;
    }
  }

  #turn(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#next();
    });
  }

  #next(): void {
    const { room, askAgainAt } = roomNow(this.#aimd, this.#inFlight, this.#now());
    if (askAgainAt !== undefined && this.#waiting.length > 0 && this.#timer === undefined) {
      this.#timer = setTimeout(
        () => {
          this.#timer = undefined;
          this.#next();
        },
        Math.max(1, Math.ceil(askAgainAt - this.#now())),
      );
    }
    for (const turn of this.#waiting.splice(0, room)) {
      this.#inFlight += 1;
      turn();
    }
  }

  #ended(answer: Answered, sentAt: number, status: string): void {
    const now = this.#now();
    this.#aimd = afterAnswer(this.#aimd, answer, { sentAt, now, inFlight: this.#inFlight }, this.#settings);
    this.#inFlight -= 1;
    this.#meter?.observeSeconds('executor_pod_creation_duration_seconds', (now - sentAt) / 1000);
    this.#meter?.count('executor_pod_creations_total', { status });
    this.#meter?.gauge('executor_launch_limit', Math.floor(this.#aimd.limit));
    this.#next();
  }
}

function answerOf(error: unknown): Answered {
  if (!(error instanceof KubernetesError)) return { kind: 'answered' };
  const { fault, retryAfterMs } = error;
  if (fault === 'throttled') return { kind: 'throttled', retryAfterMs };
  if (fault !== 'unavailable' && fault !== 'unknownOutcome') return { kind: 'answered' };
  return retryAfterMs === undefined ? { kind: 'unavailable' } : { kind: 'throttled', retryAfterMs };
}

/** Label of the creation counter: an HTTP status, or `error` where there was none. */
function statusOf(error: unknown): string {
  return error instanceof KubernetesError && error.status > 0 ? String(error.status) : 'error';
}
