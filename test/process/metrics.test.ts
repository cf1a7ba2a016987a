import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { SILENT_LOG } from '../../src/airflow/defaults.ts';
import { METRIC_ROWS } from '../../src/metrics.ts';
import { openTelemetry } from '../../src/telemetry.ts';

describe('the table of metrics', () => {
  test.each(METRIC_ROWS)('%s follows the naming of Prometheus', (name, { type, help }) => {
    expect(name).toMatch(/^[a-z][a-z_]*$/);
    expect(name).not.toMatch(/milli|micro|_ms\b|minutes|kilo|mega/);
    expect(name.endsWith('_total')).toBe(type === 'counter');
    if (type === 'histogram') expect(name).toMatch(/_seconds$/);
    expect(help).toMatch(/^[A-Z0-9].*\.$/);
  });
});

test('a misspelt name or label does not compile', async () => {
  const { meter, text } = openTelemetry(SILENT_LOG);
  // @ts-expect-error no such counter
  meter.count('runs_acepted_total', { queue: 'q' });
  // @ts-expect-error no such label
  meter.count('runs_accepted_total', { queu: 'q' });
  // @ts-expect-error a label is missing
  meter.count('runs_gated_total', { queue: 'q' });
  // @ts-expect-error not one of the label's values
  meter.count('dead_letters_total', { kind: 'runs' });
  // @ts-expect-error it has no labels
  meter.count('fenced_total', { queue: 'q' });
  // @ts-expect-error a gauge is not counted
  meter.count('live_follows');
  // @ts-expect-error a counter is not observed
  meter.observeSeconds('log_lines_total', 1);
  meter.count('log_lines_total', {}, 3);
  expect(await text()).toContain('\nreentry_log_lines_total 3\n');
});

test('a counter whose label values are known starts at 0 for each of them', async () => {
  const { text } = openTelemetry(SILENT_LOG);
  const zeros = [...(await text()).matchAll(/^reentry_(?:dead_letters|shard_claims)_total\{(.*)\} 0$/gm)];
  expect(zeros.map(([, labels]) => labels)).toEqual(['kind="run"', 'kind="step"', 'outcome="won"', 'outcome="lost"']);
});

test('a value that is not a number is logged once and breaks nothing', async () => {
  const warned: object[] = [];
  const { meter, text } = openTelemetry({ ...SILENT_LOG, warn: (fields) => void warned.push(fields) });
  meter.gauge('shards_owned', 3);
  meter.count('log_lines_total', {}, -1);
  meter.count('log_lines_total', {}, -1);
  expect(warned).toMatchObject([{ metric: 'log_lines_total' }]);
  expect(await text()).toContain('\nreentry_shards_owned 3\n');
});

test('alerts, autoscaling and manual name metrics of the table only', () => {
  const root = new URL('../../', import.meta.url);
  const templates = readdirSync(new URL('helm/templates/', root)).filter((name) => /\.(yaml|tpl|txt)$/.test(name));
  const manuals = ['src', 'helm', 'test'].flatMap((room) =>
    readdirSync(new URL(room, root), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('README.md'))
      .map((name) => `${room}/${name}`),
  );
  const files = ['helm/values.yaml', 'README.md', ...manuals, ...templates.map((name) => `helm/templates/${name}`)];
  const known = new Set<string>(
    METRIC_ROWS.flatMap(([name, { type }]) => (type === 'histogram' ? [`${name}_bucket`, name] : [name])),
  );
  const unknown = files.flatMap((file) =>
    [...readFileSync(new URL(file, root), 'utf8').matchAll(/\breentry_([a-z_]+[a-z])\b/g)]
      .map(([, name = '']) => name)
      .filter((name) => !known.has(name))
      .map((name) => `${file}: ${name}`),
  );
  expect(unknown).toEqual([]);
});
