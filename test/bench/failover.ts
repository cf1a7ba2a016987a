/**
 * Triggerers die, freeze and are replaced while pods end: `node test/bench/failover.ts [--runs 1] [--waiting 10000] [--triggerers 3] [--rate 30]`.
 * How long an end has to wait at worst, whether each is told, and none twice; then from 1 to 6 triggerers and back. A timeline goes to stderr.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { ReentryProcess } from '../support/processes.ts';
import { aField } from './field.ts';
import { claimsOf, completedTwice, stepsTaken } from './observer.ts';
import { benchFlags, percentile, reportOf, targetName } from './report.ts';
import { until } from './runs.ts';
import { endAll } from './waiting-runs.ts';

const asked = benchFlags({ waiting: 10_000, triggerers: 3, rate: 30 });
/** Ends go on this long around each happening. */
const SECONDS = { kill: 8, freeze: 16, rolling: 15, scale: 24 };
const ends = Object.values(SECONDS).reduce((sum, seconds) => sum + seconds * asked.rate, 0);
await using field = await aField({
  workers: 1,
  triggerers: asked.triggerers,
  waiting: asked.waiting + asked.runs * ends,
});
const { installation, api, beats, done } = field;
using report = reportOf('failover', targetName());
await using steps = await stepsTaken(installation);
await using claims = await claimsOf(installation);

const startedAt = performance.now();
const note = (what: string): void => {
  const owners = [...beats.latest.values()].filter(({ at }) => Date.now() - at < 2_000).map(({ shards }) => shards);
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
    const fresh = [...beats.latest.values()].filter(({ at, draining }) => !draining && Date.now() - at < 1_500);
    return (
      fresh.length === count &&
      fresh.every(({ shards, problems = [] }) => shards > 0 && problems.length === 0) &&
      fresh.reduce((sum, { shards }) => sum + shards, 0) === 256
    );
  });
};
let lost = 0;
/** How long the API took to store each end. */
const apiWaits: number[] = [];
/** Ends pods at the rate while `happening` goes on, and gives how long each end had to wait, in milliseconds. */
async function through(seconds: number, happening: () => Promise<void>): Promise<readonly number[]> {
  const chosen = field.take(seconds * asked.rate);
  // From when the API has stored the end: six triggerers that list ten thousand pods at once keep the server itself busy.
  const storedAt = new Map<string, number>();
  const ending = endAll(installation, api, chosen, asked.rate, ({ runId }) => storedAt.set(runId, Date.now()));
  await delay(1_000);
  await happening();
  const askedAt = await ending;
  apiWaits.push(...chosen.map(({ runId }) => (storedAt.get(runId) ?? 0) - (askedAt.get(runId) ?? 0)));
  lost += await field.untold(chosen);
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
const keep = (figure: string, value: number): void => {
  figures.set(figure, [...(figures.get(figure) ?? []), value]);
};

for (let round = 0; round < asked.runs; round += 1) {
  await settled(asked.triggerers);
  const calm = await through(SECONDS.kill, async () => {
    const victim = living()[0];
    note('kill -9 of one');
    const at = Date.now();
    victim?.kill('SIGKILL');
    await delay(5_000);
    keep('kill -9: last claim after', Math.max(0, claims.lastAt - at));
    note('claims done');
  });
  keep('kill -9: longest wait of an end', Math.max(...calm));
  keep('kill -9: median wait of an end', percentile(calm, 50));
  installation.start('triggerer');
  await settled(asked.triggerers);
  note('a new one has its share');

  const frozen = await through(SECONDS.freeze, async () => {
    const victim = living()[0];
    victim?.kill('SIGSTOP');
    note('one frozen');
    await delay(10_000);
    victim?.kill('SIGCONT');
    note('thawed');
  });
  keep('frozen 10 s: longest wait of an end', Math.max(...frozen));
  await settled(asked.triggerers);
  note('the frozen one has its share again');

  const rolled = await through(SECONDS.rolling, async () => {
    for (const old of living()) {
      installation.start('triggerer');
      await settled(asked.triggerers + 1);
      const at = performance.now();
      old.kill('SIGTERM');
      await old.ended;
      keep('rolling restart: SIGTERM → ended', performance.now() - at);
      note('one replaced');
    }
  });
  keep('rolling restart: longest wait of an end', Math.max(...rolled));

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
    // Else the next round counts them among its own while they drain.
    await Promise.all(leaving.map(({ ended }) => ended));
  });
  keep('1 → 6 → 1: longest wait of an end', Math.max(...scaled));
  while (living().length < asked.triggerers) installation.start('triggerer');
}

const more = { waiting: asked.waiting, triggerers: asked.triggerers, rate: asked.rate };
const BARS: Readonly<Record<string, number>> = {
  'kill -9: longest wait of an end': 5_000,
  'frozen 10 s: longest wait of an end': 5_000,
  'rolling restart: longest wait of an end': 1_000,
  'rolling restart: SIGTERM → ended': 1_000,
  // Five processes that start at once take the machine for themselves.
  '1 → 6 → 1: longest wait of an end': 5_000,
};
for (const [figure, values] of figures) {
  const bar = BARS[figure];
  report.say({ figure, unit: 'ms', values, more, ...(bar === undefined ? {} : { bar }) });
}
report.say({ figure: 'the API server: end asked → stored, most', unit: 'ms', values: [Math.max(...apiWaits)], more });
report.say({ figure: 'ends never told', unit: '', values: [lost], bar: 0, more });
report.say({
  figure: 'steps taken by two messages',
  unit: '',
  values: [steps.twice().length],
  bar: 0,
  more: { ...more, steps: steps.taken },
});
report.say({
  figure: 'runs completed twice',
  unit: '',
  values: [(await completedTwice(installation)).length],
  bar: 0,
  more,
});
