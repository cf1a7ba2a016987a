/** Pods that were retained for inspection are deleted after a while. */
import { keptSelector } from '../../core/pod/labels.ts';
import type { PodProjection } from '../../core/pod/projection.ts';
import type { Cluster } from '../../ports/cluster.ts';
import type { BrokerParts, Engine } from '../protocol/engine.ts';

type RetainedParts = BrokerParts<'runs' | 'now'> & Pick<Engine, 'clusters' | 'namespaces' | 'installation' | 'log'>;

/**
 * Deletes the installation's retained pods that ended longer than `keepPodMs` ago; of a pod that never began, its run's end counts. What cannot be
 * deleted now is tried again in the next pass. Resolves with the number deleted.
 */
export async function removeRetainedPods(parts: RetainedParts, keepPodMs: number): Promise<number> {
  const { clusters, namespaces, installation, broker, log } = parts;
  let removed = 0;
  for (const name of clusters.names) {
    const cluster = clusters.get(name);
    for (const namespace of namespaces ?? [undefined]) {
      for (const pod of await retainedPods(parts, cluster, namespace, installation)) {
        const retainedSince = await endedAt(parts, pod);
        if (retainedSince === undefined || retainedSince + keepPodMs > broker.now()) continue;
        try {
          if ((await cluster.deletePod(pod)) === 'asked') removed += 1;
        } catch (error) {
          log.warn({ pod: pod.name, namespace: pod.namespace, err: error }, 'deleting a retained pod failed; retrying');
        }
      }
    }
  }
  if (removed > 0) log.info({ removed }, 'deleted retained pods');
  return removed;
}

async function retainedPods(
  { log }: RetainedParts,
  cluster: Cluster,
  namespace: string | undefined,
  installation: string,
): Promise<readonly PodProjection[]> {
  try {
    const pods = await cluster.listPods(namespace, keptSelector(installation));
    return pods.filter((pod) => pod.deletedAt === undefined && (hasEnded(pod) || neverBegan(pod)));
  } catch (error) {
    log.warn({ connection: cluster.connection, err: error }, 'listing retained pods failed');
    return [];
  }
}

/** Whether the base container has ended. A pod that is retained on purpose may still run, and other containers may end earlier. */
function hasEnded({ phase, baseContainer, containers }: PodProjection): boolean {
  if (phase === 'Succeeded' || phase === 'Failed') return true;
  // A sidecar may keep the pod alive for ever.
  return containers.some(
    ({ name, kind, state }) => name === baseContainer && kind === 'main' && state === 'terminated',
  );
}

/** Whether the base container has never run: no node takes the pod, its image cannot be pulled, or an init container still runs. */
function neverBegan({ phase, baseContainer, containers }: PodProjection): boolean {
  // Pending is also the phase of a pod whose base container runs beside one that cannot start.
  return phase === 'Pending' && !containers.some(({ name, state }) => name === baseContainer && state === 'running');
}

/** When the pod ended: the last end of its containers, else the end of its run; where the run is forgotten, the pod's creation. */
async function endedAt({ broker }: RetainedParts, pod: PodProjection): Promise<number | undefined> {
  // Where the base container never ran, the end of an init container does not count.
  const ends = hasEnded(pod) ? pod.containers.flatMap(({ finishedAt }) => finishedAt ?? []) : [];
  if (ends.length > 0) return Math.max(...ends);
  const { tenant, runId, createdAt } = pod;
  if (tenant === undefined || runId === undefined) return createdAt;
  const run = await broker.runs.read({ tenant, runId });
  return run === undefined ? createdAt : run.value.timings.completedAt;
}
