/**
 * A short soak test: runs are created, wait and end without a pause: `node test/bench/soak.ts [--minutes 10] [--waiting 1000] [--rate 20]`.
 * Live memory, open handles and timers of worker and triggerer must not grow. One sample: a second soak takes as long again.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { startFixture } from './fixture.ts';
import { INSPECTED, liveMemoryOf } from './live-memory.ts';
import { handleCount, memoryMb } from './observer.ts';
import { benchFlags, median, reportOf, targetName } from './report.ts';
import { endAll, seedWaiting, type WaitingRun } from './waiting-runs.ts';

const flags = benchFlags({ minutes: 10, waiting: 1_000, rate: 20 });
const SAMPLE_MS = 5_000;
// Resident memory is mostly garbage that was not yet collected: a leak shows in what is left after a collection.
const env = { NODE_OPTIONS: INSPECTED };
await using fixture = await startFixture({ workers: 1, triggerers: 1, env, waiting: flags.waiting });
const { target, installation, api } = fixture;
using report = reportOf('soak', targetName());

const portSchema = z.looseObject({ port: z.number() });
/** The role's own metrics, by name. */
async function metricsOf(stderr: string): Promise<ReadonlyMap<string, number>> {
  const line = stderr.split('\n').find((text) => text.includes('serving health and metrics')) ?? '';
  const { port } = portSchema.parse(JSON.parse(line));
  const text = await (await fetch(`http://127.0.0.1:${String(port)}/metrics`)).text();
  return new Map(
    text.split('\n').flatMap((row): (readonly [string, number])[] => {
      const at = row.lastIndexOf(' ');
      return row.startsWith('#') || at < 0 ? [] : [[row.slice(0, at), Number(row.slice(at + 1))]];
    }),
  );
}

interface Sample {
  readonly atMinutes: number;
  readonly live: number;
  readonly resident: number;
  readonly handles: number;
  readonly timers: number;
}
const samples = new Map<string, Sample[]>(installation.roles.map(({ name }) => [name, []]));
const live = new Map(
  await Promise.all(installation.roles.map(async ({ name, process }) => [name, await liveMemoryOf(process)] as const)),
);
const startedAt = performance.now();
const minutes = (): number => (performance.now() - startedAt) / 60_000;
const ending: Promise<unknown>[] = [];
const all: WaitingRun[] = [];
let serial = 0;
while (minutes() < flags.minutes) {
  serial += 1;
  const count = Math.round((flags.rate * SAMPLE_MS) / 1_000);
  // As many runs are created as end.
  const [, fresh] = await Promise.all([
    delay(SAMPLE_MS),
    seedWaiting(target, installation, api, { prefix: `s${String(serial)}`, count }),
  ]);
  ending.push(endAll(installation, api, fresh, flags.rate));
  all.push(...fresh);
  for (const { name, process } of installation.roles) {
    const metrics = await metricsOf(process.stderr());
    samples.get(name)?.push({
      atMinutes: minutes(),
      live: (await live.get(name)?.liveMb()) ?? Number.NaN,
      resident: await memoryMb(process.pid),
      handles: await handleCount(process.pid),
      timers: metrics.get('nodejs_active_resources{type="Timeout"}') ?? 0,
    });
  }
  const seen = [...samples].map(([name, of]) => `${name} ${of.at(-1)?.live.toFixed(1) ?? '?'} MB live`);
  process.stderr.write(
    `${minutes().toFixed(1)} of ${String(flags.minutes)} minutes, ${String(all.length)} runs: ${seen.join(', ')}\n`,
  );
}

/** Growth per hour by least squares over the last two thirds: in the first third caches and heaps fill. */
function slope(of: readonly Sample[], value: (sample: Sample) => number): number {
  const late = of.filter(({ atMinutes }) => atMinutes > flags.minutes / 3);
  const meanX = late.reduce((sum, { atMinutes }) => sum + atMinutes, 0) / late.length;
  const meanY = late.reduce((sum, sample) => sum + value(sample), 0) / late.length;
  const above = late.reduce((sum, sample) => sum + (sample.atMinutes - meanX) * (value(sample) - meanY), 0);
  return (above / late.reduce((sum, { atMinutes }) => sum + (atMinutes - meanX) ** 2, 0)) * 60;
}
const more = { minutes: flags.minutes, waiting: flags.waiting, rate: flags.rate };
for (const [name, of] of samples) {
  for (const [what, value] of [
    ['live memory', (sample: Sample) => sample.live],
    ['resident memory', (sample: Sample) => sample.resident],
  ] as const) {
    report.add({ figure: `${name}: ${what}, median`, unit: 'MB', values: [median(of.map(value))], more });
    // 200 bytes per run: in ten minutes, less cannot be separated from growth of caches and compiled code.
    const bar = what === 'live memory' ? { bar: 15 } : {};
    report.add({ figure: `${name}: growth of ${what}`, unit: 'MB/h', values: [slope(of, value)], ...bar, more });
  }
  const half = of.slice(Math.floor(of.length / 2));
  const grown = (value: (sample: Sample) => number): number =>
    median(half.map(value)) - median(of.slice(0, Math.ceil(of.length / 2)).map(value));
  report.add({
    figure: `${name}: open handles, second half minus first`,
    unit: 'more',
    values: [grown(({ handles }) => handles)],
    bar: 5,
    more,
  });
  report.add({
    figure: `${name}: timers, second half minus first`,
    unit: 'more',
    values: [grown(({ timers }) => timers)],
    bar: 5,
    more,
  });
}
await Promise.all(ending);
report.add({
  figure: 'runs never completed',
  unit: '',
  values: [await fixture.unfinished(all)],
  bar: 0,
  more: { ...more, ends: all.length },
});
