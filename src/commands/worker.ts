import type { Command } from 'commander';
import { boundOperators } from './operators.ts';
import { roleProcess } from './roles.ts';
import type { BegunRole, RoleParts } from './roles.ts';
import { action, declare, ROLE_SETTINGS } from './shell.ts';
import type { Finish, Shell } from './shell.ts';
import { callbacksFrom } from './user-modules.ts';

const DAY_MS = 24 * 3_600_000;

/** The worker's role, bound to its settings. */
export async function beginWorker(): Promise<(parts: RoleParts) => Promise<BegunRole>> {
  const [{ worker }, { podOperators, commandOperator }] = await Promise.all([
    import('../roles/worker.ts'),
    boundOperators(),
  ]);
  return async ({ id, config, broker, clusters, log, meter, operators, callbacks, tracer, version }) => {
    const { installation, namespaces, queues } = config;
    const registered = { ...(await callbacksFrom(config.callbacks, process.cwd())), ...callbacks };
    const work$ = worker({
      ...{ broker, clusters, log, meter, tracer },
      operators: podOperators(config, operators, log, registered),
      foreign: [commandOperator(config, log)],
      settings: {
        ...{ id, version, installation, namespaces, queues, foreignQueues: config.executorQueues },
        credits: {
          intake: config.intakeCredits,
          ctl: config.ctlCredits,
          resume: config.resumeCredits,
          start: config.startCredits,
        },
        concurrencyLimits: config.concurrencyLimits,
        retentionMs: config.runRetentionDays * DAY_MS,
        keepPodMs: config.keepPodSeconds * 1000,
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
    settings: [
      ...ROLE_SETTINGS,
      'queues',
      'intakeCredits',
      'startCredits',
      'resumeCredits',
      'ctlCredits',
      'concurrencyLimits',
      'podSecurity',
      'policy',
      'templateFolder',
      'operators',
      'callbacks',
      'keepPodSeconds',
      'runRetentionDays',
      'logRetentionDays',
    ],
    examples: [
      'reentry worker',
      'reentry worker --queues default,gpu --start-credits 64',
      'REENTRY_CONNECTIONS=clusters.yaml reentry worker',
    ],
  });
  return action(command, shell, finish, (invocation) => roleProcess('worker', invocation));
}
