import Table from 'cli-table3';
import type { Command } from 'commander';
import { z } from 'zod';
import { nearest } from '../core/nearest.ts';
import { ReentryError } from '../errors.ts';
import { PHASES } from '../wire/run-state.ts';
import { openClient } from './connection.ts';
import { EXIT_CODES } from './exit-codes.ts';
import { paintFor, plain, span, state } from './paint.ts';
import { action, CLIENT_SETTINGS, declare, wholeNumber } from './shell.ts';
import type { Finish, Shell } from './shell.ts';

const optionsSchema = z.looseObject({
  phase: z.string().optional(),
  limit: z.number(),
  after: z.number().optional(),
});

/** `reentry list`: one page of a tenant's runs. */
export function listCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'list',
    summary: 'list the runs of the tenant, one page at a time',
    settings: CLIENT_SETTINGS,
    examples: ['reentry list', 'reentry list --phase Deferred --limit 20', 'reentry list --json | jq -r .runs[].runId'],
  })
    .option('--phase <PHASE>', `only runs in this phase: ${PHASES.join(', ')}`)
    .option('--limit <N>', 'runs per page, at most 500', wholeNumber(1, 500), 100)
    .option('--after <N>', 'start after this position (`next` of the previous page)', wholeNumber(0));
  return action(command, shell, finish, async (invocation, options) => {
    const { phase, limit, after } = optionsSchema.parse(options);
    const wanted = phase === undefined ? {} : { phase: phaseOf(phase) };
    await using client = await openClient(invocation);
    const page = await client.list({
      limit,
      ...(after === undefined ? {} : { after }),
      ...wanted,
    });
    if (invocation.json) {
      shell.out(JSON.stringify(page));
      return EXIT_CODES.ok;
    }
    const paint = paintFor(shell.colour);
    const table = new Table({
      head: ['run', 'phase', 'attempt', 'age', 'pod'],
      style: { head: [], border: [], compact: true },
    });
    for (const run of page.runs) {
      const age = run.timings['acceptedAt'] === undefined ? '' : span(Date.now() - run.timings['acceptedAt']);
      table.push([plain(run.runId), state(paint, run.phase), String(run.attempt), age, run.pod?.name ?? '']);
    }
    shell.out(table.toString());
    if (page.next !== undefined) shell.err(`more: reentry list --after ${String(page.next)}`);
    return EXIT_CODES.ok;
  });
}

function phaseOf(word: string) {
  const phase = PHASES.find((candidate) => candidate.toLowerCase() === word.toLowerCase());
  if (phase !== undefined) return phase;
  const near = nearest(word, PHASES);
  const hint = near === undefined ? `one of ${PHASES.join(', ')}` : `did you mean ${near}?`;
  throw new ReentryError('CONFIG_INVALID', `--phase: unknown phase ${word}; ${hint}`, { transient: false });
}
