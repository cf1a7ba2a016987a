import { EXIT_CODES } from '../../src/commands/exit-codes.ts';
import { SETTINGS } from '../../src/config.ts';
import { DIAGNOSES } from '../../src/core/diagnosis.ts';
import { stateDiagram } from '../../src/core/run-state.ts';
import { layoutOf, streamTable } from '../../src/wire/streams.ts';
import { DEFAULT_SUBJECT_ROOT } from '../../src/wire/subjects.ts';

/** A Markdown table, in the form that Prettier leaves alone. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [head, ...rows].map((row) => row.map((cell) => cell.replaceAll('|', '\\|')));
  const widths = head.map((_, n) => Math.max(3, ...cells.map((row) => row[n]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, n) => cell.padEnd(widths[n] ?? 0)).join(' | ')} |`;
  const [first = [], ...rest] = cells;
  return [line(first), `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`, ...rest.map(line)].join('\n');
}

const code = (text: string): string => `\`${text}\``;

/** The generated parts of the README, by the name in their marker. */
export function sections(): Readonly<Record<string, string>> {
  const { streams } = streamTable(layoutOf(DEFAULT_SUBJECT_ROOT, 'REENTRY_'), { workerQueues: ['<queue>'] });
  return {
    states: `\`\`\`mermaid\n${stateDiagram().trim()}\n\`\`\``,
    diagnoses: table(
      ['code', 'category', 'what it means'],
      Object.entries(DIAGNOSES).map(([name, entry]) => [code(name), entry.category, entry.meaning]),
    ),
    exits: table(
      ['exit code', 'means'],
      Object.entries(EXIT_CODES).map(([means, exit]) => [code(String(exit)), means]),
    ),
    settings: table(
      ['setting', 'flag', 'default', 'what it is'],
      SETTINGS.map((row) => [
        code(row.env),
        code(`${row.flag} ${row.value}`),
        row.default === undefined ? '' : code(row.default),
        row.says,
      ]),
    ),
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
  };
}
