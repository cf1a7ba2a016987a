import type { Command } from 'commander';
import { z } from 'zod';
import type { Client } from '../client/index.ts';
import { shownText } from '../client/log-lines.ts';
import { openClient } from './connection.ts';
import { EXIT_CODES } from './exit-codes.ts';
import { action, CLIENT_SETTINGS, declare, oneArgument, wholeNumber } from './shell.ts';
import type { Finish, Shell } from './shell.ts';
import { unlessUnknown } from './watching.ts';

const optionsSchema = z.looseObject({
  follow: z.boolean().default(false),
  attempt: z.number().optional(),
  container: z.string().optional(),
  timestamps: z.boolean().default(false),
});

/** Lines that are read to find out which containers have any. */
const LINES_LOOKED_AT = 10_000;

/** `reentry logs`: the stored log of a run, with `-f` also new lines. */
export function logsCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'logs',
    summary: 'print the log of a run',
    settings: CLIENT_SETTINGS,
    examples: [
      'reentry logs nightly-1',
      'reentry logs -f nightly-1',
      'reentry logs nightly-1 --attempt 2 --timestamps',
    ],
  })
    .argument('<run>', 'run id')
    .option('-f, --follow', 'print new lines until the run has ended')
    .option('--attempt <N>', 'only this attempt', wholeNumber(1))
    .option('--container <NAME>', 'only this container')
    .option('-t, --timestamps', 'start each line with its time, by the clock of the node');
  return action(command, shell, finish, async (invocation, options, args) => {
    const { follow, attempt, container, timestamps } = optionsSchema.parse(options);
    await using client = await openClient(invocation);
    const runId = oneArgument(args);
    const lines = client.logs(runId, {
      follow,
      ...(attempt === undefined ? {} : { attempt }),
      ...(container === undefined ? {} : { container }),
    });
    let printed = 0;
    const print = async (): Promise<void> => {
      for await (const line of lines) {
        printed += 1;
        if (invocation.json) shell.out(JSON.stringify(line));
        else shell.out(timestamps ? `${line.time} ${shownText(line)}` : shownText(line));
      }
    };
    await (follow ? unlessUnknown(invocation, client, runId, print) : print());
    // Not an error: a run may have no output. But a mistyped attempt or container deserves a hint.
    if (printed === 0) shell.err(await nothing(client, runId, attempt, container));
    return EXIT_CODES.ok;
  });
}

/** Explains why nothing was printed, with what is stored instead. */
async function nothing(
  client: Client,
  runId: string,
  attempt: number | undefined,
  container: string | undefined,
): Promise<string> {
  const asked = [
    ...(attempt === undefined ? [] : [`attempt ${String(attempt)}`]),
    ...(container === undefined ? [] : [`container ${container}`]),
  ];
  if (asked.length === 0) return `run ${runId} has no log (yet)`;
  const found = new Set<string>();
  let looked = 0;
  for await (const line of client.logs(runId)) {
    found.add(`container ${line.container} in attempt ${String(line.attempt)}`);
    looked += 1;
    if (looked >= LINES_LOOKED_AT) break;
  }
  const instead = found.size === 0 ? 'nor any other log' : `there is ${[...found].join(', ')}`;
  return `run ${runId} has no log of ${asked.join(', ')}; ${instead}`;
}
