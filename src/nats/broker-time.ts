import { pause } from './connection.ts';
import type { Link } from './link.ts';
import { streamInfo } from './stream-info.ts';

const MEASURE_EVERY_MS = 30_000;
const RETRY_MS = 2_000;

/** The broker's clock, measured by its stamp on an answer and the middle of that answer's way; renewed every 30 s. */
export interface BrokerTime {
  /** Epoch milliseconds. */
  now(): number;
  /** What `now` adds to the local clock, in milliseconds. */
  offsetMs(): number;
}

/** Measures until `signal` aborts. Resolves after the first measurement, or at once with offset 0 where that fails. */
export async function brokerTime(link: Link, signal: AbortSignal): Promise<BrokerTime> {
  let offset = 0;
  const measure = async () => {
    try {
      const sentAt = Date.now();
      const { serverTimeMs } = await streamInfo(link, link.assets.runs);
      const receivedAt = Date.now();
      offset = Math.round(serverTimeMs - (sentAt + receivedAt) / 2);
      return true;
    } catch (error) {
      link.log?.debug({ error: String(error) }, "broker's clock not measured");
      return false;
    }
  };
  let measured = await measure();
  const repeat = async () => {
    while (!signal.aborted) {
      await pause(measured ? MEASURE_EVERY_MS : RETRY_MS, signal);
      if (link.nc.isClosed()) return;
      measured = await measure();
    }
  };
  void repeat();
  return { now: () => Date.now() + offset, offsetMs: () => offset };
}
