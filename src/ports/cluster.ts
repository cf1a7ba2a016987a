/** What the streams and the protocol need of Kubernetes, as interfaces; part of `ports.ts`, by which it is imported. No code. */
import type { Observable } from 'rxjs';
import type { LogCursor } from '../core/log/cursor.ts';
import type { XcomSidecarSettings } from '../core/pod/xcom-sidecar.ts';
import type { PodProjection, PodRef } from '../core/pod/projection.ts';

/** A manifest or object as JSON; the API server is the judge of it. */
export type Manifest = Readonly<Record<string, unknown>>;

/** What the shared watch says. `synced`: the first list is complete; a pod that vanished during a relist arrives as `gone`. */
export type PodSignal =
  | { readonly kind: 'pod'; readonly pod: PodProjection }
  /** No longer in the selection; `pod` is the last projection (with the DELETED object's own status). `confirmed`: seen absent by GET or by deletionTimestamp. */
  | { readonly kind: 'gone'; readonly pod: PodProjection; readonly confirmed: boolean }
  | { readonly kind: 'synced' }
  /** The watch is down or being renewed; judging goes on from the old projection. */
  | { readonly kind: 'lagging'; readonly why: string }
  /** Bytes arrived: the watch is alive. */
  | { readonly kind: 'alive' };

export type CreateOutcome = { readonly kind: 'created' | 'exists'; readonly pod: Manifest };

export interface LogReadOptions {
  /** From here on, inclusive: whole seconds are asked for, the reader drops what is behind the cursor. */
  readonly from?: LogCursor | undefined;
  readonly previous?: boolean;
  /** The container was started again: the log of its run before comes first, as far as the node has it. */
  readonly restarted?: boolean;
  readonly follow?: boolean;
  readonly tailLines?: number;
  readonly limitBytes?: number;
  readonly signal?: AbortSignal;
}
/** One line with the node's own time. A line that has no time of its own carries the one before. `gap`: lines before this one were rotated away. */
export interface LogLine {
  readonly at: LogCursor;
  readonly text: string;
  readonly gap?: boolean;
}

/** A command to run in a living container. It may be run twice, so it must be one that bears it. */
export interface ExecOptions {
  readonly container: string;
  /** Program and arguments; no shell of its own. */
  readonly command: readonly string[];
  /** Given to the command, which then sees its end (where the server speaks v5 of the protocol). Absent: no stdin. */
  readonly stdin?: string;
  /** From the call to the command's end, in milliseconds. Default 60,000. */
  readonly timeoutMs?: number;
  /** Most of stdout that is taken, in bytes. Default 1 MiB. */
  readonly maxBytes?: number;
  readonly signal?: AbortSignal;
}
/** How a command in a container ended. */
export type ExecOutcome =
  /** `stdout` is whole: the server told the command's end after it. Of `stderr` the first 64 KiB. */
  | { readonly kind: 'ended'; readonly exitCode: number; readonly stdout: Uint8Array; readonly stderr: string }
  /** Left while it wrote more than `maxBytes`. */
  | { readonly kind: 'tooLarge'; readonly maxBytes: number };

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
  /** How pods of this cluster carry results; absent: as shipped. */
  readonly xcomSidecar?: XcomSidecarSettings | undefined;
  /** Never ends, never errors: what goes wrong is said as `lagging` and tried again. One HTTP watch per subscription: share it. */
  watchPods$(scope: {
    readonly namespace: string | undefined;
    readonly labelSelector: string;
    /** `false`: pods that vanish without a sign of their deletion are told as not confirmed at once, instead of after a GET each. */
    readonly confirms?: boolean;
  }): Observable<PodSignal>;
  /** `exists`: a pod of that name is there (GET done). Unknown outcomes are settled by GET. */
  createPod(namespace: string, manifest: Manifest, options?: { readonly dryRun?: boolean }): Promise<CreateOutcome>;
  getPod(namespace: string, name: string): Promise<Manifest | undefined>;
  /** The pod with this uid as the API server has it now; `undefined` where it is gone or another pod has its name. One GET. */
  findPod(pod: PodRef): Promise<PodProjection | undefined>;
  /** Projection of any pod object of this cluster. */
  project(pod: Manifest): PodProjection;
  listPods(namespace: string | undefined, labelSelector: string): Promise<readonly PodProjection[]>;
  /** With uid precondition. `gone`: it is not there, or another pod has its name. */
  deletePod(pod: PodRef, gracePeriodSeconds?: number): Promise<'asked' | 'gone'>;
  /** Merge patch. `gone` as above. */
  patchPod(pod: PodRef, patch: Manifest): Promise<'patched' | 'gone'>;
  logs(pod: PodRef, container: string, options: LogReadOptions): AsyncIterable<LogLine>;
  /**
   * Runs a command in a running container and waits for its end; needs `get` and `create` on `pods/exec`. An end that the server did not tell
   * rejects with fault `unknownOutcome`, never gives half an output.
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
  /** HTTP requests made so far, by verb. */
  requestCounts(): Readonly<Record<string, number>>;
}

/** Makes Secrets; needed only by those who give pods keys from files. */
export interface SecretWriter {
  /** Creates the Secret, or replaces the one of that name. `data`: values as they are, not in base64. */
  putSecret(
    namespace: string,
    name: string,
    data: Readonly<Record<string, Uint8Array>>,
  ): Promise<'created' | 'replaced'>;
}

/** Named connections from configuration. @throws ReentryError CONFIG_INVALID for an unknown name, naming the known ones. */
export interface Clusters extends AsyncDisposable {
  readonly names: readonly string[];
  get(connection: string): Cluster;
}
