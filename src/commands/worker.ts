import type { Command } from 'commander';
import { ENGINE_SETTINGS, engineSettings } from './engine-settings.ts';
import { boundOperators } from './operators.ts';
import { roleProcess } from './roles.ts';
import type { BegunRole, RoleParts } from './roles.ts';
import { action, declare, ROLE_SETTINGS } from './shell.ts';
import type { Finish, Shell } from './shell.ts';
import { callbacksFrom } from './user-modules.ts';

/** The worker's role, bound to its settings. */
export async function beginWorker(): Promise<(parts: RoleParts) => Promise<BegunRole>> {
  const [{ worker }, { podOperators, commandOperator }] = await Promise.all([
    import('../roles/worker.ts'),
    boundOperators(),
  ]);
  return async ({ id, config, broker, clusters, log, meter, operators, callbacks, tracer, version }) => {
    const registered = { ...(await callbacksFrom(config.callbacks, process.cwd())), ...callbacks };
    const work$ = worker({
      ...{ broker, clusters, log, meter, tracer },
      operators: podOperators(config, operators, log, registered),
      foreign: [commandOperator(config, log)],
      settings: {
        ...engineSettings(config),
        ...{ id, version, queues: config.queues, foreignQueues: config.executorQueues },
      },
    });
    return { work$, condition: () => ({ alive: true, problems: work$.problems() }) };
  };
}

/** `reentry worker`: one worker process. */
export function workerCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'worker',
    says: 'take in runs, launch pods, resume runs; many may run',
    settings: [...ROLE_SETTINGS, 'queues', ...ENGINE_SETTINGS, 'operators', 'callbacks', 'logRetentionDays'],
    examples: [
      'reentry worker',
      'reentry worker --queues default,gpu --start-credits 64',
      'REENTRY_CONNECTIONS=clusters.yaml reentry worker',
    ],
  });
  return action(command, shell, finish, (invocation) => roleProcess('worker', invocation));
}
