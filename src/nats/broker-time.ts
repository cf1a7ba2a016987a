import { pause } from './connection.ts';
import type { Link } from './link.ts';
import { streamInfo } from './inspection.ts';

const MEASURE_EVERY_MS = 30_000;
/** Also how often this machine's two clocks are compared. */
const LOOK_EVERY_MS = 2_000;
/** Clocks that part by more than this between two looks: one was set, or the machine was suspended. */
const PARTED_MS = 250;
/** An answer that took longer says too little of when it was stamped: it is asked for again, this often. */
const PROMPT_MS = 5;
const TRIES = 5;

/** The broker's clock, measured by its stamp on an answer and the middle of that answer's way. */
export interface BrokerTime {
  /** Epoch milliseconds. Goes on evenly while the local wall clock is set; a suspended machine is late until the next measurement, never early. */
  now(): number;
  /** What `now` adds to the local wall clock, in milliseconds. */
  offsetMs(): number;
}

/** The machine's clocks, both in milliseconds. */
export interface Clocks {
  /** Since the epoch; may be set. */
  readonly wall: () => number;
  /** Since some moment; only goes forward, evenly. */
  readonly steady: () => number;
}

const CLOCKS: Clocks = { wall: () => Date.now(), steady: () => performance.now() };

/**
 * Measures every 30 s, and at once when the wall clock has leapt, until `signal` aborts. Resolves after the first measurement, or
 * at once with the wall clock where that fails. Between measurements time is counted by the steady clock: a deadline must not
 * fire early because somebody set this machine's clock.
 */
export async function brokerTime(link: Link, signal: AbortSignal, clocks: Clocks = CLOCKS): Promise<BrokerTime> {
  const parting = () => clocks.wall() - clocks.steady();
  /** What is added to the steady clock. */
  let ahead = parting();
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
      link.log?.debug({ error: String(error) }, "broker's clock not measured");
    }
    if (best === undefined) return false;
    // A slow answer that does not contradict what is known says nothing new: believing it would only make time tremble.
    const agrees = !isFirst && Math.abs(best.ahead - ahead) <= best.tookMs / 2;
    if (best.tookMs <= PROMPT_MS || !agrees) ({ ahead } = best);
    isFirst = false;
    return true;
  };
  let isMeasured = await measure();
  const repeat = async () => {
    let measuredAt = clocks.steady();
    let parted = parting();
    while (!signal.aborted) {
      await pause(LOOK_EVERY_MS, signal);
      if (link.nc.isClosed()) return;
      const leapMs = parting() - parted;
      if (Math.abs(leapMs) > PARTED_MS) {
        link.log?.warn({ leapMs: Math.round(leapMs) }, "this machine's clock was set, or the machine was suspended");
        isMeasured = false;
      }
      parted += leapMs;
      if (isMeasured && clocks.steady() - measuredAt < MEASURE_EVERY_MS) continue;
      isMeasured = await measure();
      measuredAt = clocks.steady();
    }
  };
  void repeat();
  const now = () => Math.round(clocks.steady() + ahead);
  return { now, offsetMs: () => now() - clocks.wall() };
}
