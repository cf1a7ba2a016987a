/**
 * What a worker and a triggerer cost at rest, the broker not counted: `node test/bench/idle.ts [--seconds 30]`.
 * Read from /proc, so on Linux only. One sample: a median of several would cost minutes.
 */
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { connect } from '../../src/client/index.ts';
import { aStage } from '../support/stage.ts';
import { aTarget, numbersAsked, reportOf, targetName } from './report.ts';
import { completions, warmUp } from './runs.ts';

/** Clock ticks per second in /proc, the same on every Linux that Node runs on. */
const TICKS = 100;
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

const cpuSeconds = async (pid: number): Promise<number> => {
  const stat = await readFile(`/proc/${String(pid)}/stat`, 'utf8');
  // The program's name stands in parentheses and may contain spaces; user and system time are fields 14 and 15.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
};
const rssBytes = async (pid: number): Promise<number> => {
  const status = await readFile(`/proc/${String(pid)}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
};

const before = await Promise.all(stage.roles.map(({ process: { pid } }) => cpuSeconds(pid)));
const startedAt = performance.now();
await delay(seconds * 1_000);
const tookSeconds = (performance.now() - startedAt) / 1_000;
let allBytes = 0;
let allCpu = 0;
for (const [
  n,
  {
    name: role,
    process: { pid },
  },
] of stage.roles.entries()) {
  const perTenMinutes = (((await cpuSeconds(pid)) - (before[n] ?? 0)) / tookSeconds) * 600;
  const bytes = await rssBytes(pid);
  allBytes += bytes;
  allCpu += perTenMinutes;
  report.say({ figure: `${role}: resident memory`, unit: 'MB', values: [bytes / 1e6] });
  report.say({ figure: `${role}: CPU in ten minutes`, unit: 's', values: [perTenMinutes] });
}
report.say({ figure: 'both: resident memory', unit: 'MB', values: [allBytes / 1e6], bar: 200 });
report.say({
  figure: 'both: CPU in ten minutes',
  unit: 's',
  values: [allCpu],
  bar: 12,
  more: { seconds: tookSeconds },
});
