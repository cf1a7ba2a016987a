/** What the product keeps of a pod: scalars only, so that tens of thousands fit in a triggerer. */

/** Where a pod is: a named connection, never an address or a credential. */
export interface PodRef {
  readonly connection: string;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

export type PodPhase = 'Pending' | 'Running' | 'Succeeded' | 'Failed' | 'Unknown';

/** One container's state, as the kubelet last wrote it. Times are epoch milliseconds. */
export interface ContainerProjection {
  readonly name: string;
  /** `sidecar`: an init container with `restartPolicy: Always`. */
  readonly kind: 'init' | 'sidecar' | 'main';
  readonly state: 'waiting' | 'running' | 'terminated';
  readonly reason?: string | undefined;
  readonly message?: string | undefined;
  readonly exitCode?: number | undefined;
  readonly signal?: number | undefined;
  readonly startedAt?: number | undefined;
  readonly finishedAt?: number | undefined;
  readonly restartCount: number;
}

/** A pod as far as its run cares. Times are epoch milliseconds. */
export interface PodProjection extends PodRef {
  readonly resourceVersion: string;
  readonly phase: PodPhase;
  /** `status.reason`: `Evicted`, `DeadlineExceeded`, … */
  readonly reason?: string | undefined;
  readonly message?: string | undefined;
  readonly node?: string | undefined;
  readonly createdAt: number;
  /** Set once a deletion was asked for. */
  readonly deletedAt?: number | undefined;
  /** When condition `PodScheduled` turned True. */
  readonly scheduledAt?: number | undefined;
  /** Reason and message of `PodScheduled=False`. */
  readonly unschedulable?: { readonly reason: string; readonly message: string } | undefined;
  /** Names of its scheduling gates, with commas: while there are any, the scheduler does not look at it (Kueue keeps pods so until there is quota). */
  readonly gates?: string | undefined;
  /** When its last gate was seen to go, by whoever watched. */
  readonly ungatedAt?: number | undefined;
  /** Reason of condition `DisruptionTarget`. */
  readonly disruption?: string | undefined;
  /** Name of the container that decides; annotation `reentry.dev/base-container`, else the first. */
  readonly baseContainer: string;
  readonly containers: readonly ContainerProjection[];
  /** Raw ids from annotations; absent on a pod that is not ours. */
  readonly tenant?: string | undefined;
  readonly runId?: string | undefined;
  readonly attempt?: number | undefined;
  /** Queue of its run, from annotations. */
  readonly queue?: string | undefined;
  /** Label `already_checked`: its run has had its answer and the pod was kept. */
  readonly alreadyChecked: boolean;
  /** Only on pods of an executor (label `kubernetes_executor`). */
  readonly executor?: ExecutorFacts | undefined;
}

/** What an executor reads on its pods besides their state. */
export interface ExecutorFacts {
  /** Label `airflow-worker`: who launched or adopted it, in its label-safe form. */
  readonly owner: string;
  /** Label `airflow_executor_done`. */
  readonly done: boolean;
  /** Label `airflow_pod_revoked` is there, with any value. */
  readonly revoked: boolean;
  /** The annotations that name its task; ids as they are. */
  readonly annotations: Readonly<Record<string, string>>;
}
