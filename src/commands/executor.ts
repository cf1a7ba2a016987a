import type { Command } from 'commander';
import { ENGINE_SETTINGS } from '../process/settings.ts';
import { roleProcess } from '../process/roles.ts';
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

/** `reentry executor`: one executor process. */
export function executorCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'executor',
    says: 'run commands (operator "command") each in a pod of its own, within slots; many may run',
    // Operators of one's own: executors answer `submit` as workers do.
    settings: [...ROLE_SETTINGS, ...EXECUTOR_SETTINGS, ...ENGINE_SETTINGS, 'operators', 'otelEndpoint'],
    examples: [
      'reentry executor --executor-parallelism 200',
      'reentry executor --executor-pod-template-file pod.yaml --executor-delete-worker-pods-on-failure true',
      'REENTRY_EXECUTOR_QUEUES=executor,gpu reentry executor --executor-image apache/airflow:3.1.0',
      "reentry submit --command --image alpine --wait -- sh -c 'echo hi'    # a run for it",
    ],
  });
  return action(command, shell, finish, (invocation) => roleProcess(['executor'], invocation), 'drains');
}
