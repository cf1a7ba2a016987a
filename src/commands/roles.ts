/** Commands that run roles: `worker`, `triggerer`, `executor`, and `serve` for several in one process. */
import { Argument } from 'commander';
import type { Command } from 'commander';
import { z } from 'zod';
import type { SettingName } from '../config.ts';
import { ROLES } from '../process/roles.ts';
import type { Role } from '../process/roles.ts';
import { roleProcess } from '../process/run-roles.ts';
import { EXIT_CODES } from './exit-codes.ts';
import type { ExitCode } from './exit-codes.ts';
import { action, declare, NATS_SETTINGS } from './shell.ts';
import type { Finish, Invocation, Shell } from './shell.ts';

/** Settings of every role. */
const ROLE_SETTINGS: readonly SettingName[] = [
  'installation',
  ...NATS_SETTINGS,
  'connections',
  'kubeconfig',
  'context',
  'namespaces',
  'httpPort',
  'httpHost',
  'drainSeconds',
  'logLevel',
  'logFormat',
];

/** Settings of workers and executors: either can be the janitor, and either starts runs. */
const ENGINE_SETTINGS: readonly SettingName[] = [
  'intakeCredits',
  'startCredits',
  'resumeCredits',
  'ctlCredits',
  'concurrencyLimits',
  'podSecurity',
  'policy',
  'templateFolder',
  'keepPodSeconds',
  'runRetentionDays',
  // An executor needs them as well: it answers `submit` for both kinds of queues.
  'operators',
  'otelEndpoint',
];

/** Settings of an executor: its slots, and the pods of commands. */
export const EXECUTOR_SETTINGS: readonly SettingName[] = [
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
];

const WORKER_SETTINGS: readonly SettingName[] = ['queues', ...ENGINE_SETTINGS, 'callbacks'];
const TRIGGERER_SETTINGS: readonly SettingName[] = ['queues', 'minLoggingEveryMs'];

async function serve(roles: readonly Role[], { shell, config, json }: Invocation): Promise<ExitCode> {
  const { env, stop$, version, stderr } = shell;
  const logFormat = json ? 'json' : config.logFormat;
  await roleProcess(roles, { config: { ...config, logFormat }, env, stop$, version, stderr });
  return EXIT_CODES.ok;
}

/** `reentry worker`: one worker process. */
export function workerCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'worker',
    summary: 'accept runs, launch their pods and resume them; start as many as you like',
    settings: [...ROLE_SETTINGS, ...WORKER_SETTINGS],
    examples: [
      'reentry worker',
      'reentry worker --queues default,gpu --start-credits 64',
      'REENTRY_CONNECTIONS=clusters.yaml reentry worker',
    ],
  });
  return action(command, shell, finish, (invocation) => serve(['worker'], invocation), 'drains');
}

/** `reentry triggerer`: one triggerer process. */
export function triggererCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'triggerer',
    summary: 'watch the pods of the installation and resume runs when they change; start two or more',
    settings: [...ROLE_SETTINGS, ...TRIGGERER_SETTINGS],
    examples: ['reentry triggerer', 'REENTRY_NAMESPACES=jobs,etl reentry triggerer --nats-url nats://nats:4222'],
  });
  return action(command, shell, finish, (invocation) => serve(['triggerer'], invocation), 'drains');
}

/** `reentry executor`: one executor process. */
export function executorCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'executor',
    summary: 'run commands (operator "command"), each in a pod of its own, within slots; start as many as you like',
    settings: [...ROLE_SETTINGS, ...EXECUTOR_SETTINGS, ...ENGINE_SETTINGS],
    examples: [
      'reentry executor --executor-parallelism 200',
      'reentry executor --executor-pod-template-file pod.yaml --executor-delete-worker-pods-on-failure true',
      'REENTRY_EXECUTOR_QUEUES=executor,gpu reentry executor --executor-image apache/airflow:3.1.0',
      "reentry submit --command --image alpine --wait -- sh -c 'echo hi'    # a run for it",
    ],
  });
  return action(command, shell, finish, (invocation) => serve(['executor'], invocation), 'drains');
}

const USUAL: readonly Role[] = ['worker', 'triggerer'];
const rolesSchema = z.array(z.enum(ROLES)).transform((named) => (named.length === 0 ? USUAL : [...new Set(named)]));

/** `reentry serve`: several roles in one process, for about half the memory of one process each. */
export function serveCommand(shell: Shell, finish: Finish): Command {
  const settings = [...ROLE_SETTINGS, ...WORKER_SETTINGS, ...TRIGGERER_SETTINGS, ...EXECUTOR_SETTINGS];
  const command = declare({
    name: 'serve',
    summary: 'run worker and triggerer (and executor, if named) in one process: for a small installation',
    settings: [...new Set(settings)],
    examples: ['reentry serve', 'reentry serve worker triggerer executor'],
  }).addArgument(new Argument('[roles...]', 'roles to run').choices(ROLES).default(USUAL));
  const act: Parameters<typeof action>[3] = (invocation, _options, args) => serve(rolesSchema.parse(args), invocation);
  return action(command, shell, finish, act, 'drains');
}
