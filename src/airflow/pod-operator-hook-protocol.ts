/** `PodOperatorHookProtocol` of `airflow.providers.cncf.kubernetes.hooks.kubernetes`, over one cluster. */
import type { Cluster, Manifest } from '../ports/cluster.ts';

/** Access to one cluster. */
export interface PodOperatorHookProtocol {
  readonly coreV1Client: Cluster;
  /** Whether it uses the service account of its own pod. */
  readonly isInCluster: boolean;
  /** The pod's API object; `undefined` when there is none. */
  getPod(name: string, namespace: string): Promise<Manifest | undefined>;
  /** The default namespace of the connection. */
  getNamespace(): string | undefined;
}

/** The hook of an open cluster. */
export function hookOf(cluster: Cluster, isInCluster = false): PodOperatorHookProtocol {
  return {
    coreV1Client: cluster,
    isInCluster,
    getPod: (name, namespace) => cluster.getPod(namespace, name),
    getNamespace: () => cluster.namespace,
  };
}
