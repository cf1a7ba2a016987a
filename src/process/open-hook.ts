import { ReentryError } from '../errors.ts';
import { hookOf, type PodOperatorHookProtocol } from '../airflow/pod-operator-hook-protocol.ts';
import type { XcomSidecarSettings } from '../core/pod/xcom-sidecar.ts';

/** How a program of its own reaches a cluster: the seed's parameters of that name. */
export interface HookOptions {
  /** Kubeconfig file; else `KUBECONFIG`, else `~/.kube/config`. */
  readonly configFile?: string;
  /** Context of the kubeconfig; else its current one. */
  readonly clusterContext?: string;
  /** The service account of the pod that this program runs in. */
  readonly inCluster?: boolean;
  /** Namespace of pods that name none. */
  readonly namespace?: string;
  /** How pods carry results. */
  readonly xcomSidecar?: XcomSidecarSettings;
}

/**
 * Opens a cluster for `KubernetesPodOperator` and `PodManager` in a program of your own; dispose of it at the end. Reads files, sends nothing.
 * @throws ReentryError CONFIG_INVALID when a kubeconfig, context or service account is not there, or two ways in are asked for at once
 */
export async function openHook({
  configFile,
  clusterContext,
  inCluster,
  namespace,
  xcomSidecar,
}: HookOptions = {}): Promise<PodOperatorHookProtocol & AsyncDisposable> {
  const { openClusters } = await import('../kubernetes/clusters.ts');
  if (inCluster === true && configFile !== undefined)
    throw new ReentryError('CONFIG_INVALID', 'inCluster and configFile exclude each other', { transient: false });
  const connection = { kubeconfig: configFile, context: clusterContext, inCluster, namespace, xcomSidecar };
  const clusters = openClusters({ connections: { default: connection } });
  return Object.assign(hookOf(clusters.get('default'), inCluster === true), {
    [Symbol.asyncDispose]: () => clusters[Symbol.asyncDispose](),
  });
}
