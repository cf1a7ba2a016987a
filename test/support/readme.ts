import type { Command } from 'commander';
import { NEVER } from 'rxjs';
import { readResults } from '../bench/results.ts';
import { program } from '../../src/commands/program.ts';
import type { Shell } from '../../src/commands/shell.ts';
import { EXIT_CODES } from '../../src/commands/exit-codes.ts';
import { SETTINGS } from '../../src/config.ts';
import { z } from 'zod';
import { OPERATOR_DIFFERENCES } from './airflow-operator-differences.ts';
import { isRecord, recordIn, recordsIn, textIn } from '../../src/core/json.ts';
import { type DiagnosisEntry, DIAGNOSES } from '../../src/core/run/diagnosis.ts';
import { stateDiagram } from '../../src/core/run/transitions.ts';
import { EXECUTOR_DIFFERENCES } from './airflow-executor-differences.ts';
import { EXECUTOR_OPTIONS, type ExecutorOption } from '../../src/airflow/executor-options.ts';
import { PARAM_FACTS, type ParamFacts } from './param-facts.ts';
import { podParamsSchema } from '../../src/operator/pod-params.ts';
import { METRIC_ROWS } from '../../src/metrics.ts';
import { PERMISSIONS } from '../../src/wire/permissions.ts';
import { DEFAULT_ASSET_PREFIX, layoutOf, streamTable } from '../../src/wire/streams.ts';
import { DEFAULT_SUBJECT_ROOT } from '../../src/wire/subjects.ts';
import { DEFAULTS } from './defaults.ts';

/** A Markdown table, formatted as Prettier does. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [head, ...rows].map((row) => row.map((cell) => cell.replaceAll('|', '\\|')));
  const widths = head.map((_, n) => Math.max(3, ...cells.map((row) => row[n]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, n) => cell.padEnd(widths[n] ?? 0)).join(' | ')} |`;
  const [first = [], ...rest] = cells;
  return [line(first), `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`, ...rest.map(line)].join('\n');
}

const code = (text: string): string => `\`${text}\``;

/** A JSON Schema in a few words. */
function typeText(schema: unknown): string {
  const node = isRecord(schema) ? schema : {};
  const any = recordsIn(node, 'anyOf');
  if (any.length > 0) {
    const texts = any.map(typeText).filter((text) => text !== 'null' && text !== 'never');
    return [...new Set(texts)].join(' or ');
  }
  if (Array.isArray(node['enum'])) {
    const values = node['enum'].filter((value) => value !== '').map((value) => code(String(value)));
    return values.join(', ');
  }
  const { type } = node;
  if (Array.isArray(type))
    return [
      ...new Set(type.map((one: unknown) => typeText({ ...node, type: one })).filter((text) => text !== 'null')),
    ].join(' or ');
  switch (textIn(node, 'type') ?? '') {
    case 'string':
      return 'text';
    case 'array': {
      const items = typeText(recordIn(node, 'items'));
      return items === '' ? 'list' : `list of ${items === 'text' ? 'texts' : items === 'map' ? 'maps' : items}`;
    }
    case 'object':
      return 'map';
    case 'boolean':
      return 'boolean';
    case 'integer':
    case 'number':
      return 'number';
    case 'null':
      return 'null';
    default:
      return isRecord(node['not']) ? 'never' : '';
  }
}

/** `envVars` → `env_vars`. */
const airflowName = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

const parameterRows = (): readonly (readonly string[])[] => {
  const properties = recordIn(z.toJSONSchema(podParamsSchema, { unrepresentable: 'any', io: 'input' }), 'properties');
  const defaults = podParamsSchema.parse({ image: 'i' });
  return Object.entries<ParamFacts>(PARAM_FACTS).map(([name, facts]) => {
    const value: unknown = new Map<string, unknown>(Object.entries(defaults)).get(name);
    const isUnset =
      value === undefined ||
      name === 'image' ||
      (Array.isArray(value) ? value.length === 0 : isRecord(value) && Object.keys(value).length === 0);
    return [
      code(name),
      facts.own === true ? '' : code(airflowName(name)),
      typeText(properties[name]) || 'never',
      isUnset ? '' : code(typeof value === 'string' ? value : JSON.stringify(value)),
      facts.description,
      facts.lands === undefined ? '' : facts.lands.startsWith('the ') ? facts.lands : code(facts.lands),
    ];
  });
};

/** The figures that have a bar, as they were last measured. */
function figures(): string {
  const results = readResults();
  if (results === undefined) return 'None are stored yet: `npm run bench`.';
  const rows = results.figures.flatMap(({ bench, on, figure, value, unit, bar, atLeast }) => {
    if (bar === undefined && !figure.startsWith('reference')) return [];
    const wanted = bar === undefined ? '' : `${atLeast === true ? '≥' : '≤'} ${String(bar)}`;
    return [[bench, figure, value === null ? '' : `${String(value)} ${unit}`, wanted, on]];
  });
  const where = `Measured on ${results.machine}, ${results.measuredAt}, by \`npm run bench\`.`;
  return `${where}\n\n${table(['bench', 'figure', 'measured', 'bar', 'on'], rows)}`;
}

