import type { Command } from 'commander';
import { ENGINE_SETTINGS, engineSettings } from './engine-settings.ts';
import { boundOperators } from './operators.ts';
import { roleProcess } from './roles.ts';
import type { BegunRole, RoleParts } from './roles.ts';
import { action, declare, ROLE_SETTINGS } from './shell.ts';
import type { Finish, Shell } from './shell.ts';

/** Settings that say how pods of commands are made and kept. */
export const EXECUTOR_SETTINGS = [
  'executorQueues',
  'executorParallelism',
  'executorLaunchConcurrency',
  'executorPodTemplateFile',
  'executorImage',
  'executorNamespace',
  'executorDeleteWorkerPods',
  'executorDeleteWorkerPodsOnFailure',
  'executorPublishRetries',
  'executorQueuedTimeoutSeconds',
  'executorQueuedRetries',
] as const;

/** The executor's role, bound to its settings. */
export async function beginExecutor(): Promise<(parts: RoleParts) => BegunRole> {
  const [{ executor }, { Launcher }, { LaunchBook }, { podOperators, commandOperator }] = await Promise.all([
    import('../roles/executor.ts'),
    import('../executor/launcher.ts'),
    import('../executor/launch-book.ts'),
    boundOperators(),
  ]);
  return ({ id, config, broker, clusters, log, meter, operators, tracer, version }) => {
    const launches = new LaunchBook();
    const launcher = new Launcher({ maxInFlight: config.executorLaunchConcurrency, meter });
    const work$ = executor({
      ...{ broker, clusters, log, meter, tracer, launches },
      parallelism: config.executorParallelism,
      operators: [commandOperator(config, log, { launcher, launched: launches.created })],
      foreign: podOperators(config, operators, log),
      settings: {
        ...engineSettings(config),
        ...{ id, version, role: 'executor' as const, queues: config.executorQueues, foreignQueues: config.queues },
      },
    });
    return { work$, condition: () => ({ alive: true, problems: work$.problems() }) };
  };
}

/** `reentry executor`: one executor process. */
export function executorCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'executor',
    says: 'run commands (operator "command") each in a pod of its own, within slots; many may run',
    settings: [...ROLE_SETTINGS, ...EXECUTOR_SETTINGS, ...ENGINE_SETTINGS],
    examples: [
      'reentry executor --executor-parallelism 200',
      'reentry executor --executor-pod-template-file pod.yaml --executor-delete-worker-pods-on-failure true',
      'REENTRY_EXECUTOR_QUEUES=executor,gpu reentry executor --executor-image apache/airflow:3.1.0',
      "reentry submit --command --image alpine --wait -- sh -c 'echo hi'    # a run for it",
    ],
  });
  return action(command, shell, finish, (invocation) => roleProcess('executor', invocation));
}
