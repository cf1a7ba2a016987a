import type { Command } from 'commander';
import { openClient } from './connection.ts';
import { EXIT_CODES } from './exit-codes.ts';
import { paintFor, statusLines } from './paint.ts';
import { action, CLIENT_SETTINGS, declare, oneArgument } from './shell.ts';
import type { Finish, Shell } from './shell.ts';

/** `reentry status`: what a run does now. */
export function statusCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'status',
    says: 'say what a run does now',
    settings: CLIENT_SETTINGS,
    examples: ['reentry status nightly-1', 'reentry status nightly-1 --json | jq .phase'],
  }).argument('<run>', 'run id');
  return action(command, shell, finish, async (invocation, _options, args) => {
    await using client = await openClient(invocation);
    const run = await client.status(oneArgument(args));
    shell.out(invocation.json ? JSON.stringify(run) : statusLines(paintFor(shell.colour), run, Date.now()).join('\n'));
    return EXIT_CODES.ok;
  });
}
