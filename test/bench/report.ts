/** Flags and output of benches: figures as JSON lines, and a table at the end. */
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { type ClusterUnderTest, TARGETS } from '../support/kubernetes.ts';

/** Numbers from the command line, as `--name N`; `defaults` has the known flags. */
export function numberFlags<K extends string>(defaults: Readonly<Record<K, number>>): Readonly<Record<K, number>> {
  // The runner passes --runs to every bench; one that measures once ignores it.
  const options = Object.fromEntries(
    [...Object.keys(defaults), 'runs'].map((name) => [name, { type: 'string' as const }]),
  );
  const { values } = parseArgs({ options });
  const numbers: Record<K, number> = { ...defaults };
  for (const name in defaults) {
    const text = values[name];
    if (text === undefined) continue;
    const number = Number(text);
    if (!(number > 0)) throw new RangeError(`--${name} ${text} is not a number above 0`);
    numbers[name] = number;
  }
  return numbers;
}

/** Flags of every bench, and its own; `runs` is how often it measures; medians are reported. */
export function benchFlags<K extends string>(
  defaults: Readonly<Record<K, number>>,
): Readonly<Record<K | 'runs', number>> {
  return numberFlags({ runs: 1, ...defaults });
}

/** One measured figure: its samples, of which the median is reported. */
export interface Figure {
  readonly figure: string;
  readonly unit: string;
  readonly values: readonly number[];
  /** The largest value allowed, or with `atLeast` the smallest; absent: any. */
  readonly bar?: number;
  readonly atLeast?: boolean;
  /** Further fields of the JSON line: parts of the figure, counts. */
  readonly more?: object;
}

/** Prints figures of one bench. */
export interface Report extends Disposable {
  readonly on: string;
  /** Prints it, and adds it to the table. */
  add(figure: Figure): void;
}

/** A report on one cluster; the table is printed when it is disposed. */
export function reportOf(bench: string, on: string): Report {
  const table = new Table({
    head: [`${bench}, on ${on}`, 'median', 'unit', 'range', 'bar'],
    // No rules between rows: the table stands among lines of JSON.
    chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
    style: { head: [], border: [] },
  });
  return {
    on,
    add({ figure, unit, values, bar, atLeast = false, more }) {
      const value = rounded(median(values));
      const met = bar === undefined ? undefined : atLeast ? value >= bar : value <= bar;
      const line = {
        bench,
        on,
        figure,
        value,
        unit,
        values: values.map(rounded),
        bar,
        ...(atLeast ? { atLeast } : {}),
        met,
        ...more,
      };
      process.stdout.write(`${JSON.stringify(line)}\n`);
      const range = values.length > 1 ? `${rounded(Math.min(...values))} to ${rounded(Math.max(...values))}` : '';
      const wanted = bar === undefined ? '' : `${atLeast ? '≥' : '≤'} ${String(bar)}${met === true ? '' : ' MISSED'}`;
      table.push([figure, value, unit, range, wanted]);
    },
    [Symbol.dispose]() {
      process.stdout.write(`${table.toString()}\n`);
    },
  };
}

/** The last target is the Kubernetes of KUBECONFIG if that is set, else the local cluster. */
const CHOSEN = TARGETS.at(-1);

/** Name of the cluster to measure on. */
export function targetName(): string {
  return CHOSEN?.name ?? 'nothing';
}

/** Starts the cluster to measure on. */
export async function aTarget(): Promise<ClusterUnderTest> {
  if (CHOSEN === undefined) throw new Error('there is no cluster to measure on');
  return await CHOSEN.start();
}

/** The middle value, the lower one of two. */
export function median(values: readonly number[]): number {
  return percentile(values, 50);
}

/** The smallest sample that `percent` of all samples do not exceed. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((sorted.length * percent) / 100) - 1)] ?? Number.NaN;
}

const rounded = (value: number): number => Math.round(value * 100) / 100;
