import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { lastValueFrom, takeUntil, timer, toArray } from 'rxjs';
import { z } from 'zod';
import { whereText } from '../core/connection-state.ts';
import { accessOf, accessText } from '../core/rbac.ts';
import type { Cluster } from '../ports/cluster.ts';
import { ReentryError } from '../errors.ts';
import type { Config } from '../config.ts';
import { PERMISSION_ROLES } from '../wire/permissions.ts';
import type { PermissionRole, ProcessRole } from '../wire/permissions.ts';
import { openClient } from './connection.ts';
import { CLOCK_WARNING_MS, roleFindings, serverFindings } from './doctor-broker.ts';
import type { Finding } from './doctor-broker.ts';
import { EXIT_CODES } from './exit-codes.ts';
import { paintFor } from './paint.ts';
import { connectionsOf, natsOptions } from '../process/connections.ts';
import { readText } from '../process/files.ts';
import { action, declare, NATS_SETTINGS } from './shell.ts';
import type { Finish, Shell } from './shell.ts';

/** Executors publish a heartbeat every 500 ms; this is more than twice that. */
const LISTEN_MS = 1_200;
const optionsSchema = z.looseObject({
  role: z.array(z.enum(PERMISSION_ROLES)).optional(),
  monitor: z.string().optional(),
});

/** Parser of a monitoring URL; anything else is a usage error. */
function monitoring(value: string): string {
  const url = URL.parse(value);
  if (url !== null && /^https?:$/.test(url.protocol)) return value;
  throw new InvalidArgumentError('It must be http://HOST:PORT.');
}

/** `reentry doctor`: checks everything that reentry needs. */
export function doctorCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'doctor',
    summary: 'check broker, streams, permissions, clusters, and which roles are running',
    settings: [
      ...NATS_SETTINGS,
      'tenant',
      'queues',
      'executorQueues',
      'policy',
      'connections',
      'kubeconfig',
      'context',
      'namespaces',
    ],
    examples: [
      'reentry doctor',
      'reentry doctor --role triggerer     # with the credentials of a role: lists every permission it lacks',
      'reentry doctor --role worker triggerer   # of `reentry serve`, which is both with one user and one service account',
      'reentry doctor --json | jq \'.findings[] | select(.state != "ok")\'',
    ],
  })
    .addOption(
      new Option(
        '--role <ROLE...>',
        'check the permissions of a process with these roles, with its credentials',
      ).choices([...PERMISSION_ROLES]),
    )
    .option(
      '--monitor <URL>',
      'monitoring port of nats-server, to read sync_interval; e.g. http://nats:8222',
      monitoring,
    );
  return action(command, shell, finish, async (invocation, options) => {
    const { config, json } = invocation;
    const { role: asked, monitor } = optionsSchema.parse(options);
    const roles = asked === undefined ? undefined : [...new Set(asked)];
    const findings = [
      ...(await brokerFindings(config, roles, { monitor, version: shell.version })),
      ...(await policyFindings(config)),
      ...(await clusterFindings(config, shell.env, roles)),
    ];
    if (json) shell.out(JSON.stringify({ findings }));
    else {
      const paint = paintFor(shell.colour);
      const marks = { ok: paint.green('ok     '), warning: paint.yellow('warning'), broken: paint.red('broken ') };
      for (const { what, state, detail } of findings) shell.out(`${marks[state]} ${what}: ${detail}`);
    }
    return findings.some(({ state }) => state === 'broken') ? EXIT_CODES.unreachable : EXIT_CODES.ok;
  });
}

async function checked(what: string, check: () => Promise<Omit<Finding, 'what'> | string>): Promise<Finding> {
  try {
    const found = await check();
    return typeof found === 'string' ? { what, state: 'ok', detail: found } : { what, ...found };
  } catch (error) {
    if (error instanceof ReentryError) return { what, state: 'broken', detail: error.message };
    throw error;
  }
}

async function brokerFindings(
  config: Config,
  asked: readonly PermissionRole[] | undefined,
  { monitor, version }: { readonly monitor: string | undefined; readonly version: string },
): Promise<readonly Finding[]> {
  const roles = asked ?? USUAL;
  const permissions = await permissionFindings(config, roles);
  if (permissions.some(({ what }) => what === 'broker')) return permissions;
  const [first] = processRoles(roles);
  return [
    ...(first === undefined ? [] : [await storage(config, first)]),
    ...permissions,
    ...(asked === undefined ? await serverFindings(config, monitor) : []),
    ...(asked === undefined ? await roleFindings(config, version) : []),
    ...(asked === undefined || asked.includes('client') ? [await workers(config)] : []),
    ...(asked === undefined ? [await checked('executors', () => executors(config))] : []),
  ];
}

/** Role whose permissions are checked where none is named: the one that needs most. */
const USUAL: readonly PermissionRole[] = ['worker'];

/** The roles that are processes of the installation. */
function processRoles(roles: readonly PermissionRole[]): readonly ProcessRole[] {
  return roles.filter((role) => role !== 'client' && role !== 'setup');
}

