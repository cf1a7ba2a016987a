import type { Command } from 'commander';
import { lastValueFrom, takeUntil, timer, toArray } from 'rxjs';
import { ReentryError } from '../errors.ts';
import type { Config } from '../config.ts';
import { natsOptions, openClient } from './connection.ts';
import { EXIT_CODES } from './exit-codes.ts';
import { paintFor } from './paint.ts';
import { connectionsOf, PERMISSIONS } from './roles.ts';
import { action, declare, NATS_SETTINGS } from './shell.ts';
import type { Finish, Shell } from './shell.ts';

/** One thing that was looked at. */
export interface Finding {
  readonly what: string;
  readonly state: 'ok' | 'warning' | 'broken';
  readonly says: string;
}

/** Broker clocks further from ours than this make deadlines look early or late. @see spec protocol §7 */
const CLOCK_WARNING_MS = 250;

/** Twice as long as an executor is silent. */
const LISTEN_MS = 1_200;

/** `reentry doctor`: looks at all that reentry needs. */
export function doctorCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'doctor',
    says: 'look at the broker, its set-up, the clusters, the permissions, the workers and the executors',
    settings: [...NATS_SETTINGS, 'tenant', 'connections', 'kubeconfig', 'context', 'namespaces'],
    examples: ['reentry doctor', 'reentry doctor --json | jq \'.findings[] | select(.state != "ok")\''],
  });
  return action(command, shell, finish, async (invocation) => {
    const { config, json } = invocation;
    const findings = [...(await brokerFindings(config)), ...(await clusterFindings(config, shell.env))];
    if (json) shell.out(JSON.stringify({ findings }));
    else {
      const paint = paintFor(shell.colour);
      const marks = { ok: paint.green('ok     '), warning: paint.yellow('warning'), broken: paint.red('broken ') };
      for (const { what, state, says } of findings) shell.out(`${marks[state]} ${what}: ${says}`);
    }
    return findings.some(({ state }) => state === 'broken') ? EXIT_CODES.unreachable : EXIT_CODES.ok;
  });
}

async function looked(what: string, look: () => Promise<Omit<Finding, 'what'> | string>): Promise<Finding> {
  try {
    const found = await look();
    return typeof found === 'string' ? { what, state: 'ok', says: found } : { what, ...found };
  } catch (error) {
    if (error instanceof ReentryError) return { what, state: 'broken', says: error.message };
    throw error;
  }
}

async function brokerFindings(config: Config): Promise<readonly Finding[]> {
  const { openBroker } = await import('../nats/broker.ts');
  const name = `reentry-doctor-${String(process.pid)}`;
  const broker = await looked('broker', async () => {
    await using opened = await openBroker({ ...natsOptions(config), name, role: 'worker' });
    const fill = await opened.fill();
    const offset = opened.clockOffsetMs();
    if (Math.abs(offset) > CLOCK_WARNING_MS)
      return {
        state: 'warning',
        says: `its clock is ${offset.toFixed(0)} ms from this machine's; deadlines follow the broker's`,
      };
    if (fill > 0.8)
      return {
        state: 'broken',
        says: `the fullest bucket is at ${(fill * 100).toFixed(0)} %: no more runs are taken in; raise --storage-bytes of setup`,
      };
    return `reachable and set up; fullest bucket ${(fill * 100).toFixed(1)} %, clock offset ${offset.toFixed(0)} ms`;
  });
  if (broker.state === 'broken') return [broker];
  const workers = await looked('workers', async () => {
    await using client = await openClient({ config });
    await client.list({ limit: 1 });
    return 'at least one answers';
  });
  return [broker, workers, await looked('executors', () => executorsHeard(config))];
}

/** Executors speak twice a second, on a subject that costs the broker nothing. */
async function executorsHeard(config: Config): Promise<Omit<Finding, 'what'> | string> {
  const { openBroker } = await import('../nats/broker.ts');
  const name = `reentry-doctor-${String(process.pid)}`;
  await using broker = await openBroker({ ...natsOptions(config), name, role: 'worker' });
  const beats = await lastValueFrom(broker.executors.beats$.pipe(takeUntil(timer(LISTEN_MS)), toArray()), {
    defaultValue: [],
  });
  const heard = new Map(beats.map((beat) => [`${beat.queue} ${beat.executor}`, beat]));
  if (heard.size === 0)
    return { state: 'warning', says: 'none is heard; runs of operator "command" wait until one is started' };
  const queues = Map.groupBy(heard.values(), ({ queue }) => queue);
  return [...queues]
    .map(([queue, members]) => {
      const slots = members.map(({ running, parallelism }) => `${String(running)} of ${String(parallelism)}`)[0] ?? '';
      return `queue ${queue}: ${String(members.length)}, ${slots} slots taken`;
    })
    .join('; ');
}

async function clusterFindings(config: Config, env: Shell['env']): Promise<readonly Finding[]> {
  const { openClusters } = await import('../kubernetes/clusters.ts');
  const findings: Finding[] = [];
  const opened = await looked('connections', async () => {
    await using clusters = openClusters({ connections: await connectionsOf(config), env });
    for (const connection of clusters.names) {
      findings.push(
        await looked(`cluster ${connection}`, async () => {
          const cluster = clusters.get(connection);
          const version = await cluster.version();
          const wanted = (config.namespaces ?? [undefined]).flatMap((namespace) =>
            PERMISSIONS.worker.map((permission) => ({
              ...permission,
              ...(namespace === undefined ? {} : { namespace }),
            })),
          );
          const missing = await cluster.missingPermissions(wanted);
          if (missing.length > 0)
            return { state: 'broken', says: `${version}; these credentials lack ${missing.join(', ')}` };
          return `${version}, all permissions of a worker`;
        }),
      );
    }
    return clusters.names.join(', ');
  });
  return [opened, ...findings];
}
