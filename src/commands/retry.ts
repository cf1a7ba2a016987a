import type { Command } from 'commander';
import { z } from 'zod';
import { openClient } from './connection.ts';
import { EXIT_CODES } from './exit-codes.ts';
import { action, CLIENT_SETTINGS, declare, oneArgument } from './shell.ts';
import type { Finish, Shell } from './shell.ts';
import { watched } from './watching.ts';

const optionsSchema = z.looseObject({
  runId: z.string().optional(),
  queue: z.string().optional(),
  wait: z.boolean().default(false),
  logs: z.boolean().default(false),
});

/** `reentry retry`: submits the request of an ended run again. */
export function retryCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'retry',
    summary: 'submit an ended run again, as a new run whose parentRunId is the old one',
    settings: CLIENT_SETTINGS,
    examples: ['reentry retry nightly-1', 'reentry retry nightly-1 --run-id nightly-1-again --wait --logs'],
  })
    .argument('<run>', 'run id of the ended run')
    .option(
      '--run-id <ID>',
      'id of the new run, so that repeating the command changes nothing; default: a generated one',
    )
    .option('--queue <QUEUE>', 'queue of the new run; default: that of the old one')
    .option('-w, --wait', 'wait until the new run has ended; exit code: 0 succeeded, 1 failed, 3 skipped, 4 cancelled')
    .option('--logs', 'with --wait: print log lines on stdout as they are written');
  return action(command, shell, finish, async (invocation, options, args) => {
    const { runId, queue, wait, logs } = optionsSchema.parse(options);
    await using client = await openClient(invocation);
    const receipt = await client.retry(oneArgument(args), {
      ...(runId === undefined ? {} : { newRunId: runId }),
      ...(queue === undefined ? {} : { queue }),
    });
    if (wait) return await watched(invocation, client, receipt, logs);
    shell.out(invocation.json ? JSON.stringify(receipt) : receipt.runId);
    return EXIT_CODES.ok;
  });
}
