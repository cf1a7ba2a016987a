/** Clock and log of the library's classes where the embedding program passes none. */
import { firstValueFrom, timer } from 'rxjs';
import type { Log } from '../ports/ambient.ts';

/** Time, for those who wait in a loop. */
export interface Clock {
  /** Epoch milliseconds. */
  now(): number;
  sleep(ms: number): Promise<void>;
}

/** The machine's own time. */
export const SYSTEM_CLOCK: Clock = {
  now: () => Date.now(),
  async sleep(ms) {
    await firstValueFrom(timer(ms), { defaultValue: 0 });
  },
};

/** A log that nobody reads. */
export const SILENT_LOG: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => SILENT_LOG,
};
