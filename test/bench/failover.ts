/**
 * Triggerers die, freeze and are replaced while pods end: `node test/bench/failover.ts [--runs 1] [--waiting 10000] [--triggerers 3] [--rate 30]`.
 * Longest time from a pod's end to the resumed run; no run may be lost or resumed twice. Then from 1 to 6 triggerers and back. A timeline goes to stderr.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { ReentryProcess } from '../support/processes.ts';
import { startFixture } from './fixture.ts';
import { claimsOf, completedTwice, stepsTaken } from './observer.ts';
import { benchFlags, percentile, reportOf, targetName } from './report.ts';
import { until } from './runs.ts';
import { endAll } from './waiting-runs.ts';

const flags = benchFlags({ waiting: 10_000, triggerers: 3, rate: 30 });
/** How long pods end around each disruption. */
const SECONDS = { kill: 8, freeze: 16, rolling: 15, scale: 24 };
const ends = Object.values(SECONDS).reduce((sum, seconds) => sum + seconds * flags.rate, 0);
await using fixture = await startFixture({
  workers: 1,
  triggerers: flags.triggerers,
  waiting: flags.waiting + flags.runs * ends,
});
const { installation, api, heartbeats, done } = fixture;
using report = reportOf('failover', targetName());
await using steps = await stepsTaken(installation);
await using claims = await claimsOf(installation);

const startedAt = performance.now();
const note = (what: string): void => {
  const owners = [...heartbeats.latest.values()]
    .filter(({ at }) => Date.now() - at < 2_000)
    .map(({ shards }) => shards);
  process.stderr.write(
    `${((performance.now() - startedAt) / 1_000).toFixed(1).padStart(7)} s  ${what}  shards: ${owners.join(' + ')}\n`,
  );
};
const living = (): ReentryProcess[] =>
  installation.roles
    .filter(
      ({ name, process: { child } }) => name === 'triggerer' && child.exitCode === null && child.signalCode === null,
    )
    .map((role) => role.process);
const settled = async (count: number): Promise<void> => {
  await until(`${String(count)} triggerers sharing all shards`, () => {
    const fresh = [...heartbeats.latest.values()].filter(({ at, draining }) => !draining && Date.now() - at < 1_500);
    return (
      fresh.length === count &&
      fresh.every(({ shards, problems = [] }) => shards > 0 && problems.length === 0) &&
      fresh.reduce((sum, { shards }) => sum + shards, 0) === 256
    );
  });
};
let lost = 0;
/** How long the API took to store each pod end, in milliseconds. */
const apiWaits: number[] = [];
/** Ends pods at the rate during `disruption`; returns the times from pod end to resumption, in milliseconds. */
async function through(seconds: number, disruption: () => Promise<void>): Promise<readonly number[]> {
  const chosen = fixture.take(seconds * flags.rate);
  // Counted from when the API has stored the end: six triggerers that list ten thousand pods at once slow the server itself down.
  const storedAt = new Map<string, number>();
  const ending = endAll(installation, api, chosen, flags.rate, ({ runId }) => storedAt.set(runId, Date.now()));
  await delay(1_000);
  await disruption();
  const requestedAt = await ending;
  apiWaits.push(...chosen.map(({ runId }) => (storedAt.get(runId) ?? 0) - (requestedAt.get(runId) ?? 0)));
  lost += await fixture.unfinished(chosen);
  const waits = chosen.map(({ runId, shard }) => {
    const at = storedAt.get(runId) ?? Number.NaN;
    const resumedAt = Date.parse(done.get(runId)?.timings['resumedAt'] ?? '');
    return { at, shard, ms: Math.max(0, resumedAt - at) };
  });
  const worst = waits.toSorted((a, b) => b.ms - a.ms)[0];
  if (worst !== undefined)
    note(
      `the longest wait was ${String(worst.ms)} ms, of an end stored ${((Date.now() - worst.at) / 1_000).toFixed(1)} s ago`,
    );
  return waits.map(({ ms }) => ms);
}
const figures = new Map<string, number[]>();
const record = (figure: string, value: number): void => {
  figures.set(figure, [...(figures.get(figure) ?? []), value]);
};

for (let round = 0; round < flags.runs; round += 1) {
  await settled(flags.triggerers);
  const calm = await through(SECONDS.kill, async () => {
    const victim = living()[0];
    note('kill -9 of one');
    const at = Date.now();
    victim?.kill('SIGKILL');
    await delay(5_000);
    record('kill -9: last shard claimed', Math.max(0, claims.lastAt - at));
    note('claims done');
  });
  record('kill -9: pod end → resumed, longest', Math.max(...calm));
  record('kill -9: pod end → resumed, median', percentile(calm, 50));
  installation.start('triggerer');
  await settled(flags.triggerers);
  note('a new one owns its share');

  const frozen = await through(SECONDS.freeze, async () => {
    const victim = living()[0];
    victim?.kill('SIGSTOP');
    note('one frozen');
    await delay(10_000);
    victim?.kill('SIGCONT');
    note('thawed');
  });
  record('frozen 10 s: pod end → resumed, longest', Math.max(...frozen));
  await settled(flags.triggerers);
  note('the frozen one owns its share again');

  const rolled = await through(SECONDS.rolling, async () => {
    for (const old of living()) {
      installation.start('triggerer');
      await settled(flags.triggerers + 1);
      const at = performance.now();
      old.kill('SIGTERM');
      await old.ended;
      record('rolling restart: SIGTERM → exit', performance.now() - at);
      note('one replaced');
    }
  });
  record('rolling restart: pod end → resumed, longest', Math.max(...rolled));

  const scaled = await through(SECONDS.scale, async () => {
    while (living().length > 1) {
      const old = living()[0];
      old?.kill('SIGTERM');
      await old?.ended;
    }
    await settled(1);
    note('one left');
    for (let n = 0; n < 5; n += 1) installation.start('triggerer');
    await settled(6);
    note('six');
    const leaving = living().slice(1);
    for (const old of leaving) old.kill('SIGTERM');
    await settled(1);
    note('one again');
    // Otherwise the next round counts them while they drain.
    await Promise.all(leaving.map(({ ended }) => ended));
  });
  record('1 → 6 → 1 triggerers: pod end → resumed, longest', Math.max(...scaled));
  while (living().length < flags.triggerers) installation.start('triggerer');
}

const more = { waiting: flags.waiting, triggerers: flags.triggerers, rate: flags.rate };
const BARS: Readonly<Record<string, number>> = {
  'kill -9: pod end → resumed, longest': 5_000,
  'frozen 10 s: pod end → resumed, longest': 5_000,
  'rolling restart: pod end → resumed, longest': 1_000,
  'rolling restart: SIGTERM → exit': 1_000,
  // Five processes that start at once use the whole machine.
  '1 → 6 → 1 triggerers: pod end → resumed, longest': 5_000,
};
for (const [figure, values] of figures) {
  const bar = BARS[figure];
  report.add({ figure, unit: 'ms', values, more, ...(bar === undefined ? {} : { bar }) });
}
report.add({
  figure: 'API server: pod end requested → stored, longest',
  unit: 'ms',
  values: [Math.max(...apiWaits)],
  more,
});
report.add({ figure: 'runs never completed', unit: '', values: [lost], bar: 0, more });
report.add({
  figure: 'steps taken by two messages',
  unit: '',
  values: [steps.twice().length],
  bar: 0,
  more: { ...more, steps: steps.taken },
});
report.add({
  figure: 'runs completed twice',
  unit: '',
  values: [(await completedTwice(installation)).length],
  bar: 0,
  more,
});
