/**
 * What a worker and a triggerer cost at rest, the broker not counted: `node test/bench/idle.ts [--seconds 30]`; in one process (`reentry serve`),
 * and in a process each. Read from /proc, so on Linux only. One sample: a median of several would cost minutes.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { connect } from '../../src/client/index.ts';
import { startInstallation, type RoleName } from '../support/running-installation.ts';
import { cpuSeconds, memoryMb, privateMb } from './observer.ts';
import { aTarget, numberFlags, reportOf, targetName } from './report.ts';
import { completions, warmUp } from './runs.ts';

/** Compilation and garbage collection after the warm-up are over by then. */
const SETTLE_MS = 5_000;
const MEMORY_BAR_MB = 200;
const CPU_BAR_SECONDS = 12;

const { seconds } = numberFlags({ seconds: 30 });
await using target = await aTarget();
using report = reportOf('idle', targetName());

/** Starts the roles, lets them do one run, and measures them at rest. */
async function measure(label: string, names: readonly RoleName[], barred: boolean): Promise<void> {
  await using installation = await startInstallation(target, { workers: 0, triggerers: 0 });
  for (const name of names) installation.start(name);
  await using client = await connect({ servers: installation.nats.url });
  await warmUp(client, target, installation, completions(installation));
  await delay(SETTLE_MS);

  const pids = installation.roles.map(({ process: { pid } }) => pid);
  const before = await Promise.all(pids.map(cpuSeconds));
  const startedAt = performance.now();
  await delay(seconds * 1_000);
  const tookSeconds = (performance.now() - startedAt) / 1_000;
  const after = await Promise.all(pids.map(cpuSeconds));
  const perTenMinutes = after.map((used, n) => ((used - (before[n] ?? 0)) / tookSeconds) * 600);
  const resident = await Promise.all(pids.map((pid) => memoryMb(pid)));
  const own = await Promise.all(pids.map(privateMb));
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

  const add = (figure: string, unit: string, value: number, bar?: number): void => {
    report.add({ figure: `${label}: ${figure}`, unit, values: [value], ...(bar === undefined ? {} : { bar }) });
  };
  if (names.length > 1)
    for (const [n, name] of names.entries()) {
      add(`resident memory of the ${name}`, 'MB', resident[n] ?? Number.NaN);
      add(`CPU in ten minutes of the ${name}`, 's', perTenMinutes[n] ?? Number.NaN);
    }
  add('resident memory', 'MB', sum(resident), barred ? MEMORY_BAR_MB : undefined);
  // The program's text is mapped once, however many processes run it.
  add('private memory', 'MB', sum(own));
  add('CPU in ten minutes', 's', sum(perTenMinutes), CPU_BAR_SECONDS);
}

await measure('one process for both', ['serve'], true);
await measure('a process each', ['worker', 'triggerer'], false);
