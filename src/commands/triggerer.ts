import type { Command } from 'commander';
import { roleProcess } from '../process/roles.ts';
import { action, declare, ROLE_SETTINGS } from './shell.ts';
import type { Finish, Shell } from './shell.ts';

/** `reentry triggerer`: one triggerer process. */
export function triggererCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'triggerer',
    says: 'watch the pods of the installation and say which runs may go on; many may run',
    settings: [...ROLE_SETTINGS, 'queues', 'minLoggingEveryMs'],
    examples: ['reentry triggerer', 'REENTRY_NAMESPACES=jobs,etl reentry triggerer --nats-url nats://nats:4222'],
  });
  return action(command, shell, finish, (invocation) => roleProcess(['triggerer'], invocation), 'drains');
}
