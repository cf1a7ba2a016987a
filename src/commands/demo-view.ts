/** Output of the demo: lines while it runs, a table at the end. */
import Table from 'cli-table3';
import type { DemoRun } from './demo-runs.ts';
import { paintFor, span, state } from './paint.ts';
import type { Shell } from './shell.ts';

/** How one run of the demo ended. */
export interface DemoRow {
  readonly runId: string;
  readonly shows: string;
  readonly state: string;
  readonly expected: string;
  readonly attempt: number;
  /** From the end of the pod to the resumption of the run. */
  readonly resumeMs: number | undefined;
  readonly message: string;
  /** What differs from the expectation; absent: nothing. */
  readonly wrong: string | undefined;
}

/** Shows events as they happen. */
export interface DemoView {
  event(runId: string, what: string): void;
  note(text: string): void;
  close(): void;
}

/** On a terminal one line per run, redrawn; elsewhere a line per event; nothing with `--json`. */
export function demoView(shell: Shell, runs: readonly DemoRun[], json: boolean): DemoView {
  if (json) return { event: () => undefined, note: () => undefined, close: () => undefined };
  const paint = paintFor(shell.colour);
  const beganAt = Date.now();
  const at = (): string => paint.dim(span(Date.now() - beganAt).padStart(7));
  if (!shell.errIsTty) {
    return {
      event: (runId, what) => {
        shell.err(`${at()}  ${runId.padEnd(15)} ${what}`);
      },
      note: (text) => {
        shell.err(`${at()}  ${text}`);
      },
      close: () => undefined,
    };
  }
  const now = new Map<string, string>(runs.map(({ runId }) => [runId, 'submitted']));
  const notes: string[] = [];
  let drawn = 0;
  let timer: NodeJS.Timeout | undefined;
  const isCrowd = (runId: string): boolean => runId.startsWith('crowd-');
  const lines = (): string[] => {
    const singles = runs.filter(({ runId }) => !isCrowd(runId));
    const crowd = runs.filter(({ runId }) => isCrowd(runId)).map(({ runId }) => now.get(runId) ?? '');
    const dots = crowd.map((what) =>
      what === 'succeeded' ? paint.green('●') : what === 'submitted' ? paint.dim('·') : paint.cyan('○'),
    );
    return [
      ...singles.map(
        ({ runId, shows }) =>
          `  ${runId.padEnd(15)} ${state(paint, (now.get(runId) ?? '').padEnd(11))} ${paint.dim(shows)}`,
      ),
      `  ${'twenty at once'.padEnd(15)} ${dots.join('')}`,
      ...notes,
    ];
  };
  const draw = (): void => {
    timer = undefined;
    const next = lines();
    shell.stderr.write(
      `${drawn === 0 ? '' : `\u001B[${String(drawn)}A`}${next.map((line) => `\u001B[2K${line}\n`).join('')}`,
    );
    drawn = next.length;
  };
  const soon = (): void => {
    timer ??= setTimeout(draw, 50);
  };
  return {
    event: (runId, what) => {
      now.set(runId, what);
      soon();
    },
    note: (text) => {
      notes.push(`${at()}  ${text}`);
      soon();
    },
    close: () => {
      clearTimeout(timer);
      draw();
    },
  };
}

/** The table at the end. */
export function demoTable(shell: Shell, rows: readonly DemoRow[]): string {
  const paint = paintFor(shell.colour);
  const table = new Table({
    head: ['run', 'state', 'attempt', 'pod end → resumed', 'message'],
    style: { head: [], border: [], compact: true },
  });
  for (const row of rows) {
    const mark = row.wrong === undefined ? state(paint, row.state) : paint.red(`${row.state} (${row.wrong})`);
    table.push([
      row.runId,
      mark,
      String(row.attempt),
      row.resumeMs === undefined ? '' : span(row.resumeMs),
      row.message.slice(0, 70),
    ]);
  }
  return table.toString();
}
