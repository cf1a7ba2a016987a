/**
 * Compares `results.json` with `thresholds.json`: `npm run bench:check [-- --update]`. Exit code 1 where a threshold is broken or its figure is
 * missing. `--update` sets each `drift` threshold to the measured mean plus 20 % tolerance, and adds the bars of new figures.
 */
import Table from 'cli-table3';
import { saveThresholds, readResults, readThresholds, type Threshold } from './results.ts';

const DRIFT = 0.2;

const results = readResults();
if (results === undefined) {
  process.stderr.write('no figures stored: npm run bench\n');
  process.exit(1);
}
const measured = ({ bench, figure, on }: Threshold) =>
  results.figures.filter((one) => one.bench === bench && one.figure === figure && (on === undefined || one.on === on));
const mean = (values: readonly (number | null)[]): number => {
  const known = values.filter((value) => value !== null);
  return known.reduce((sum, value) => sum + value, 0) / known.length;
};
const rounded = (value: number): number => Number(value.toPrecision(3));

if (process.argv.includes('--update')) {
  const updated = readThresholds().map((threshold): Threshold => {
    const [found] = measured(threshold);
    if (threshold.kind === 'bar' || found === undefined) return threshold;
    const { bench, figure, on, kind, atMost } = threshold;
    const rest = { bench, figure, kind, ...(on === undefined ? {} : { on }) };
    return atMost === undefined
      ? { ...rest, atLeast: rounded(mean(found.values) * (1 - DRIFT)) }
      : { ...rest, atMost: rounded(mean(found.values) * (1 + DRIFT)) };
  });
  const known = new Set(updated.map(({ bench, figure }) => `${bench}/${figure}`));
  const fresh = results.figures.flatMap(({ bench, figure, bar, atLeast }): Threshold[] => {
    if (bar === undefined || known.has(`${bench}/${figure}`)) return [];
    known.add(`${bench}/${figure}`);
    return [{ bench, figure, kind: 'bar', ...(atLeast === true ? { atLeast: bar } : { atMost: bar }) }];
  });
  await saveThresholds([...updated, ...fresh]);
}

const table = new Table({
  head: ['bench', 'figure', 'on', 'measured', 'threshold', ''],
  chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
  style: { head: [], border: [] },
});
let broken = 0;
for (const threshold of readThresholds()) {
  const { bench, figure, kind, atMost, atLeast } = threshold;
  const bound = atMost === undefined ? `≥ ${String(atLeast)}` : `≤ ${String(atMost)}`;
  const found = measured(threshold);
  if (found.length === 0) {
    broken += 1;
    table.push([bench, figure, threshold.on ?? '', 'nothing', `${bound} (${kind})`, 'MISSING']);
  }
  for (const { on, value, unit } of found) {
    const holds = value !== null && (atMost === undefined ? value >= (atLeast ?? 0) : value <= atMost);
    if (!holds) broken += 1;
    table.push([bench, figure, on, `${String(value)} ${unit}`, `${bound} (${kind})`, holds ? 'ok' : 'BROKEN']);
  }
}
process.stdout.write(`${table.toString()}\n`);
if (broken > 0) process.exitCode = 1;
