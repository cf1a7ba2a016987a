/** Clock and log of the library's classes when the embedding program passes none. */
import { firstValueFrom, timer } from 'rxjs';
import type { Log } from '../ports/ambient.ts';

/** The time source of loops that poll. */
export interface Clock {
  /** Epoch milliseconds. */
  now(): number;
  sleep(ms: number): Promise<void>;
}

/** System time. */
export const SYSTEM_CLOCK: Clock = {
  now: () => Date.now(),
  async sleep(ms) {
    await firstValueFrom(timer(ms), { defaultValue: 0 });
  },
};

/** Discards every log line. */
export const SILENT_LOG: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => SILENT_LOG,
};
