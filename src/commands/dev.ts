import type { Command } from 'commander';
import { z } from 'zod';
import type { Log } from '../ports/ambient.ts';
import { openLog, openTelemetry } from '../telemetry.ts';
import { openClient } from './connection.ts';
import { takeInstallation } from './dev-installation.ts';
import { EXIT_CODES } from './exit-codes.ts';
import type { ExitCode } from './exit-codes.ts';
import { openHealth } from '../process/health.ts';
import { EXECUTOR_SETTINGS } from './roles.ts';
import { startLocalParts } from './local-parts.ts';
import { paintFor } from './paint.ts';
import { ROLES } from '../process/roles.ts';
import { runRoles } from '../process/run-roles.ts';
import type { RunningRoles } from '../process/run-roles.ts';
import { setUp } from './setup.ts';
import { action, declare, devFolder } from './shell.ts';
import type { Finish, Invocation, Shell } from './shell.ts';

const optionsSchema = z.looseObject({
  fresh: z.boolean().default(false),
  kubeconfig: z.string().optional(),
  context: z.string().optional(),
});
type Options = z.infer<typeof optionsSchema>;

/** Default port of NATS clients. */
const NATS_PORT = 4222;

/** `reentry dev`: a whole installation on one machine, in one process. */
export function devCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'dev',
    summary:
      'run broker, local cluster, worker, triggerer and executor on this machine; one installation per directory',
    settings: [
      'natsServer',
      'kubeconfig',
      'context',
      'namespaces',
      'queues',
      'installation',
      'podSecurity',
      'policy',
      'templateFolder',
      ...EXECUTOR_SETTINGS,
      'operators',
      'callbacks',
      'cacheFolder',
      'logLevel',
      'logFormat',
    ],
    examples: [
      'reentry dev',
      'reentry dev --fresh                 # delete the stored runs of this directory',
      'reentry dev --context kind-kind     # pods on your own cluster',
      'reentry dev --json                  # one line for scripts: {"natsUrl":…,"kubeconfig":…,"ready":true}',
    ],
  }).option('--fresh', 'delete what the installation of this directory has stored');
  const act: Parameters<typeof action>[3] = (invocation, options) => {
    // By default only warnings are logged: the terminal is for the user.
    const quiet = options['logLevel'] === undefined && (shell.env['REENTRY_LOG_LEVEL'] ?? '') === '';
    const config = quiet ? { ...invocation.config, logLevel: 'warn' as const } : invocation.config;
    return dev({ ...invocation, config }, optionsSchema.parse(options));
  };
  return action(command, shell, finish, act, 'drains');
}

async function dev({ shell, config, json }: Invocation, options: Options): Promise<ExitCode> {
  const progress = (text: string): void => {
    if (!json) shell.err(text);
  };
  await using installation = await takeInstallation(devFolder(shell, config.cacheFolder), options.fresh);
  const named = options.kubeconfig !== undefined || options.context !== undefined;
  const { natsFolder, clusterFolder, lastNatsPort } = installation;
  await using parts = await startLocalParts({
    ...{ config, env: shell.env, natsFolder, clusterFolder, progress, cacheFolder: shell.userCache },
    cluster: named ? options : undefined,
    natsPorts: [NATS_PORT, ...(lastNatsPort === undefined ? [] : [lastNatsPort])],
  });
  await setUp(parts.config);

  const logOf = (role: string): Log =>
    openLog({ ...config, logFormat: json ? 'json' : config.logFormat }, role, shell.stderr);
  const telemetry = openTelemetry(logOf('dev'));
  await using health = await openHealth({ host: '127.0.0.1', port: 0, telemetry });
  const { env, stop$, version } = shell;
  const running = runRoles(ROLES, { config: parts.config, env, stop$, version, logOf, telemetry, health });
  // Handled at the end, whatever happens before.
  running.ended.catch(() => undefined);

  if (await readiness(parts.config, running)) {
    const where = {
      natsUrl: parts.natsUrl,
      ...(parts.kubeconfig === undefined ? {} : { kubeconfig: parts.kubeconfig }),
    };
    await installation.publish({ ...where, directory: shell.directory, ready: true });
    if (json) shell.out(JSON.stringify({ ...where, ready: true }));
    else welcome(shell, { ...where, local: parts.clusterIsLocal, http: health.port });
  }
  await running.stopping;
  progress('stopping…');
  await running.ended;
  return EXIT_CODES.ok;
}

/** Waits until the roles are ready and a worker answers; `false` when stopped before. */
async function readiness(config: Invocation['config'], { condition, stopping }: RunningRoles): Promise<boolean> {
  const over = new AbortController();
  void stopping.then(() => {
    over.abort();
  });
  await using client = await openClient({ config });
  while (!over.signal.aborted) {
    if (condition().ready) {
      const answers = await client.list({ limit: 1 }).then(
        () => true,
        () => false, // not listening yet
      );
      if (answers) return true;
    }
    await Promise.race([stopping, pause(20)]);
  }
  return false;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}

function welcome(
  shell: Shell,
  { natsUrl, kubeconfig, local, http }: { natsUrl: string; kubeconfig?: string; local: boolean; http: number },
): void {
  const paint = paintFor(shell.colour);
  const isUsual = natsUrl.endsWith(`:${String(NATS_PORT)}`);
  const lines = [
    `${paint.green('reentry is up')} ${paint.dim('(Ctrl-C stops it)')}`,
    `  broker    ${natsUrl}${isUsual ? '' : paint.dim(` (${String(NATS_PORT)} is in use; for nats: export NATS_URL=${natsUrl})`)}`,
    `  cluster   ${local ? 'local: containers are processes of this machine, images are only names' : 'your own'}`,
    ...(kubeconfig === undefined ? [] : [`  kubectl   kubectl --kubeconfig ${kubeconfig} get pods`]),
    `  health    http://127.0.0.1:${String(http)}/readyz, /metrics`,
    '',
    'Try, in another terminal of this directory:',
    `  reentry submit --image alpine --wait --logs -- sh -c 'echo hello; sleep 1; echo done'`,
    `  reentry submit --image alpine --run-id wrong --wait -- sh -c 'exit 3';  reentry explain wrong`,
    `  reentry submit --command --image alpine --wait -- sh -c 'echo from an executor'`,
    '  reentry list',
    `  nats --server ${natsUrl} pub reentry.v1.run.default.default.by-hand '{"params":{"image":"alpine","cmds":["true"]}}'`,
  ];
  shell.out(lines.join('\n'));
}
