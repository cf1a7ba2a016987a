/**
 * Runs the benches one after the other and keeps their figures in `test/bench/results.json`:
 * `npm run bench -- [--runs 5] [--only latency,storm] [--with-soak] [--no-keep]`. Any other flag goes to each bench that is named by `--only`.
 * With `KUBECONFIG` set they measure on that Kubernetes, else on the local cluster.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type FigureLine, figureLineSchema, keepResults } from './results.ts';

/** In the order in which they run: what costs little first. A bench that is not named here is run by hand. */
const BENCHES = [
  ...['judging', 'decode', 'idle', 'submits', 'api-calls', 'executor', 'latency'],
  ...['waiting', 'storm', 'restart', 'failover'],
] as const;
/** Ten minutes and more: only where it is asked for. */
const LONG = ['soak'] as const;

const { values, tokens } = parseArgs({
  options: {
    only: { type: 'string' },
    'with-soak': { type: 'boolean', default: false },
    'no-keep': { type: 'boolean', default: false },
  },
  strict: false,
  tokens: true,
});
const ownFlags = new Set(['only', 'with-soak', 'no-keep']);
const passed = process.argv.slice(2).filter((_, n) => {
  const token = tokens.findLast(({ index }) => index <= n);
  return !(token?.kind === 'option' && ownFlags.has(token.name));
});
const { only } = values;
const chosen = typeof only === 'string' ? only.split(',') : [...BENCHES, ...(values['with-soak'] === true ? LONG : [])];

const figures: FigureLine[] = [];
const failed: string[] = [];
for (const bench of chosen) {
  process.stderr.write(`── ${bench}\n`);
  const child = spawn(process.execPath, [fileURLToPath(new URL(`${bench}.ts`, import.meta.url)), ...passed], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'close');
  for await (const line of createInterface({ input: child.stdout })) {
    process.stdout.write(`${line}\n`);
    if (line.startsWith('{')) figures.push(figureLineSchema.parse(JSON.parse(line)));
  }
  await ended;
  if (child.exitCode !== 0) failed.push(bench);
}
if (values['no-keep'] !== true) await keepResults(figures.filter(({ bench }) => !failed.includes(bench)));
if (failed.length > 0) {
  process.stderr.write(`failed: ${failed.join(', ')}; their figures are not kept\n`);
  process.exitCode = 1;
}
