/** Settings of a connection, and tuning of the HTTP client. */
import type { XcomSidecarSettings } from '../core/pod/xcom-sidecar.ts';

/** Environment variable with the kubeconfig paths that are used when the settings name none. */
export const KUBE_CONFIG_ENV_VAR = 'KUBECONFIG';

/** How a connection reaches its cluster. Without `kubeconfig` and `inCluster`: `KUBECONFIG`, else `~/.kube/config`. */
export interface ConnectionSettings {
  /** Path of a kubeconfig. Several, separated as in `PATH`, are merged: the first that defines an entry wins. */
  readonly kubeconfig?: string | undefined;
  /** Context of the kubeconfig. Default: its current context. */
  readonly context?: string | undefined;
  /** Use the service account of the pod that this process runs in. */
  readonly inCluster?: boolean | undefined;
  /** Namespace of pods that name none. Default: the context's, else `default`. */
  readonly namespace?: string | undefined;
  /** Settings of the XCom sidecar in this cluster's pods. Absent: the defaults. */
  readonly xcomSidecar?: XcomSidecarSettings | undefined;
}

/** Times and sizes of the HTTP client. */
export interface Tuning {
  /** Deadline of a call; a stream waits this long for its credentials. */
  readonly unaryMs: number;
  /** Time limit of a credential plugin, which is then killed. Calls do not wait for it beyond their own deadline. */
  readonly pluginMs: number;
  /** Milliseconds between two PING frames on each HTTP/2 connection. */
  readonly pingMs: number;
  /** An HTTP/2 connection that receives nothing for this long, PING replies included, is probed. At least twice `pingMs`. */
  readonly silentMs: number;
  /** Time limit of a probe: a request over a new connection. */
  readonly probeMs: number;
  /** A watch that receives nothing for this long is dead: bookmarks arrive about once a minute. */
  readonly watchIdleMs: number;
  /** Range of a watch's `timeoutSeconds`. */
  readonly watchSeconds: readonly [least: number, most: number];
  /** Bounds of the wait between two attempts of a watch. Each wait is random between 0 and the current bound, which doubles. */
  readonly backoffMs: readonly [first: number, most: number];
  /** A watch that lived this long starts again with the first bound. */
  readonly healthyMs: number;
  /** The end mark of the initial events must arrive within this time, else the paged list is used. */
  readonly endMarkMs: number;
  /** How long WatchList is not tried again on a cluster that refused it. */
  readonly watchListAgainMs: number;
  readonly pageSize: number;
  /** A followed log that receives nothing for this long is reconnected. */
  readonly logIdleMs: number;
  /** Longest log line; longer ones are returned in pieces. */
  readonly logLineBytes: number;
}

/** The defaults. */
export const TUNING: Tuning = {
  unaryMs: 30_000,
  pluginMs: 60_000,
  pingMs: 5_000,
  silentMs: 10_000,
  probeMs: 5_000,
  watchIdleMs: 75_000,
  watchSeconds: [300, 600],
  backoffMs: [800, 30_000],
  healthyMs: 120_000,
  endMarkMs: 60_000,
  watchListAgainMs: 600_000,
  pageSize: 500,
  logIdleMs: 300_000,
  logLineBytes: 32_768,
};
