import { Argument } from 'commander';
import type { Command } from 'commander';
import { z } from 'zod';
import { ENGINE_SETTINGS } from '../process/settings.ts';
import { EXECUTOR_SETTINGS } from './executor.ts';
import { ROLES } from '../process/role.ts';
import type { Role } from '../process/role.ts';
import { roleProcess } from '../process/roles.ts';
import { action, declare, ROLE_SETTINGS } from './shell.ts';
import type { Finish, Shell } from './shell.ts';

const USUAL: readonly Role[] = ['worker', 'triggerer'];
const rolesSchema = z.array(z.enum(ROLES)).transform((named) => (named.length === 0 ? USUAL : [...new Set(named)]));

/** `reentry serve`: several roles in one process, which costs half the memory of one process each. */
export function serveCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'serve',
    says: 'be worker and triggerer in one process (and executor, if named): for a small installation',
    settings: [
      ...ROLE_SETTINGS,
      'queues',
      ...ENGINE_SETTINGS,
      'minLoggingEveryMs',
      ...EXECUTOR_SETTINGS,
      'operators',
      'callbacks',
      'otelEndpoint',
    ],
    examples: ['reentry serve', 'reentry serve worker triggerer executor'],
  }).addArgument(new Argument('[roles...]', 'which roles').choices(ROLES).default(USUAL));
  const act: Parameters<typeof action>[3] = (invocation, _options, args) =>
    roleProcess(rolesSchema.parse(args), invocation);
  return action(command, shell, finish, act, 'drains');
}
