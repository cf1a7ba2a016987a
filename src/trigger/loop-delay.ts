import { monitorEventLoopDelay } from 'node:perf_hooks';

/** Finer costs processor time at rest; coarser says less of a second. */
const RESOLUTION_MS = 20;

/** How long this process's event loop kept others waiting, in milliseconds beyond the measuring interval. */
export interface LoopDelay {
  readonly p50: number;
  readonly p99: number;
}

/** Measures until disposed; `read` tells of the time since it was last called. */
export function openLoopDelay(): Disposable & { read(): LoopDelay } {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  histogram.enable();
  const late = (nanoseconds: number): number =>
    Number.isNaN(nanoseconds) ? 0 : Math.max(0, Math.round(nanoseconds / 1e5) / 10 - RESOLUTION_MS);
  return {
    read() {
      const delay = { p50: late(histogram.percentile(50)), p99: late(histogram.percentile(99)) };
      histogram.reset();
      return delay;
    },
    [Symbol.dispose]() {
      histogram.disable();
    },
  };
}
