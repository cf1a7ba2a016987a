import { defer, finalize, interval, map, type Observable } from 'rxjs';
import { monitorEventLoopDelay } from 'node:perf_hooks';

/** Finer costs processor time at rest; coarser shows less of a second. */
const RESOLUTION_MS = 20;

/** How late this process's event loop was, milliseconds beyond the resolution of the measurement. */
export interface LoopDelay {
  readonly p50: number;
  readonly p99: number;
}

/** The event loop's delay in the time since the last value, every `everyMs`. Never ends. */
export function loopDelay$(everyMs: number): Observable<LoopDelay> {
  return defer(() => {
    const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
    histogram.enable();
    const late = (nanoseconds: number): number =>
      Number.isNaN(nanoseconds) ? 0 : Math.max(0, Math.round(nanoseconds / 1e5) / 10 - RESOLUTION_MS);
    return interval(everyMs).pipe(
      map(() => {
        const delay = { p50: late(histogram.percentile(50)), p99: late(histogram.percentile(99)) };
        histogram.reset();
        return delay;
      }),
      finalize(() => {
        histogram.disable();
      }),
    );
  });
}