/** What each exit code means. */
const EXITS: Readonly<Record<keyof typeof EXIT_CODES, string>> = {
  ok: 'Done. With `--wait`: the run succeeded.',
  failed: 'With `--wait`: the run failed. Else: the command could not do what it is for.',
  usage: 'A wrong flag, setting or request, or no such run. Nothing was done.',
  skipped: 'With `--wait`: the run was skipped.',
  cancelled: 'With `--wait`: the run was cancelled.',
  unreachable: 'Broker or cluster cannot be reached, or refuses the credentials.',
  interrupted: 'Ended by Ctrl-C while it waited.',
  terminated: 'Ended by SIGTERM while it waited.',
};

/** `Object.entries` that keeps the type of the keys. */
function entriesOf<K extends string, V>(table: Readonly<Record<K, V>>): readonly (readonly [K, V])[] {
  const entries: (readonly [K, V])[] = [];
  for (const key in table) entries.push([key, table[key]]);
  return entries;
}

/** All commands, those below `queue` and `dlq` as well, with the first sentence of their help. */
function commandRows(): readonly (readonly string[])[] {
  const nowhere: Shell = {
    ...{ out: () => undefined, err: () => undefined, stderr: { write: () => undefined } },
    ...{ outIsTty: false, errIsTty: false, colour: false, env: {}, directory: '/', userCache: '/' },
    ...{ stdin: () => Promise.resolve(''), stop$: NEVER, self: ['node'], version: '' },
  };
  const rows = (command: Command, path: string): readonly (readonly string[])[] =>
    command.commands.flatMap((one) => {
      const name = `${path} ${one.name()}`;
      return one.commands.length > 0 ? rows(one, name) : [[code(name), one.description()]];
    });
  return rows(
    program(nowhere, () => undefined),
    'reentry',
  );
}

/** The generated parts of the manuals: file → name in the marker (`<!-- generated: name -->`) → text. */
export function sections(): Readonly<Record<string, Readonly<Record<string, string>>>> {
  const { streams } = streamTable(layoutOf(DEFAULT_SUBJECT_ROOT, DEFAULT_ASSET_PREFIX), {
    ...DEFAULTS.streams,
    workerQueues: ['<queue>'],
  });
  return {
    'README.md': {
      states: `\`\`\`mermaid\n${stateDiagram().trim()}\n\`\`\``,
    },
    'src/wire/README.md': {
      streams: table(
        ['stream', 'subjects', 'kept', 'what it holds'],
        streams.map((row) => [
          code(row.name),
          row.subjects.map(code).join(' '),
          row.retention === 'workqueue'
            ? 'until done'
            : row.maxAgeSeconds === undefined
              ? 'until swept'
              : `${String(row.maxAgeSeconds / 86_400)} days`,
          row.description,
        ]),
      ),
      permissions: table(
        ['what it is for', 'may publish', 'may subscribe'],
        PERMISSIONS.map(({ what, publish, subscribe }) => [what, publish.join(', '), subscribe.join(', ')]),
      ),
    },
    'src/operator/README.md': {
      parameters: table(['parameter', "Airflow's", 'type', 'default', 'what it is', 'lands in'], parameterRows()),
      diagnoses: table(
        ['code', 'category', 'another attempt', 'what it means', 'what to do'],
        Object.entries<DiagnosisEntry>(DIAGNOSES).map(([name, { category, budget, meaning, hint }]) => [
          code(name),
          category,
          { user: 'uses a retry', infrastructure: 'free', none: 'no' }[budget],
          meaning,
          hint,
        ]),
      ),
    },
    'src/commands/README.md': {
      commands: table(['command', 'what it does'], commandRows()),
      exits: table(
        ['exit code', 'name', 'means'],
        entriesOf(EXIT_CODES).map(([name, exit]) => [code(String(exit)), name, EXITS[name]]),
      ),
    },
    'src/airflow/README.md': {
      deviations: table(
        ['about', 'Airflow', 'here', 'why'],
        OPERATOR_DIFFERENCES.map(({ topic, airflow, here, why }) => [topic, airflow, here, why]),
      ),
      'executor-deviations': table(
        ['about', 'Airflow', 'here', 'why'],
        EXECUTOR_DIFFERENCES.map(({ topic, airflow, here, why }) => [topic, airflow, here, why]),
      ),
      'executor-options': table(
        ['option', 'section', 'default', 'what it is'],
        Object.entries<ExecutorOption>(EXECUTOR_OPTIONS).map(([name, option]) => [
          code(name),
          code(option.section),
          option.default === undefined || option.default === '' ? '' : code(option.default),
          option.description,
        ]),
      ),
    },
    'helm/README.md': {
      settings: table(
        ['setting', 'flag', 'default', 'what it is'],
        SETTINGS.map((row) => [
          code(row.env),
          code(`${row.flag} ${row.value}`),
          row.default === undefined ? '' : code(row.default),
          row.help,
        ]),
      ),
      metrics: table(
        ['metric', 'type', 'labels', 'what it is'],
        METRIC_ROWS.map(([name, { type, labels, help }]) => [
          code(`reentry_${name}`),
          type,
          Object.keys(labels).map(code).join(' '),
          help,
        ]),
      ),
    },
    'test/bench/README.md': {
      figures: figures(),
    },
  };
}
