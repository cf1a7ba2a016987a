/** The broker's clock, as this process measures it. */
import { sleep } from './connection.ts';
import { streamInfo } from './inspection.ts';
import type { Link } from './link.ts';

const MEASURE_EVERY_MS = 30_000;
/** Interval at which this machine's two clocks are compared. */
const COMPARE_EVERY_MS = 2_000;
/** Clocks that drift apart by more than this between two comparisons: one was set, or the machine was suspended. */
const LEAP_MS = 250;
/** A slower answer leaves too much doubt about when it was stamped: it is requested again, up to `TRIES` times. */
const PROMPT_MS = 5;
const TRIES = 5;

/** The broker's clock: its time stamp on an answer, set against the middle of that answer's round trip. */
export interface BrokerTime {
  /** Epoch milliseconds. Unaffected when the local wall clock is set. After a suspension it is late until the next measurement, never early. */
  now(): number;
  /** Broker time less local wall clock, in milliseconds. */
  offsetMs(): number;
}

/** The machine's clocks, both in milliseconds. */
export interface Clocks {
  /** Since the epoch; may be set. */
  readonly wall: () => number;
  /** Since an arbitrary moment; monotonic. */
  readonly steady: () => number;
}

const CLOCKS: Clocks = { wall: () => Date.now(), steady: () => performance.now() };

/**
 * Measures every 30 s, and at once when the wall clock was set, until `signal` aborts. Resolves after the first measurement, or with the
 * wall clock where that fails. Between measurements the monotonic clock counts: a deadline must not fire early because this
 * machine's clock was set.
 */
export async function brokerTime(link: Link, signal: AbortSignal, clocks: Clocks = CLOCKS): Promise<BrokerTime> {
  const difference = () => clocks.wall() - clocks.steady();
  /** Broker time less monotonic clock. */
  let ahead = difference();
  let isFirst = true;
  const measure = async () => {
    let best: { readonly tookMs: number; readonly ahead: number } | undefined;
    try {
      for (let n = 0; n < TRIES && (best === undefined || best.tookMs > PROMPT_MS); n += 1) {
        const sentAt = clocks.steady();
        const { serverTimeMs } = await streamInfo(link, link.assets.runs);
        const receivedAt = clocks.steady();
        const tookMs = receivedAt - sentAt;
        if (best === undefined || tookMs < best.tookMs)
          best = { tookMs, ahead: serverTimeMs - (sentAt + receivedAt) / 2 };
      }
    } catch (error) {
      link.log?.debug({ error: String(error) }, "measuring the broker's clock failed");
    }
    if (best === undefined) return false;
    // A slow answer that agrees with what is known adds nothing: adopting it would only add jitter.
    const agrees = !isFirst && Math.abs(best.ahead - ahead) <= best.tookMs / 2;
    if (best.tookMs <= PROMPT_MS || !agrees) ({ ahead } = best);
    isFirst = false;
    return true;
  };
  let isMeasured = await measure();
  const repeat = async () => {
    let measuredAt = clocks.steady();
    let last = difference();
    while (!signal.aborted) {
      await sleep(COMPARE_EVERY_MS, signal);
      if (link.nc.isClosed()) return;
      const leapMs = difference() - last;
      if (Math.abs(leapMs) > LEAP_MS) {
        link.log?.warn({ leapMs: Math.round(leapMs) }, "this machine's clock was set, or the machine was suspended");
        isMeasured = false;
      }
      last += leapMs;
      if (isMeasured && clocks.steady() - measuredAt < MEASURE_EVERY_MS) continue;
      isMeasured = await measure();
      measuredAt = clocks.steady();
    }
  };
  void repeat();
  const now = () => Math.round(clocks.steady() + ahead);
  return { now, offsetMs: () => now() - clocks.wall() };
}
