/**
 * What runs cost while they wait, on one triggerer: `node test/bench/waiting.ts [--runs 1] [--waiting 0] [--seconds 20]`;
 * waiting 0: 1,000 and 10,000, and 50,000 as well on the local cluster. The reference, at 1,000: a poller as in Airflow, one GET per pod every 2 s.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { startScript } from '../support/processes.ts';
import { openApi, openCountingProxy, grown } from './api.ts';
import { startFixture } from './fixture.ts';
import { cpuSeconds, memoryMb } from './observer.ts';
import { benchFlags, reportOf, targetName } from './report.ts';

const flags = benchFlags({ waiting: 0, seconds: 20 });
const name = targetName();
const isLocal = name === 'the local cluster';
const sizes = flags.waiting > 0 ? [flags.waiting] : [1_000, 10_000, ...(isLocal ? [50_000] : [])];
using report = reportOf('waiting', name);
/** Garbage of the seeding is collected by then. */
const SETTLE_MS = 5_000;

for (const waiting of sizes) {
  // Only the triggerer uses the proxy; the bench's own requests do not.
  await using proxy = await openCountingProxy((kubeconfig) => openApi(kubeconfig));
  await using fixture = await startFixture({ workers: 0, triggerers: 1, waiting, proxy });
  const pid = fixture.installation.roles[0]?.process.pid ?? -1;
  await delay(SETTLE_MS);
  const cost = async (of: number): Promise<number> => {
    const before = await cpuSeconds(of);
    const startedAt = performance.now();
    await delay(flags.seconds * 1_000);
    return ((await cpuSeconds(of)) - before) / ((performance.now() - startedAt) / 600_000);
  };
  const cpu: number[] = [];
  const rss: number[] = [];
  const calls = proxy.calls();
  for (let round = 0; round < flags.runs; round += 1) {
    cpu.push(await cost(pid));
    rss.push(await memoryMb(pid));
  }
  const more = [...grown(calls, proxy.calls())];
  const beyond = more.filter(([what]) => !what.endsWith('(watch)')).reduce((sum, [, count]) => sum + count, 0);
  const label = `${String(waiting)} waiting`;
  report.add({
    figure: `${label}: resident memory`,
    unit: 'MB',
    values: rss,
    ...(waiting === 50_000 ? { bar: 512 } : {}),
  });
  report.add({ figure: `${label}: CPU in ten minutes at rest`, unit: 's', values: cpu });
  report.add({
    figure: `${label}: API requests beyond the watches`,
    unit: '',
    values: [beyond],
    bar: 0,
    more: { calls: more },
  });
  if (waiting !== 1_000) continue;

  const { installation, target } = fixture;
  const args = [target.kubeconfig, installation.namespace, `w-`, String(waiting)];
  await using poller = startScript(new URL('poller.ts', import.meta.url), args);
  await delay(SETTLE_MS);
  const pollerCpu: number[] = [];
  const pollerRss: number[] = [];
  for (let round = 0; round < flags.runs; round += 1) {
    pollerCpu.push(await cost(poller.pid));
    pollerRss.push(await memoryMb(poller.pid));
  }
  const polls = Number(poller.stdout().trim().split('\n').at(-1) ?? 0);
  report.add({
    figure: `reference, a poller of ${String(waiting)} pods: resident memory`,
    unit: 'MB',
    values: pollerRss,
  });
  report.add({
    figure: `reference, a poller of ${String(waiting)} pods: CPU in ten minutes`,
    unit: 's',
    values: pollerCpu,
  });
  report.add({
    figure: `reference, a poller of ${String(waiting)} pods: API requests`,
    unit: 'per second',
    values: [polls],
  });
  report.add({
    figure: `ratio of a poller's CPU to the triggerer's, ${label}`,
    unit: 'times',
    values: pollerCpu.map((value, round) => value / Math.max(0.01, cpu[round] ?? Number.NaN)),
    bar: 10,
    atLeast: true,
  });
}
