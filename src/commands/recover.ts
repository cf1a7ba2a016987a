import { DEFAULT_QUEUE } from '../wire/tokens.ts';
import Table from 'cli-table3';
import type { Command } from 'commander';
import { installationSelector } from '../core/pod/labels.ts';
import { COULD_NOT_KNOW, foundIn, operatorOfPod, recoveredRequest, recoveredState } from '../core/run/recovery.ts';
import type { FoundPod } from '../core/run/recovery.ts';
import { lifecycleData, subscriptionOf } from '../core/run/state-changes.ts';
import type { Broker } from '../ports/broker.ts';
import type { Cluster } from '../ports/cluster.ts';
import { runRequestSchema } from '../wire/run-request.ts';
import { queueOfPod, runOfPod } from '../wire/pods.ts';
import { EXIT_CODES } from './exit-codes.ts';
import { plain } from './paint.ts';
import { connectionsOf, natsOptions } from '../process/connections.ts';
import { action, declare, NATS_SETTINGS } from './shell.ts';
import type { Finish, Shell } from './shell.ts';

/** Runs recovered at a time. */
const CONCURRENT = 16;

/** One pod, and the outcome for its run. */
interface Accounted {
  readonly outcome: 'recovered' | 'known' | 'gone' | Exclude<FoundPod['kind'], 'recoverable'>;
  readonly connection: string;
  readonly namespace: string;
  readonly pod: string;
  readonly uid: string;
  readonly tenant?: string | undefined;
  readonly runId?: string | undefined;
  readonly attempt?: number | undefined;
  /** Of a recovered run. */
  readonly queue?: string | undefined;
}

/** `reentry recover`: restores runs from their pods. Needs the NATS user and the cluster permissions of a worker. */
export function recoverCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'recover',
    summary: "restore runs from their pods after a loss of the broker's data; deletes nothing, safe to repeat",
    settings: [
      ...NATS_SETTINGS,
      'installation',
      'queues',
      'executorQueues',
      'connections',
      'kubeconfig',
      'context',
      'namespaces',
    ],
    examples: [
      'reentry setup && reentry recover',
      'reentry recover --dry-run',
      'reentry recover --json | jq \'.pods[] | select(.outcome == "recovered") | .runId\'',
    ],
  }).option('--dry-run', 'only print what would be recovered');
  return action(command, shell, finish, async ({ config, json }, options) => {
    const dryRun = options['dryRun'] === true;
    const [{ openBroker }, { openClusters }] = await Promise.all([
      import('../nats/broker.ts'),
      import('../kubernetes/clusters.ts'),
    ]);
    const name = `reentry-recover-${String(process.pid)}`;
    await using broker = await openBroker({ ...natsOptions(config), name, role: 'worker' });
    await broker.fill(); // fails where `setup` was not run
    await using clusters = openClusters({ connections: await connectionsOf(config), env: shell.env });
    const accounted: Accounted[] = [];
    for (const connection of clusters.names) {
      const cluster = clusters.get(connection);
      for (const namespace of config.namespaces ?? [undefined]) {
        const pods = await cluster.listPods(namespace, installationSelector(config.installation));
        const found = [...foundIn(pods)];
        const lane = async () => {
          for (let next = found.pop(); next !== undefined; next = found.pop())
            accounted.push(await account(broker, cluster, next, { ...config, dryRun, by: name }));
        };
        await Promise.all(Array.from({ length: CONCURRENT }, lane));
      }
    }
    const counts: Record<string, number> = {};
    for (const { outcome } of accounted) counts[outcome] = (counts[outcome] ?? 0) + 1;
    if (json) shell.out(JSON.stringify({ dryRun, counts, pods: accounted, couldNotKnow: COULD_NOT_KNOW }));
    else {
      const head = ['outcome', 'tenant', 'run', 'attempt', 'pod'];
      const table = new Table({ head, style: { head: [], border: [], compact: true } });
      for (const { outcome, tenant = '', runId = '', attempt = '', namespace, pod } of accounted)
        table.push([outcome, plain(tenant), plain(runId), String(attempt), `${namespace}/${pod}`]);
      if (accounted.length > 0) shell.out(table.toString());
      const sums = Object.entries(counts).map(([outcome, count]) => `${String(count)} ${outcome}`);
      shell.out(
        `${String(accounted.length)} pods${sums.length === 0 ? '' : `: ${sums.join(', ')}`}${dryRun ? ' (nothing was written)' : ''}`,
      );
      shell.out('not recoverable:');
      for (const what of COULD_NOT_KNOW) shell.out(`  - ${what}`);
    }
    for (const [queue, runs] of unserved(accounted, [...config.queues, ...config.executorQueues]))
      shell.err(
        `queue ${queue} of ${String(runs)} recovered runs is in neither --queues nor --executor-queues: they continue once \`reentry setup\` has created it and a worker or executor serves it`,
      );
    return EXIT_CODES.ok;
  });
}

/** Queues of recovered runs that the settings do not name, and how many runs each has. */
function unserved(accounted: readonly Accounted[], known: readonly string[]): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  for (const { queue } of accounted)
    if (queue !== undefined && !known.includes(queue)) found.set(queue, (found.get(queue) ?? 0) + 1);
  return found;
}

/** Writes what restores a run, in the order of intake: request, state, event, subscription. Each write may be repeated. */
async function account(
  broker: Broker,
  cluster: Cluster,
  found: FoundPod,
  how: {
    readonly queues: readonly string[];
    readonly dryRun: boolean;
    readonly by: string;
  },
): Promise<Accounted> {
  const { pod } = found;
  const { connection, namespace, uid, tenant, runId, attempt } = pod;
  const of = (outcome: Accounted['outcome']): Accounted => ({
    ...{ outcome, connection, namespace, pod: pod.name, uid, tenant, runId, attempt },
  });
  if (found.kind !== 'recoverable') return of(found.kind);
  const run = runOfPod(pod);
  // The labels may have been set by anyone, so an invalid run id is not printed.
  if (run === undefined) return { ...of('unnamed'), tenant: undefined, runId: undefined };
  const seen = await broker.runs.read(run, { leader: true });
  if (seen !== undefined) return of('known');
  const queue = queueOfPod(pod, how.queues[0] ?? DEFAULT_QUEUE);
  if (how.dryRun) return { ...of('recovered'), queue };
  const manifest = await cluster.getPod(namespace, pod.name);
  if (manifest === undefined) return of('gone');
  const operator = operatorOfPod(pod);
  await broker.requests.claim(run, runRequestSchema.parse(recoveredRequest(operator, pod, manifest)));
  const state = { ...recoveredState(pod, { operator, queue, now: broker.now(), by: how.by }), op: `recovered ${uid}` };
  const written = await broker.runs.write(run, state, 0);
  if (written.kind !== 'written') return of('known');
  const why = 'recovered from its pod';
  await broker.publish.event(run, 'accepted', 0, lifecycleData(run, state, broker.now(), { why }));
  const waits = subscriptionOf(state, written.revision);
  if (waits !== undefined) await broker.subscriptions.put(run, waits);
  return { ...of('recovered'), queue };
}
