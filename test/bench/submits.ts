/**
 * Run requests acknowledged per second, and what a run stores: `node test/bench/submits.ts [--runs 5] [--requests 5000] [--count 100]`.
 * At full rate, 64 at a time, and at a steady 5,000 per second (open loop). The reference, in the same run: the NATS library alone publishes the
 * same bytes to its own stream.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { connect } from '../../src/client/index.ts';
import { assetsUnder, DEFAULT_ASSET_PREFIX } from '../../src/wire/streams.ts';
import { startInstallation } from '../support/running-installation.ts';
import { aTarget, numberFlags, percentile, reportOf, targetName } from './report.ts';
import { completions, onePodRequest, pipelined, podsLeft, submitAll, until, warmUp } from './runs.ts';

const WIDTH = 64;
/** Requests per second of the steady part, and the interval in which they are sent, in milliseconds. */
const STEADY = 5_000;
const TICK_MS = 5;
const { runs: rounds, requests, count } = numberFlags({ runs: 5, requests: 5_000, count: 100 });
const name = targetName();
await using target = await aTarget();
await using installation = await startInstallation(target, { workers: 0, triggerers: 0 });
await using client = await connect({ servers: installation.nats.url });
using report = reportOf('submits', name);
const assets = assetsUnder(DEFAULT_ASSET_PREFIX);
const jsm = await installation.connection.nc.jetstreamManager();
const js = installation.connection.nc.jetstream();
const request = onePodRequest(target, installation, { runForSeconds: 1 });
const payload = JSON.stringify(request);
await jsm.streams.add({ name: 'BENCH', subjects: ['bench.>'] });

const ours: number[] = [];
const raw: number[] = [];
const p99: number[] = [];
const rawP99: number[] = [];
const measured = async (work: () => Promise<readonly number[]>, rates: number[], tails: number[]): Promise<void> => {
  const startedAt = performance.now();
  const tookMs = await work();
  rates.push((requests / (performance.now() - startedAt)) * 1_000);
  tails.push(percentile(tookMs, 99));
};
/** Sends requests at a steady rate without waiting for answers; returns the milliseconds each took. */
async function steadily(ask: (n: number) => Promise<unknown>): Promise<readonly number[]> {
  const sent: Promise<number>[] = [];
  const timed = async (n: number): Promise<number> => {
    const sentAt = performance.now();
    await ask(n);
    return performance.now() - sentAt;
  };
  const begunAt = performance.now();
  while (sent.length < requests) {
    const due = Math.min(requests, Math.ceil(((performance.now() - begunAt) / 1_000) * STEADY));
    while (sent.length < due) sent.push(timed(sent.length));
    await delay(TICK_MS);
  }
  return await Promise.all(sent);
}
const steady: number[] = [];
const rawSteady: number[] = [];
await submitAll(client, request, { prefix: 'warm', count: 500, width: WIDTH });
for (let round = 0; round < rounds; round += 1) {
  await measured(
    () =>
      pipelined(requests, WIDTH, async (n) => {
        const run = `raw-${String(round)}-${String(n)}`;
        await js.publish(`bench.${run}`, payload, { msgID: run });
      }),
    raw,
    rawP99,
  );
  const prefix = `submit-${String(round)}`;
  await measured(() => submitAll(client, request, { prefix, count: requests, width: WIDTH }), ours, p99);
  const took = await steadily((n) =>
    client.submit(request, { runId: `steady-${String(round)}-${String(n)}`, checked: false }),
  );
  steady.push(percentile(took, 99));
  const rawTook = await steadily((n) => js.publish(`bench.steady-${String(round)}-${String(n)}`, payload));
  rawSteady.push(percentile(rawTook, 99));
}
const stored = (await jsm.streams.info(assets.runs)).state.messages;
if (stored !== 2 * rounds * requests + 500) throw new Error(`${String(stored)} requests are stored`);
await jsm.streams.purge(assets.runs);
report.add({ figure: 'requests acknowledged', unit: 'per second', values: ours, bar: 5_000, atLeast: true });
report.add({ figure: 'acknowledgement at 5000 per second, p99', unit: 'ms', values: steady, bar: 10 });
report.add({ figure: 'reference: acknowledgement to the NATS library, p99', unit: 'ms', values: rawSteady });
report.add({ figure: 'acknowledgement at full rate, p99', unit: 'ms', values: p99 });
report.add({ figure: 'reference: NATS library at full rate', unit: 'per second', values: raw });
report.add({ figure: 'reference: NATS library at full rate, p99', unit: 'ms', values: rawP99 });
const ratios = ours.map((value, round) => value / (raw[round] ?? Number.NaN));
report.add({ figure: 'ratio to reference', unit: 'times', values: ratios });

installation.start('worker');
installation.start('triggerer');
const done = completions(installation);
await warmUp(client, target, installation, done);

const sequences = async (): Promise<Map<string, number>> => {
  const streams = await jsm.streams.list(`>`).next();
  const own = streams.filter(({ config }) => config.name.includes(DEFAULT_ASSET_PREFIX));
  return new Map(own.map(({ config, state }) => [config.name, state.last_seq]));
};
const writes: number[] = [];
let parts: Record<string, number> = {};
for (let round = 0; round < Math.min(rounds, 3); round += 1) {
  const before = await sequences();
  const doneBefore = done.size;
  await submitAll(client, request, { prefix: `stored-${String(round)}`, count });
  await until('the end of all runs', () => done.size === doneBefore + count);
  await until('the end of all pods', async () => (await podsLeft(target, installation)) === 0);
  const after = await sequences();
  parts = Object.fromEntries([...after].map(([stream, last]) => [stream, (last - (before.get(stream) ?? 0)) / count]));
  writes.push(Object.values(parts).reduce((sum, part) => sum + part, 0));
}
report.add({ figure: 'stored writes per run', unit: 'messages', values: writes, more: { parts, count } });
