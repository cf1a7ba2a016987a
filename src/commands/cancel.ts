import type { Command } from 'commander';
import { z } from 'zod';
import { isTerminal } from '../core/run/transitions.ts';
import { openClient } from './connection.ts';
import { EXIT_CODES, FINAL_STATE_CODES } from './exit-codes.ts';
import { action, CLIENT_SETTINGS, declare, oneArgument } from './shell.ts';
import type { Finish, Shell } from './shell.ts';
import { unlessUnknown } from './watching.ts';

const optionsSchema = z.looseObject({ reason: z.string().optional(), wait: z.boolean().default(false) });

/** `reentry cancel`: requests the cancellation of a run. */
export function cancelCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'cancel',
    summary: 'cancel a run; it is cancelled once its pod is gone',
    settings: CLIENT_SETTINGS,
    examples: ['reentry cancel nightly-1', 'reentry cancel nightly-1 --reason "wrong day" --wait'],
  })
    .argument('<run>', 'run id')
    .option('--reason <TEXT>', 'shown in the diagnosis')
    .option('-w, --wait', 'wait until the run has ended; exit code 0 when it was cancelled');
  return action(command, shell, finish, async (invocation, options, args) => {
    const { reason, wait } = optionsSchema.parse(options);
    const runId = oneArgument(args);
    await using client = await openClient(invocation);
    const answer = await client.cancel(runId, reason);
    if (!wait) {
      const isOver = answer.phase !== undefined && isTerminal(answer.phase);
      const text = isOver ? `${runId} has already ended: ${answer.phase}` : `${runId}: cancel requested`;
      shell.out(invocation.json ? JSON.stringify({ runId, ...answer }) : text);
      return EXIT_CODES.ok;
    }
    const done = await unlessUnknown(invocation, client, runId, () => client.waitFor(runId));
    shell.out(invocation.json ? JSON.stringify(done) : `${runId}: ${done.state}`);
    // A cancelled run is this command's success.
    return done.state === 'cancelled' ? EXIT_CODES.ok : FINAL_STATE_CODES[done.state];
  });
}
