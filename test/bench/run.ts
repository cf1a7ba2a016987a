/**
 * Runs the benches one after the other and stores their figures in `test/bench/results.json`:
 * `npm run bench -- [--runs 5] [--only latency,storm] [--with-soak] [--no-save]`. Any other flag goes to each bench named by `--only`.
 * With `KUBECONFIG` set they measure on that Kubernetes, else on the local cluster.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type FigureLine, figureLineSchema, saveResults } from './results.ts';

/** In the order in which they run: the cheap ones first. `simulation`, `recover` and `way` are run by hand. */
const BENCHES = [
  ...['judging', 'decode', 'logs', 'idle', 'submits', 'api-calls', 'executor', 'executor-failover', 'latency'],
  ...['waiting', 'storm', 'restart', 'failover', 'rolling'],
] as const;
/** Takes ten minutes and more: only with `--with-soak` or `--only`. */
const LONG = ['soak'] as const;

const USAGE = `npm run bench -- [--runs N] [--only BENCH[,BENCH]] [--with-soak] [--no-save]

  --runs N       how often each measures; medians are reported (1)
  --only …       of: ${[...BENCHES, ...LONG].join(', ')}; any other flag is passed to each of them
  --with-soak    also run the soak: ten minutes and more
  --no-save      do not store the figures in test/bench/results.json

KUBECONFIG names the Kubernetes to measure on; without it the local cluster is started.
REENTRY_TEST_BREAKER names a command that restarts and compacts that Kubernetes.`;

const { values, tokens } = parseArgs({
  options: {
    only: { type: 'string' },
    'with-soak': { type: 'boolean', default: false },
    'no-save': { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
  strict: false,
  tokens: true,
});
if (values.help === true) {
  process.stdout.write(`${USAGE}\n`);
  process.exit();
}
const ownFlags = new Set(['only', 'with-soak', 'no-save']);
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
  const script = fileURLToPath(new URL(`${bench}.ts`, import.meta.url));
  // Some measure the memory in use after a garbage collection.
  const child = spawn(process.execPath, ['--expose-gc', script, ...passed], {
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
if (values['no-save'] !== true) await saveResults(figures.filter(({ bench }) => !failed.includes(bench)));
if (failed.length > 0) {
  process.stderr.write(`failed: ${failed.join(', ')}; their figures are not stored\n`);
  process.exitCode = 1;
}
