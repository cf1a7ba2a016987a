/** What roles and operators need of Kubernetes. */
import type { Observable } from 'rxjs';
import type { LogCursor } from '../core/log/cursor.ts';
import type { PodProjection, PodRef } from '../core/pod/projection.ts';
import type { XcomSidecarSettings } from '../core/pod/xcom-sidecar.ts';
import type { Diagnosis } from '../wire/outcome.ts';

/** A manifest or object as JSON. Unchecked: the API server validates it. */
export type Manifest = Readonly<Record<string, unknown>>;

/** An event of the pod watch. `synced`: the first list is complete. A pod that vanished between two lists arrives as `gone`. */
export type PodSignal =
  | { readonly kind: 'pod'; readonly pod: PodProjection }
  /** No longer selected. `pod`: its last projection. `confirmed`: a GET found it absent, or it had a deletionTimestamp. */
  | { readonly kind: 'gone'; readonly pod: PodProjection; readonly confirmed: boolean }
  | { readonly kind: 'synced' }
  /** The watch is down or being renewed; projections may be stale. */
  | { readonly kind: 'lagging'; readonly why: string }
  /** Bytes arrived: the watch is alive. */
  | { readonly kind: 'alive' };

/** Options of `createPod`. */
export interface CreateOptions {
  /** Nothing is created: the server only answers what it would do. */
  readonly dryRun?: boolean;
  /** Called right before each request that may create the pod. Where it rejects, none is sent, and `createPod` rejects with its error. */
  readonly before?: () => Promise<void>;
}

/** Outcome of `createPod`. */
export type CreateOutcome = { readonly kind: 'created' | 'exists'; readonly pod: Manifest };

/** Options of reading a container's log. */
export interface LogReadOptions {
  /** First cursor to return, inclusive. Kubernetes takes whole seconds only, so earlier lines of that second come too: the caller drops them. */
  readonly from?: LogCursor | undefined;
  /** The log of the container's previous run. */
  readonly previous?: boolean;
  /** The container was restarted: the log of its previous run comes first, as far as the node has it. */
  readonly restarted?: boolean;
  readonly follow?: boolean;
  readonly tailLines?: number;
  readonly limitBytes?: number;
  readonly signal?: AbortSignal;
}

/** One line with the node's time. A line without a time has that of the line before. `gap`: lines before this one were rotated away. */
export interface LogLine {
  readonly at: LogCursor;
  readonly text: string;
  readonly gap?: boolean;
}

/** A command to run in a running container. It may run twice, so it must be idempotent. */
export interface ExecOptions {
  readonly container: string;
  /** Program and arguments; not run in a shell. */
  readonly command: readonly string[];
  /** Standard input, closed after it (with version 5 of the exec protocol). Absent: no stdin. */
  readonly stdin?: string;
  /** Time-out of the whole call, in milliseconds. Default 60,000. */
  readonly timeoutMs?: number;
  /** Largest stdout, in bytes. Default 1 MiB. */
  readonly maxBytes?: number;
  readonly signal?: AbortSignal;
}

/** Outcome of `exec`. */
export type ExecOutcome =
  /** `stdout` is complete. Of `stderr` the first 64 KiB. */
  | { readonly kind: 'ended'; readonly exitCode: number; readonly stdout: Uint8Array; readonly stderr: string }
  /** The command wrote more than `maxBytes` and was abandoned. */
  | { readonly kind: 'tooLarge'; readonly maxBytes: number };

/** One Kubernetes event of a pod. */
export interface PodEventLine {
  readonly type: string;
  readonly reason: string;
  readonly message: string;
  readonly count: number;
  readonly lastSeenAt: number;
}

/** One Kubernetes cluster, by its connection's name. Every call has a deadline; errors are `KubernetesError`. */
export interface Cluster extends AsyncDisposable {
  readonly connection: string;
  /** The connection's default namespace. */
  readonly namespace: string;
  /** The result sidecar of pods in this cluster; absent: the default one. */
  readonly xcomSidecar?: XcomSidecarSettings | undefined;
  /** Never completes, never errors: failures are emitted as `lagging` and retried. One HTTP watch per subscription: share it. */
  watchPods$(scope: {
    readonly namespace: string | undefined;
    readonly labelSelector: string;
    /** `false`: pods that vanish without a deletionTimestamp are emitted unconfirmed at once, without a GET each. Default true. */
    readonly confirms?: boolean;
  }): Observable<PodSignal>;
  /** `exists`: a pod of that name is there; `pod` is from a GET. A lost answer is settled by a GET. */
  createPod(namespace: string, manifest: Manifest, options?: CreateOptions): Promise<CreateOutcome>;
  getPod(namespace: string, name: string): Promise<Manifest | undefined>;
  /** The pod with this uid as the API server has it now; `undefined` where it is gone or another pod has its name. One GET. */
  findPod(pod: PodRef): Promise<PodProjection | undefined>;
  /** Projection of a pod object of this cluster. */
  project(pod: Manifest): PodProjection;
  listPods(namespace: string | undefined, labelSelector: string): Promise<readonly PodProjection[]>;
  /** Deletes with a uid precondition. `gone`: the pod is absent, or another one has its name. Default grace period: the pod's own. */
  deletePod(pod: PodRef, gracePeriodSeconds?: number | null): Promise<'asked' | 'gone'>;
  /** Merge patch. `gone` as for `deletePod`. */
  patchPod(pod: PodRef, patch: Manifest): Promise<'patched' | 'gone'>;
  logs(pod: PodRef, container: string, options: LogReadOptions): AsyncIterable<LogLine>;
  /**
   * Runs a command in a running container and waits for its end. Needs `get` and `create` on `pods/exec`. Rejects with fault
   * `unknownOutcome` where the server did not report the end; never returns partial output.
   */
  exec(pod: PodRef, options: ExecOptions): Promise<ExecOutcome>;
  podEvents(pod: PodRef): Promise<readonly PodEventLine[]>;
  /** Verbs the credentials lack, as `verb resource[/subresource]` texts; empty when all is allowed. */
  missingPermissions(
    wanted: readonly {
      readonly verb: string;
      readonly resource: string;
      readonly subresource?: string;
      readonly namespace?: string;
    }[],
  ): Promise<readonly string[]>;
  version(): Promise<string>;
  /** For how long the API server has not answered any request, in milliseconds; 0: it answered last, or was not asked. */
  unansweredMs(): number;
  /** HTTP requests made so far, by verb. */
  requestCounts(): Readonly<Record<string, number>>;
}

/** Writes Secrets. Only for operators that give pods key files. */
export interface SecretWriter {
  /** Creates or replaces a Secret. `data`: raw values, not base64. */
  putSecret(
    namespace: string,
    name: string,
    data: Readonly<Record<string, Uint8Array>>,
  ): Promise<'created' | 'replaced'>;
}

/** Which connections and namespaces can be used now. */
export interface Availability {
  /**
   * Why no pod can be created there now; `undefined`: it can. Answers from memory; where the first check is still under way, after it, or after 2 s as
   * if it had failed. A connection or namespace that the installation does not have is no problem here.
   */
  problem(connection: string, namespace: string): Promise<Diagnosis | undefined>;
  /** The same, checked anew: to be called where a request was refused or not answered. At most one check a second. */
  recheck(connection: string, namespace: string): Promise<Diagnosis | undefined>;
}

/** Named connections from configuration. @throws ReentryError CONFIG_INVALID for an unknown name, naming the known ones. */
export interface Clusters extends AsyncDisposable {
  readonly names: readonly string[];
  get(connection: string): Cluster;
}
