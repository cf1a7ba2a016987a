import type { Command } from 'commander';
import { z } from 'zod';
import { openClient } from './connection.ts';
import { EXIT_CODES, FINAL_STATE_CODES } from './exit-codes.ts';
import { action, CLIENT_SETTINGS, declare, oneArgument } from './shell.ts';
import type { Finish, Shell } from './shell.ts';
import { unlessUnknown } from './watching.ts';

const optionsSchema = z.looseObject({ wait: z.boolean().default(false) });

/** `reentry result`: the result of a run, as JSON. */
export function resultCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'result',
    summary: 'print the result of a run, as JSON',
    settings: CLIENT_SETTINGS,
    examples: ['reentry result nightly-1', 'reentry result nightly-1 --wait | jq .rows'],
  })
    .argument('<run>', 'run id')
    .option('-w, --wait', 'wait until the run has ended');
  return action(command, shell, finish, async (invocation, options, args) => {
    const runId = oneArgument(args);
    await using client = await openClient(invocation);
    if (optionsSchema.parse(options).wait) {
      const done = await unlessUnknown(invocation, client, runId, () => client.waitFor(runId));
      if (done.state !== 'succeeded') {
        shell.err(`${runId} ${done.state}. See: reentry explain ${runId}`);
        return FINAL_STATE_CODES[done.state];
      }
    }
    shell.out(JSON.stringify(await client.result(runId), undefined, invocation.json ? undefined : 2));
    return EXIT_CODES.ok;
  });
}
