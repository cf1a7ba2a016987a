/** What is configured about a connection and what may be tuned about talking to it. */
import type { XcomSidecarSettings } from '../core/pod/xcom-sidecar.ts';

/** Environment variable that names kubeconfigs where nothing else does. */
export const KUBE_CONFIG_ENV_VAR = 'KUBECONFIG';

/** How a named connection reaches its cluster. Without `kubeconfig` and `inCluster`: `KUBECONFIG`, else `~/.kube/config`. */
export interface ConnectionSettings {
  /** Path of a kubeconfig; several, separated like `PATH`, are merged: the first to name a thing wins. */
  readonly kubeconfig?: string | undefined;
  /** Context of the kubeconfig; else its current one. */
  readonly context?: string | undefined;
  /** Use the service account of the pod that this process runs in. */
  readonly inCluster?: boolean | undefined;
  /** Namespace where none is asked for; else the context's, else `default`. */
  readonly namespace?: string | undefined;
  /** How pods of this cluster carry results; absent: as shipped. */
  readonly xcomSidecar?: XcomSidecarSettings | undefined;
}

/** Times and sizes of talking to an API server. */
export interface Tuning {
  /** Deadline of a call that is not a stream; a stream waits so long for its credentials. */
  readonly unaryMs: number;
  /** A credential plugin that runs so long is killed. Calls do not wait for it beyond their own deadline. */
  readonly pluginMs: number;
  /** A watch that is silent for so long is dead: bookmarks come about once a minute. */
  readonly watchIdleMs: number;
  /** Range of the server-side end of a watch. */
  readonly watchSeconds: readonly [least: number, most: number];
  /** First and longest wait between two tries of a watch; each is drawn between 0 and the present bound, which doubles. */
  readonly backoffMs: readonly [first: number, most: number];
  /** A watch that lived so long starts with the first wait again. */
  readonly healthyMs: number;
  /** The list's end mark must come within this time, else the paged list is used. */
  readonly endMarkMs: number;
  /** How long a cluster that refused WatchList is not asked again. */
  readonly watchListAgainMs: number;
  readonly pageSize: number;
  /** A followed log that is silent for so long is connected anew. */
  readonly logIdleMs: number;
  /** Longest line of a log; longer ones come in pieces. */
  readonly logLineBytes: number;
}

/** The values of spec kubernetes-notes §11. */
export const TUNING: Tuning = {
  unaryMs: 30_000,
  pluginMs: 60_000,
  watchIdleMs: 150_000,
  watchSeconds: [300, 600],
  backoffMs: [800, 30_000],
  healthyMs: 120_000,
  endMarkMs: 60_000,
  watchListAgainMs: 600_000,
  pageSize: 500,
  logIdleMs: 300_000,
  logLineBytes: 32_768,
};