/** Tries every subject that the roles use. */
async function permissionFindings(config: Config, roles: readonly PermissionRole[]): Promise<readonly Finding[]> {
  const { refusedSubjects } = await import('../nats/probe.ts');
  const what = `NATS permissions as ${roles.join(' and ')}`;
  try {
    const { tenant, queues, executorQueues } = config;
    const name = `reentry-doctor-${String(process.pid)}`;
    // The inbox of one role is enough: those of the others are among the subjects tried.
    const options = { ...natsOptions(config), name, role: roles[0] ?? 'worker' };
    const own = options.role === 'client' ? { tenant } : {};
    const refused = await refusedSubjects(roles, { ...options, ...own }, { tenant, queues, executorQueues });
    if (refused.length === 0) return [{ what, state: 'ok', detail: 'all subjects are allowed' }];
    return refused.map((one) => ({
      what,
      state: 'broken',
      detail: `may not ${one.side} ${one.subject} (${one.what}); \`reentry setup --permissions\` prints the permissions to grant`,
    }));
  } catch (error) {
    if (error instanceof ReentryError) return [{ what: 'broker', state: 'broken', detail: error.message }];
    throw error;
  }
}

async function storage(config: Config, role: ProcessRole): Promise<Finding> {
  const { openBroker } = await import('../nats/broker.ts');
  return await checked('broker', async () => {
    const name = `reentry-doctor-${String(process.pid)}`;
    await using opened = await openBroker({ ...natsOptions(config), name, role });
    const fill = await opened.fill();
    const offset = opened.clockOffsetMs();
    if (Math.abs(offset) > CLOCK_WARNING_MS)
      return {
        state: 'warning',
        detail: `its clock differs from this machine's by ${offset.toFixed(0)} ms; deadlines follow the broker's`,
      };
    if (fill > 0.8)
      return {
        state: 'broken',
        detail: `the fullest bucket is at ${(fill * 100).toFixed(0)} %, above 80 % no runs are accepted; run \`reentry setup\` with a higher --storage-bytes`,
      };
    return `reachable, streams exist; fullest bucket ${(fill * 100).toFixed(1)} %, clock offset ${offset.toFixed(0)} ms`;
  });
}

async function workers(config: Config): Promise<Finding> {
  return await checked('services', async () => {
    await using client = await openClient({ config });
    await client.list({ limit: 1 });
    return 'a worker answers';
  });
}

/** Listens for heartbeats of executors. */
async function executors(config: Config): Promise<Omit<Finding, 'what'> | string> {
  const { openBroker } = await import('../nats/broker.ts');
  const name = `reentry-doctor-${String(process.pid)}`;
  await using broker = await openBroker({ ...natsOptions(config), name, role: 'worker' });
  const beats = await lastValueFrom(broker.executors.heartbeats$.pipe(takeUntil(timer(LISTEN_MS)), toArray()), {
    defaultValue: [],
  });
  const live = new Map(beats.map((beat) => [`${beat.queue} ${beat.executor}`, beat]));
  if (live.size === 0)
    return { state: 'warning', detail: 'none is running; runs of operator "command" wait until one is started' };
  const queues = Map.groupBy(live.values(), ({ queue }) => queue);
  return [...queues]
    .map(([queue, members]) => {
      const slots = members.map(({ running, parallelism }) => `${String(running)} of ${String(parallelism)}`)[0] ?? '';
      return `queue ${queue}: ${String(members.length)}, ${slots} slots taken`;
    })
    .join('; ');
}

/** Whether the policy file is valid; none where none is configured. */
async function policyFindings({ policy: path }: Config): Promise<readonly Finding[]> {
  if (path === undefined) return [];
  const { parsePolicy } = await import('../policy/policy-file.ts');
  const check = async () => {
    parsePolicy(path, await readText(path));
    return `${path} is valid`;
  };
  return [await checked('policy', check)];
}

/** Checks each cluster with the credentials of a process that has these roles: whether it answers, and which permissions are missing. */
export async function clusterFindings(
  config: Config,
  env: Shell['env'],
  asked: readonly PermissionRole[] = USUAL,
): Promise<readonly Finding[]> {
  const roles = processRoles(asked);
  if (roles.length === 0) return [];
  const { openClusters } = await import('../kubernetes/clusters.ts');
  const findings: Finding[] = [];
  const opened = await checked('connections', async () => {
    await using clusters = openClusters({ connections: await connectionsOf(config), env });
    // Side by side: one that does not answer is waited for only once.
    const each = clusters.names.map((name) => connectionFindings(clusters.get(name), config.namespaces, roles));
    findings.push(...(await Promise.all(each)).flat());
    return clusters.names.join(', ');
  });
  return [opened, ...findings];
}

/** Whether one cluster answers, and in which namespace which permission is missing. */
async function connectionFindings(
  cluster: Cluster,
  namespaces: Config['namespaces'],
  roles: readonly ProcessRole[],
): Promise<readonly Finding[]> {
  const { connection } = cluster;
  const found = await checked(`cluster ${connection}`, async () => cluster.version());
  if (found.state !== 'ok') return [found];
  const wanted = accessOf(roles);
  const ofNamespace = (namespace: string | undefined) => {
    const asked = wanted.map((access) => ({ ...access, ...(namespace === undefined ? {} : { namespace }) }));
    return checked(`permissions as ${roles.join(' and ')} ${whereText(namespace)} of ${connection}`, async () => {
      const missing = await cluster.missingPermissions(asked);
      if (missing.length === 0) return 'all granted';
      const lacking = wanted.filter((access) => missing.includes(accessText(access)));
      return {
        state: lacking.every(({ onlyFor }) => onlyFor === 'results') ? 'warning' : 'broken',
        detail: `missing: ${lacking.map((access) => `${accessText(access)} (${access.why})`).join(', ')}`,
      };
    });
  };
  return [found, ...(await Promise.all((namespaces ?? [undefined]).map(ofNamespace)))];
}
