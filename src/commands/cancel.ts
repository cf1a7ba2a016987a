import type { Command } from 'commander';
import { z } from 'zod';
import { isTerminal } from '../core/run/transitions.ts';
import { openClient } from './connection.ts';
import { EXIT_CODES, FATE_CODES } from './exit-codes.ts';
import { action, CLIENT_SETTINGS, declare, oneArgument } from './shell.ts';
import type { Finish, Shell } from './shell.ts';
import { unlessUnknown } from './watching.ts';

const optionsSchema = z.looseObject({ reason: z.string().optional(), wait: z.boolean().default(false) });

/** `reentry cancel`: asks for a run's end. */
export function cancelCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'cancel',
    summary: "ask for a run's end; it is cancelled once its pod is gone",
    settings: CLIENT_SETTINGS,
    examples: ['reentry cancel nightly-1', 'reentry cancel nightly-1 --reason "wrong day" --wait'],
  })
    .argument('<run>', 'run id')
    .option('--reason <TEXT>', 'said in the diagnosis')
    .option('-w, --wait', "wait until it is over; the exit code is the run's fate");
  return action(command, shell, finish, async (invocation, options, args) => {
    const { reason, wait } = optionsSchema.parse(options);
    const runId = oneArgument(args);
    await using client = await openClient(invocation);
    const answer = await client.cancel(runId, reason);
    if (!wait) {
      const isOver = answer.phase !== undefined && isTerminal(answer.phase);
      const says = isOver ? `${runId} is over already: ${answer.phase}` : `${runId}: cancel asked for`;
      shell.out(invocation.json ? JSON.stringify({ runId, ...answer }) : says);
      return EXIT_CODES.ok;
    }
    const done = await unlessUnknown(invocation, client, runId, () => client.waitFor(runId));
    shell.out(invocation.json ? JSON.stringify(done) : `${runId}: ${done.state}`);
    // What was asked for has happened: that is a success of this command.
    return done.state === 'cancelled' ? EXIT_CODES.ok : FATE_CODES[done.state];
  });
}
