/** Pods that were kept for people to look at do not stay for ever. @see design §1 promise 4 */
import { keptSelector } from '../../core/pod/labels.ts';
import type { PodProjection } from '../../core/pod/projection.ts';
import type { Cluster } from '../../ports/cluster.ts';
import type { Engine } from '../protocol/engine.ts';

/** Deletes the marked pods of the installation whose work, or run where they never began, ended longer than `keepPodMs` ago. What cannot be deleted now is met again. The number deleted. */
export async function removeKeptPods(engine: Engine, keepPodMs: number): Promise<number> {
  const { clusters, namespaces, installation, broker, log } = engine;
  let removed = 0;
  for (const name of clusters.names) {
    const cluster = clusters.get(name);
    for (const namespace of namespaces ?? [undefined]) {
      for (const pod of await keptPods(engine, cluster, namespace, installation)) {
        const keptSince = await endedAt(engine, pod);
        if (keptSince === undefined || keptSince + keepPodMs > broker.now()) continue;
        try {
          if ((await cluster.deletePod(pod)) === 'asked') removed += 1;
        } catch (error) {
          log.warn({ pod: pod.name, namespace: pod.namespace, err: error }, 'a kept pod could not be deleted yet');
        }
      }
    }
  }
  if (removed > 0) log.info({ removed }, 'kept pods removed');
  return removed;
}

async function keptPods(
  { log }: Engine,
  cluster: Cluster,
  namespace: string | undefined,
  installation: string,
): Promise<readonly PodProjection[]> {
  try {
    const pods = await cluster.listPods(namespace, keptSelector(installation));
    return pods.filter((pod) => pod.deletedAt === undefined && (hasEnded(pod) || neverBegan(pod)));
  } catch (error) {
    log.warn({ connection: cluster.connection, err: error }, 'kept pods could not be listed');
    return [];
  }
}

/** Whether the pod's work is over: one that was kept on purpose may still run, and a container that ended before the base container says nothing. */
function hasEnded({ phase, baseContainer, containers }: PodProjection): boolean {
  if (phase === 'Succeeded' || phase === 'Failed') return true;
  // A sidecar may keep the pod alive for ever.
  return containers.some(
    ({ name, kind, state }) => name === baseContainer && kind === 'main' && state === 'terminated',
  );
}

/** Whether its work has not begun: no node takes it, its image cannot be pulled, or it still prepares. Its end would never come. */
function neverBegan({ phase, baseContainer, containers }: PodProjection): boolean {
  // Pending is also a pod whose base container works beside one that cannot start.
  return phase === 'Pending' && !containers.some(({ name, state }) => name === baseContainer && state === 'running');
}

/** When the pod's work ended: its containers' last end, else its run's; of a run that nobody remembers the pod's own beginning. */
async function endedAt({ broker }: Engine, pod: PodProjection): Promise<number | undefined> {
  // An init container's end is none where the work never began.
  const ends = hasEnded(pod) ? pod.containers.flatMap(({ finishedAt }) => finishedAt ?? []) : [];
  if (ends.length > 0) return Math.max(...ends);
  const { tenant, runId, createdAt } = pod;
  if (tenant === undefined || runId === undefined) return createdAt;
  const run = await broker.runs.read({ tenant, runId });
  return run === undefined ? createdAt : run.value.timings.completedAt;
}
