/**
 * What a worker and a triggerer cost at rest, the broker not counted: `node test/bench/idle.ts [--seconds 30]`.
 * Read from /proc, so on Linux only. One sample: a median of several would cost minutes.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { connect } from '../../src/client/index.ts';
import { aStage } from '../support/stage.ts';
import { aTarget, numbersAsked, reportOf, targetName } from './report.ts';
import { cpuSeconds, memoryMb, privateMb } from './observer.ts';
import { completions, warmUp } from './runs.ts';

/** Compilation and the first garbage of the warm-up are over by then. */
const SETTLE_MS = 5_000;

const { seconds } = numbersAsked({ seconds: 30 });
const name = targetName();
await using target = await aTarget();
await using stage = await aStage(target, { workers: 1, triggerers: 1 });
await using client = await connect({ servers: stage.nats.url });
using report = reportOf('idle', name);
await warmUp(client, target, stage, completions(stage));
await delay(SETTLE_MS);

const before = await Promise.all(stage.roles.map(({ process: { pid } }) => cpuSeconds(pid)));
const startedAt = performance.now();
await delay(seconds * 1_000);
const tookSeconds = (performance.now() - startedAt) / 1_000;
let allMb = 0;
let privateAll = 0;
let allCpu = 0;
for (const [
  n,
  {
    name: role,
    process: { pid },
  },
] of stage.roles.entries()) {
  const perTenMinutes = (((await cpuSeconds(pid)) - (before[n] ?? 0)) / tookSeconds) * 600;
  const resident = await memoryMb(pid);
  allMb += resident;
  privateAll += await privateMb(pid);
  allCpu += perTenMinutes;
  report.say({ figure: `${role}: resident memory`, unit: 'MB', values: [resident] });
  report.say({ figure: `${role}: CPU in ten minutes`, unit: 's', values: [perTenMinutes] });
}
report.say({ figure: 'both: resident memory', unit: 'MB', values: [allMb], bar: 200 });
report.say({
  figure: 'both: memory of their own (the program itself is mapped once)',
  unit: 'MB',
  values: [privateAll],
});
report.say({
  figure: 'both: CPU in ten minutes',
  unit: 's',
  values: [allCpu],
  bar: 12,
  more: { seconds: tookSeconds },
});
