/**
 * How much code one plain successful run executes beyond an idle installation: `node test/bench/way.ts [--list] [--by-room]`.
 * Runs `reentry dev` twice in an empty directory under V8 coverage, once idle and once with one `submit --wait`, and subtracts. The local cluster
 * (`src/local/`) is left out: production has a real one. Prints files and functions as figures; `--list` names each function.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { runReentry, startReentry } from '../support/processes.ts';
import { reportOf } from './report.ts';

const SRC = fileURLToPath(new URL('../../src', import.meta.url));
/** Long enough for every periodic task of an idle installation to have run once. */
const IDLE_MS = 35_000;
const READY_WITHIN_MS = 60_000;
/** Shorter than the janitor's and the queue gauges' periods. */
const POLL_MS = 50;

const coverageSchema = z.object({
  result: z.array(
    z.object({
      url: z.string(),
      functions: z.array(
        z.object({
          functionName: z.string(),
          ranges: z.array(z.object({ startOffset: z.number(), count: z.number() })),
        }),
      ),
    }),
  ),
});

/** Functions that ran, as `file:offset name`. The first function of a script is the module itself. */
function functionsIn(folder: string): ReadonlySet<string> {
  const ran = new Set<string>();
  for (const file of readdirSync(folder)) {
    const { result } = coverageSchema.parse(JSON.parse(readFileSync(join(folder, file), 'utf8')));
    for (const { url, functions } of result) {
      if (!url.startsWith('file:')) continue;
      const path = relative(SRC, fileURLToPath(url));
      if (path.startsWith('..') || path.startsWith('local/')) continue;
      for (const { functionName, ranges } of functions.slice(1)) {
        const [whole] = ranges;
        if (whole !== undefined && whole.count > 0) ran.add(`${path}:${String(whole.startOffset)} ${functionName}`);
      }
    }
  }
  return ran;
}

/** The functions that one `reentry dev` ran, with `work` done once it is ready. */
async function covered(work: (directory: string) => Promise<void>): Promise<ReadonlySet<string>> {
  const directory = mkdtempSync(join(tmpdir(), 'reentry-code-'));
  const coverage = join(directory, 'coverage');
  try {
    {
      await using dev = startReentry(['dev', '--fresh', '--json'], { NODE_V8_COVERAGE: coverage }, directory);
      const giveUpAt = performance.now() + READY_WITHIN_MS;
      while (!dev.stdout().includes('"ready":true')) {
        if (performance.now() > giveUpAt || dev.child.exitCode !== null)
          throw new Error(`reentry dev did not become ready:\n${dev.stderr()}`);
        await pause(POLL_MS);
      }
      await work(directory);
      await pause(IDLE_MS);
      dev.kill('SIGTERM');
      await dev.ended;
    }
    if (!existsSync(coverage)) throw new Error('reentry dev left no coverage');
    return functionsIn(coverage);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

const { values } = parseArgs({
  options: { list: { type: 'boolean', default: false }, 'by-room': { type: 'boolean', default: false } },
});
using report = reportOf('way', 'the local cluster');
const idle = await covered(() => Promise.resolve());
const one = await covered(async (directory) => {
  const args = ['submit', '--image', 'alpine', '--wait', '--', 'sh', '-c', 'echo hi'];
  const { code, stderr } = await runReentry(args, {}, directory);
  if (code !== 0) throw new Error(`the run did not succeed (exit status ${String(code)}):\n${stderr}`);
});
const executed = [...one].filter((name) => !idle.has(name)).toSorted();
const files = Map.groupBy(executed, (name) => name.slice(0, name.indexOf(':')));

report.add({ figure: 'files that one run executes', unit: 'files', values: [files.size], bar: 60 });
report.add({ figure: 'functions that one run executes', unit: 'functions', values: [executed.length], bar: 300 });
if (values['by-room']) {
  const rooms = Map.groupBy(files, ([file]) => file.split('/')[0] ?? file);
  for (const [room, inRoom] of rooms)
    process.stderr.write(
      `${room}: ${String(inRoom.length)} files, ${String(inRoom.flatMap(([, names]) => names).length)} functions\n`,
    );
}
if (values.list)
  for (const [file, names] of files)
    process.stderr.write(
      `${file}\n${names.map((name) => `  ${name.slice(name.indexOf(' ') + 1) || '(anonymous)'}`).join('\n')}\n`,
    );
