/**
 * All pods end at once: `node test/bench/storm.ts [--runs 1] [--waiting 10000]`. On the local cluster the watches stand still while the ends
 * are written, and tell them all in one burst; a real API server takes as many ends as it can.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { aField } from './field.ts';
import { memoryMb } from './observer.ts';
import { benchFlags, reportOf, targetName } from './report.ts';
import { pipelined, until } from './runs.ts';
import { endPod } from './waiting-runs.ts';

const asked = benchFlags({ waiting: 10_000 });
const samples = (): number[] => [];
const kept = { endsMs: samples(), lastMs: samples(), memory: samples(), before: samples(), loop: samples() };
using report = reportOf('storm', targetName());
for (let round = 0; round < asked.runs; round += 1) {
  await using field = await aField({ workers: 1, triggerers: 1, waiting: asked.waiting });
  const { installation, api, beats, done, target } = field;
  const triggerer = installation.roles.find(({ name }) => name === 'triggerer')?.process.pid ?? -1;
  await delay(2_000);
  kept.before.push(await memoryMb(triggerer));
  beats.worstLoopDelayMs();
  const chosen = field.take(asked.waiting);
  target.faults?.order({ fault: 'freezeWatches', ms: 600_000 });
  const begunAt = Date.now();
  await pipelined(chosen.length, 64, async (n) => {
    await endPod(installation, api, chosen[n]?.pod ?? '');
  });
  const endedAt = Date.now();
  target.faults?.order({ fault: 'clear' });
  const stormAt = target.faults === undefined ? begunAt : endedAt;
  kept.endsMs.push(target.faults === undefined ? endedAt - begunAt : 0);
  await until('the last resumption', () => chosen.every(({ runId }) => done.has(runId)));
  const resumed = chosen.map(({ runId }) => Date.parse(done.get(runId)?.timings['resumedAt'] ?? ''));
  kept.lastMs.push(Math.max(...resumed) - stormAt);
  kept.memory.push(await memoryMb(triggerer, 'VmHWM'));
  kept.loop.push(beats.worstLoopDelayMs());
}
const more = { waiting: asked.waiting };
report.say({ figure: 'first end → last end told to the watch', unit: 'ms', values: kept.endsMs, more });
report.say({ figure: 'storm → last resumption', unit: 'ms', values: kept.lastMs, more });
report.say({ figure: 'triggerer: memory before', unit: 'MB', values: kept.before, more });
report.say({ figure: 'triggerer: peak memory', unit: 'MB', values: kept.memory, bar: 512, more });
report.say({ figure: 'triggerer: worst p99 of a second of its event loop delay', unit: 'ms', values: kept.loop, more });
