/**
 * All pods end at once: `node test/bench/storm.ts [--runs 1] [--waiting 10000]`. On the local cluster the watches are frozen while the ends
 * are written, and send them all in one burst; a real API server sends them as they are written.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { startFixture } from './fixture.ts';
import { memoryMb } from './observer.ts';
import { benchFlags, reportOf, targetName } from './report.ts';
import { pipelined, until } from './runs.ts';
import { endPod } from './waiting-runs.ts';

const flags = benchFlags({ waiting: 10_000 });
const none = (): number[] => [];
const samples = { endsMs: none(), lastMs: none(), memory: none(), before: none(), loop: none() };
using report = reportOf('storm', targetName());
for (let round = 0; round < flags.runs; round += 1) {
  await using fixture = await startFixture({ workers: 1, triggerers: 1, waiting: flags.waiting });
  const { installation, api, heartbeats, done, target } = fixture;
  const triggerer = installation.roles.find(({ name }) => name === 'triggerer')?.process.pid ?? -1;
  await delay(2_000);
  samples.before.push(await memoryMb(triggerer));
  heartbeats.worstLoopDelayMs();
  const chosen = fixture.take(flags.waiting);
  target.faults?.order({ fault: 'freezeWatches', ms: 600_000 });
  const begunAt = Date.now();
  await pipelined(chosen.length, 64, async (n) => {
    await endPod(installation, api, chosen[n]?.pod ?? '');
  });
  const endedAt = Date.now();
  target.faults?.order({ fault: 'clear' });
  const stormAt = target.faults === undefined ? begunAt : endedAt;
  samples.endsMs.push(target.faults === undefined ? endedAt - begunAt : 0);
  await until('the last resumption', () => chosen.every(({ runId }) => done.has(runId)));
  const resumed = chosen.map(({ runId }) => Date.parse(done.get(runId)?.timings['resumedAt'] ?? ''));
  samples.lastMs.push(Math.max(...resumed) - stormAt);
  samples.memory.push(await memoryMb(triggerer, 'VmHWM'));
  samples.loop.push(heartbeats.worstLoopDelayMs());
}
const more = { waiting: flags.waiting };
report.add({ figure: 'first pod end → last pod end sent to the watch', unit: 'ms', values: samples.endsMs, more });
report.add({ figure: 'storm → last run resumed', unit: 'ms', values: samples.lastMs, more });
report.add({ figure: 'triggerer: memory before', unit: 'MB', values: samples.before, more });
report.add({ figure: 'triggerer: peak memory', unit: 'MB', values: samples.memory, bar: 512, more });
report.add({ figure: 'triggerer: event loop delay, worst p99 of a second', unit: 'ms', values: samples.loop, more });
