import type { Command } from 'commander';
import { z } from 'zod';
import { openClient } from './connection.ts';
import { EXIT_CODES } from './exit-codes.ts';
import { action, CLIENT_SETTINGS, declare, oneArgument, wholeNumber } from './shell.ts';
import type { Finish, Shell } from './shell.ts';

const optionsSchema = z.looseObject({
  follow: z.boolean().default(false),
  attempt: z.number().optional(),
  container: z.string().optional(),
  timestamps: z.boolean().default(false),
});

/** `reentry logs`: the stored log of a run, and with `-f` what comes. */
export function logsCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'logs',
    says: 'print the log of a run',
    settings: CLIENT_SETTINGS,
    examples: [
      'reentry logs nightly-1',
      'reentry logs -f nightly-1',
      'reentry logs nightly-1 --attempt 2 --timestamps',
    ],
  })
    .argument('<run>', 'run id')
    .option('-f, --follow', 'go on until the run is over')
    .option('--attempt <N>', 'only this attempt', wholeNumber(1))
    .option('--container <NAME>', 'only this container')
    .option('-t, --timestamps', "begin each line with the node's time");
  return action(command, shell, finish, async (invocation, options, args) => {
    const { follow, attempt, container, timestamps } = optionsSchema.parse(options);
    await using client = await openClient(invocation);
    const lines = client.logs(oneArgument(args), {
      follow,
      ...(attempt === undefined ? {} : { attempt }),
      ...(container === undefined ? {} : { container }),
    });
    for await (const line of lines) {
      if (invocation.json) shell.out(JSON.stringify(line));
      else shell.out(timestamps ? `${line.time} ${line.text}` : line.text);
    }
    return EXIT_CODES.ok;
  });
}
