import type { Command } from 'commander';
import { ENGINE_SETTINGS } from '../process/settings.ts';
import { roleProcess } from '../process/roles.ts';
import { action, declare, ROLE_SETTINGS } from './shell.ts';
import type { Finish, Shell } from './shell.ts';

/** `reentry worker`: one worker process. */
export function workerCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'worker',
    says: 'take in runs, launch pods, resume runs; many may run',
    settings: [...ROLE_SETTINGS, 'queues', ...ENGINE_SETTINGS, 'operators', 'callbacks', 'otelEndpoint'],
    examples: [
      'reentry worker',
      'reentry worker --queues default,gpu --start-credits 64',
      'REENTRY_CONNECTIONS=clusters.yaml reentry worker',
    ],
  });
  return action(command, shell, finish, (invocation) => roleProcess(['worker'], invocation), 'drains');
}
