/** The shared watches of pods: what they show, and how far each can be believed. */
import { map, merge, type Observable, tap } from 'rxjs';
import { installationSelector } from '../core/pod/labels.ts';
import type { PodProjection, PodRef } from '../core/pod/projection.ts';
import type { Meter } from '../ports/ambient.ts';
import type { Cluster, PodSignal } from '../ports/cluster.ts';

/** What one watch covers: a namespace of a connection, or (`undefined`) all of them. */
export interface WatchScope {
  readonly connection: string;
  readonly namespace: string | undefined;
}

/** A signal of one of the watches. */
export interface WatchSignal {
  readonly scope: WatchScope;
  readonly signal: PodSignal;
}

/** How far a watch can be believed. Times are epoch milliseconds. */
export interface WatchState {
  readonly scope: WatchScope;
  /** When its first list was complete; before that, a pod it does not show may yet come. */
  syncedAt: number | undefined;
  /** Why it is behind; what it showed is judged further, absence is not concluded. */
  lagging: string | undefined;
  /** Since when it is behind. */
  laggingSince: number | undefined;
  /** When bytes last arrived. */
  receivedAt: number | undefined;
  /** Since when it is not behind: what happened while it was may still be on its way. */
  upSince: number | undefined;
  /** How many pods it shows. */
  pods: number;
}

/** A pod that left the watch. `confirmed`: it is gone from the API, not only from the selection. */
export interface Departed {
  readonly pod: PodProjection;
  readonly confirmed: boolean;
}

/** What the watches show, to read only. */
export interface KnownPods {
  pod(uid: string): PodProjection | undefined;
  /** A pod that left within the last minute. */
  departed(uid: string): Departed | undefined;
  /** The watch that would show this pod; `undefined` where none does. */
  watchOf(of: Pick<PodRef, 'connection' | 'namespace'>): Readonly<WatchState> | undefined;
}

/** The scopes of the watches: each connection's namespaces, or (`undefined`) all of them by one watch. */
export function watchScopes(
  connections: readonly string[],
  namespaces: readonly string[] | undefined,
): readonly WatchScope[] {
  return connections.flatMap((connection): readonly WatchScope[] =>
    namespaces === undefined
      ? [{ connection, namespace: undefined }]
      : namespaces.map((namespace) => ({ connection, namespace })),
  );
}

/** How long a pod that left is remembered for a subscription still on its way, and how many such pods at most. */
const REMEMBERED_MS = 60_000;
const REMEMBERED_COUNT = 10_000;

/** The newest projection of each pod, by uid. An entry ends with the pod's `gone`; that of a departed pod after a minute. */
export class WatchedPods implements KnownPods {
  readonly #watches: readonly WatchState[];
  readonly #pods = new Map<string, PodProjection>();
  /** In order of departure. */
  readonly #departed = new Map<string, Departed & { readonly at: number }>();

  constructor(scopes: readonly WatchScope[]) {
    this.#watches = scopes.map((scope) => ({
      scope,
      syncedAt: undefined,
      lagging: undefined,
      laggingSince: undefined,
      receivedAt: undefined,
      upSince: undefined,
      pods: 0,
    }));
  }

  get watches(): readonly Readonly<WatchState>[] {
    return this.#watches;
  }

  pod(uid: string): PodProjection | undefined {
    return this.#pods.get(uid);
  }

  departed(uid: string): Departed | undefined {
    return this.#departed.get(uid);
  }

  watchOf({ connection, namespace }: WatchScope): WatchState | undefined {
    for (const watch of this.#watches) {
      const { scope } = watch;
      if (scope.connection === connection && (scope.namespace === undefined || scope.namespace === namespace))
        return watch;
    }
    return undefined;
  }

  /** Takes in a signal. One watch shows the changes of a pod in order, so nothing older comes after a departure. */
  apply({ scope, signal }: WatchSignal, now: number): void {
    const watch = this.watchOf(scope);
    switch (signal.kind) {
      case 'pod': {
        const before = this.#pods.get(signal.pod.uid);
        if (watch !== undefined && before === undefined) watch.pods += 1;
        this.#pods.set(signal.pod.uid, withUngatedAt(before, signal.pod, now));
        this.#departed.delete(signal.pod.uid);
        break;
      }
      case 'gone':
        if (this.#pods.delete(signal.pod.uid) && watch !== undefined) watch.pods -= 1;
        this.#remember(signal, now);
        break;
      case 'synced':
        if (watch !== undefined) watch.syncedAt ??= now;
        break;
      case 'lagging':
        if (watch === undefined) return;
        watch.lagging = signal.why;
        watch.laggingSince ??= now;
        watch.upSince = undefined;
        return;
      case 'alive':
        break;
    }
    // One pod of a list that has begun anew proves nothing about the others.
    const isWhole = signal.kind === 'synced' || signal.kind === 'alive';
    if (watch === undefined || (watch.lagging !== undefined && !isWhole)) return;
    watch.receivedAt = now;
    watch.lagging = undefined;
    watch.laggingSince = undefined;
    if (isWhole) watch.upSince ??= now;
  }

  #remember({ pod, confirmed }: Departed, now: number): void {
    this.#departed.delete(pod.uid);
    this.#departed.set(pod.uid, { pod, confirmed, at: now });
    for (const [uid, { at }] of this.#departed) {
      if (this.#departed.size <= REMEMBERED_COUNT && now - at < REMEMBERED_MS) return;
      this.#departed.delete(uid);
    }
  }
}

/** The pod, with the time at which its last scheduling gate was removed, which the API does not keep. */
function withUngatedAt(before: PodProjection | undefined, pod: PodProjection, now: number): PodProjection {
  if (before === undefined || pod.gates !== undefined) return pod;
  const ungatedAt = before.ungatedAt ?? (before.gates === undefined ? undefined : now);
  return ungatedAt === undefined ? pod : { ...pod, ungatedAt };
}

/**
 * Every pod of the installation, from one watch per scope, taken into `pods` before it is emitted. Never ends and never errors, as the port.
 *
 * ```
 * cluster a/all    ──p1──p2────synced──p1────────
 * cluster b/ns     ────p3──synced───────────gone──
 * out              ──p1p3p2────────────p1───gone──   each with its scope
 * ```
 */
export function watchedPods$(
  scopes: readonly WatchScope[],
  clusterOf: (connection: string) => Pick<Cluster, 'watchPods$'>,
  installation: string,
  pods: WatchedPods,
  { now, meter }: { readonly now: () => number; readonly meter: Meter },
): Observable<WatchSignal> {
  const labelSelector = installationSelector(installation);
  return merge(
    ...scopes.map((scope) =>
      clusterOf(scope.connection)
        // No run waits any more for most pods that vanish; those that are waited for are asked for, within the ration of GETs.
        .watchPods$({ namespace: scope.namespace, labelSelector, confirms: false })
        .pipe(map((signal): WatchSignal => ({ scope, signal }))),
    ),
  ).pipe(
    tap((signal) => {
      pods.apply(signal, now());
      if (signal.signal.kind === 'lagging')
        meter.count('watch_restarts_total', { connection: signal.scope.connection });
    }),
  );
}
