import { ReentryError } from '../errors.ts';
import { hookOf, type PodOperatorHookProtocol } from '../airflow/pod-operator-hook-protocol.ts';
import type { XcomSidecarSettings } from '../core/pod/xcom-sidecar.ts';

/** How a program of the user's reaches a cluster; names as in Airflow's `KubernetesHook`. */
export interface HookOptions {
  /** Kubeconfig file. Default: `KUBECONFIG`, else `~/.kube/config`. */
  readonly configFile?: string;
  /** Context of the kubeconfig. Default: its current context. */
  readonly clusterContext?: string;
  /** Use the service account of the pod that this program runs in. Default false. */
  readonly inCluster?: boolean;
  /** Namespace of pods that name none. */
  readonly namespace?: string;
  /** Image, resources and security context of the sidecar that carries results. */
  readonly xcomSidecar?: XcomSidecarSettings;
}

/**
 * Opens a cluster for `KubernetesPodOperator` and `PodManager` in the user's own program; dispose of it at the end. Reads files, sends nothing.
 * @throws ReentryError CONFIG_INVALID when kubeconfig, context or service account is missing, or `inCluster` and `configFile` are both given
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
