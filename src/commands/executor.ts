import type { Command } from 'commander';
import { EXIT_CODES } from './exit-codes.ts';
import { action, declare } from './shell.ts';
import type { Finish, Shell } from './shell.ts';

/** `reentry executor`: says that the role is not here yet. */
export function executorCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'executor',
    says: 'not in this version: the role that serves operator "command"',
    settings: [],
    examples: ['reentry worker    # serves operator "pod"'],
  });
  return action(command, shell, finish, () => {
    shell.err(
      'reentry: the executor role is not in this version; runs of operator "pod" are served by `reentry worker`.',
    );
    return Promise.resolve(EXIT_CODES.usage);
  });
}
