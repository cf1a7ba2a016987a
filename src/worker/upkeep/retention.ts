/** Forgets runs that ended long enough ago: state, request and what may be left of the subscription. */
import { isTerminal } from '../../core/run/transitions.ts';
import type { RunKey } from '../../wire/subjects.ts';
import type { BrokerParts } from '../protocol/engine.ts';

/** Maximum runs examined per pass. */
const MAX_EXAMINED = 10_000;
/** Stop after this many consecutive runs inside retention; more than 1 because clocks of workers differ. */
const YOUNG_ENOUGH = 10;

/** Goes through the states in the order of the stream. A state's last write is its end, so runs stand in the order of their ends. */
export class Retention {
  readonly #broker: BrokerParts<'runs' | 'requests' | 'subscriptions'>['broker'];
  readonly #retentionMs: number;
  /** Ended runs up to this stream sequence have been forgotten. */
  #past = 0;

  constructor({ broker }: BrokerParts<'runs' | 'requests' | 'subscriptions'>, retentionMs: number) {
    this.#broker = broker;
    this.#retentionMs = retentionMs;
  }

  /** Starts from the beginning of the stream again. */
  restart(): void {
    this.#past = 0;
  }

  /** Forgets what is due at `now`. `attempt` runs a deletion and resolves with whether it succeeded; a failed one is met again. */
  async sweep(now: number, attempt: (run: RunKey, act: () => Promise<void>) => Promise<boolean>): Promise<void> {
    const { runs, requests, subscriptions } = this.#broker;
    let past = this.#past;
    let firstKept: number | undefined;
    let young = 0;
    for (let examined = 0; examined < MAX_EXAMINED && young < YOUNG_ENOUGH; examined += 1) {
      const [entry] = (await runs.list({ limit: 1, after: past })).runs;
      if (entry === undefined) break;
      const { value, revision, ...run } = entry;
      if (isTerminal(value.phase)) {
        const isDue = (value.timings.completedAt ?? now) + this.#retentionMs <= now;
        if (!isDue) young += 1;
        const isGone =
          isDue &&
          (await attempt(run, async () => {
            await subscriptions.delete(run);
            await requests.delete(run);
            await runs.delete(run, revision);
          }));
        if (!isGone) firstKept ??= past;
      }
      past = revision;
    }
    this.#past = firstKept ?? past;
  }
}
