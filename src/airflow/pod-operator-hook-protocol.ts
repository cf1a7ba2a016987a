/** What a program's own operator needs of a cluster: the seed's hook protocol over one cluster. @see spec pod-operator §8.1 */
import type { Cluster, Manifest } from '../ports/cluster.ts';

/** Access to one cluster, however it was come by. */
export interface PodOperatorHookProtocol {
  readonly coreV1Client: Cluster;
  /** Whether the pod's own service account is used. */
  readonly isInCluster: boolean;
  /** The pod's API object; `undefined` where there is none. */
  getPod(name: string, namespace: string): Promise<Manifest | undefined>;
  /** The connection's namespace. */
  getNamespace(): string | undefined;
}

/** The hook of a cluster that is open already. */
export function hookOf(cluster: Cluster, isInCluster = false): PodOperatorHookProtocol {
  return {
    coreV1Client: cluster,
    isInCluster,
    getPod: (name, namespace) => cluster.getPod(namespace, name),
    getNamespace: () => cluster.namespace,
  };
}
