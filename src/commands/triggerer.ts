import type { Command } from 'commander';
import { roleProcess } from './roles.ts';
import type { BegunRole, RoleParts } from './roles.ts';
import { action, declare, ROLE_SETTINGS } from './shell.ts';
import type { Finish, Shell } from './shell.ts';

/** The triggerer's role, bound to its settings. */
export async function beginTriggerer(): Promise<(parts: RoleParts) => BegunRole> {
  const { triggerer } = await import('../roles/triggerer.ts');
  return ({ id, version, config, broker, clusters, log, meter }) => {
    const { installation, namespaces, queues, minLoggingEveryMs } = config;
    const settings = { id, version, installation, namespaces, defaultQueue: queues[0] ?? 'default', minLoggingEveryMs };
    const work$ = triggerer({ broker, clusters, settings, log, meter });
    return { work$, condition: () => work$.health() };
  };
}

/** `reentry triggerer`: one triggerer process. */
export function triggererCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'triggerer',
    says: 'watch the pods of the installation and say which runs may go on; many may run',
    settings: [...ROLE_SETTINGS, 'queues', 'minLoggingEveryMs'],
    examples: ['reentry triggerer', 'REENTRY_NAMESPACES=jobs,etl reentry triggerer --nats-url nats://nats:4222'],
  });
  return action(command, shell, finish, (invocation) => roleProcess('triggerer', invocation));
}
