import type { Command } from 'commander';
import { nearest } from '../core/nearest.ts';
import { DIAGNOSES, isDiagnosisCode } from '../core/run/diagnosis.ts';
import { openClient } from './connection.ts';
import { EXIT_CODES } from './exit-codes.ts';
import { diagnosisLines, paintFor, plain, statusLines } from './paint.ts';
import { action, CLIENT_SETTINGS, declare, oneArgument } from './shell.ts';
import type { Finish, Shell } from './shell.ts';
import { ReentryError } from '../errors.ts';

/** Text that looks like a diagnosis code. Generated run ids never do. */
const CODE = /^[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+$/;

/** `reentry explain`: the diagnosis of a run, or the meaning of a diagnosis code. */
export function explainCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'explain',
    summary: 'explain why a run failed, waits or was cancelled, or what a diagnosis code means',
    settings: CLIENT_SETTINGS,
    examples: [
      'reentry explain nightly-1',
      'reentry explain OOM_KILLED',
      'reentry explain    # every code',
      'reentry explain nightly-1 --json | jq .diagnosis.code',
    ],
  })
    .argument('[run-or-code]', 'run id, or a code such as OOM_KILLED; default: all codes')
    .option('--run', 'the argument is a run id, even if it looks like a code');
  return action(command, shell, finish, async (invocation, options, args) => {
    const paint = paintFor(shell.colour);
    if (args.length === 0) {
      const codes = Object.keys(DIAGNOSES).map(codeEntry);
      if (invocation.json) shell.out(JSON.stringify({ codes }));
      else
        for (const { code, category, spends, meaning } of codes)
          shell.out(`${paint.bold(code.padEnd(24))} ${category.padEnd(15)} ${spends.padEnd(32)} ${meaning}`);
      return EXIT_CODES.ok;
    }
    const asked = oneArgument(args);
    if ((isDiagnosisCode(asked) || CODE.test(asked)) && options['run'] !== true) {
      const entry = codeEntry(asked);
      if (invocation.json) shell.out(JSON.stringify(entry));
      else
        shell.out(
          [
            `${paint.bold(entry.code)} (${entry.category})`,
            `  ${entry.meaning}`,
            `  ${paint.dim('hint:')} ${entry.hint}`,
            `  ${paint.dim('another attempt:')} ${entry.spends}`,
          ].join('\n'),
        );
      return EXIT_CODES.ok;
    }
    await using client = await openClient(invocation);
    const run = await client.explain(asked);
    if (invocation.json) {
      shell.out(JSON.stringify(run));
      return EXIT_CODES.ok;
    }
    const stopping = run.outcome === undefined ? run.stopping?.diagnosis : undefined;
    const warnings = run.events.filter(({ type }) => type === 'Warning');
    const lines = [
      ...statusLines(paint, run, Date.now()),
      ...(stopping === undefined ? [] : ['', ...diagnosisLines(paint, stopping)]),
      ...(warnings.length === 0
        ? []
        : ['', ...warnings.map(({ reason, message }) => `${paint.dim('event')} ${plain(`${reason}: ${message}`)}`)]),
    ];
    shell.out(lines.join('\n'));
    return EXIT_CODES.ok;
  });
}

/** Cost of another attempt, by budget. */
const SPENDS = {
  user: "uses one of the run's retries",
  infrastructure: 'made without using a retry',
  none: 'none is made',
} as const;

function codeEntry(code: string) {
  if (isDiagnosisCode(code)) {
    const { category, budget, meaning, hint } = DIAGNOSES[code];
    return { code, category, budget, spends: SPENDS[budget], meaning, hint };
  }
  const near = nearest(code, Object.keys(DIAGNOSES));
  const advice = near === undefined ? `codes are: ${Object.keys(DIAGNOSES).join(', ')}` : `did you mean ${near}?`;
  throw new ReentryError(
    'NOT_FOUND',
    `there is no diagnosis code ${code}; ${advice} (for a run with this id, add --run)`,
    {
      transient: false,
    },
  );
}
