/** What the shared watches have said, put together: the newest projection of each pod, and how far each watch can be believed. */
import type { PodProjection, PodRef } from '../core/pod/projection.ts';
import type { PodSignal } from '../ports/cluster.ts';

/** What one watch sees: a namespace of a connection, or (undefined) all of them. */
export interface WatchScope {
  readonly connection: string;
  readonly namespace: string | undefined;
}
/** A word of one of the watches. */
export interface WatchSignal {
  readonly scope: WatchScope;
  readonly signal: PodSignal;
}

/** How far a watch can be believed. */
export interface WatchState {
  readonly scope: WatchScope;
  /** When its first list was complete; before that, what it does not show may yet come. */
  syncedAt: number | undefined;
  /** Why it is behind; judging goes on from what was seen, absence is not concluded. */
  lagging: string | undefined;
  /** Since when it is behind. */
  laggingSince: number | undefined;
  /** When bytes last arrived. */
  heardAt: number | undefined;
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

/** How long a pod that left is remembered for a subscription still on its way, and how many such pods at most. */
const REMEMBERED_MS = 60_000;
const REMEMBERED_COUNT = 10_000;

/** Pods by uid. An entry ends with the pod's `gone`; that of a departed pod after a minute. */
export class PodBook {
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
      heardAt: undefined,
      upSince: undefined,
      pods: 0,
    }));
  }

  get watches(): readonly Readonly<WatchState>[] {
    return this.#watches;
  }

  /** How many pods are in the watches. */
  get size(): number {
    return this.#pods.size;
  }

  pod(uid: string): PodProjection | undefined {
    return this.#pods.get(uid);
  }

  /** A pod that left within the last minute. */
  departed(uid: string): Departed | undefined {
    return this.#departed.get(uid);
  }

  /** The watch that would show this pod; undefined where none does. */
  watchOf(of: Pick<PodRef, 'connection' | 'namespace'>): Readonly<WatchState> | undefined {
    return this.#find(of);
  }

  #find({ connection, namespace }: Pick<PodRef, 'connection' | 'namespace'>): WatchState | undefined {
    return this.#watches.find(
      ({ scope }) =>
        scope.connection === connection && (scope.namespace === undefined || scope.namespace === namespace),
    );
  }

  /** Takes in what a watch said. A pod's older news after its departure cannot come: one watch tells a pod's story in order. */
  apply({ scope, signal }: WatchSignal, now: number): void {
    const watch = this.#find({ connection: scope.connection, namespace: scope.namespace ?? '' });
    switch (signal.kind) {
      case 'pod':
        if (watch !== undefined && !this.#pods.has(signal.pod.uid)) watch.pods += 1;
        this.#pods.set(signal.pod.uid, seenSince(this.#pods.get(signal.pod.uid), signal.pod, now));
        this.#departed.delete(signal.pod.uid);
        break;
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
    // One pod of a list that has begun anew says nothing of the others.
    const isWhole = signal.kind === 'synced' || signal.kind === 'alive';
    if (watch === undefined || (watch.lagging !== undefined && !isWhole)) return;
    watch.heardAt = now;
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

/** The pod, with when its last scheduling gate went, which the API does not keep. */
function seenSince(before: PodProjection | undefined, pod: PodProjection, now: number): PodProjection {
  if (before === undefined || pod.gates !== undefined) return pod;
  const ungatedAt = before.ungatedAt ?? (before.gates === undefined ? undefined : now);
  return ungatedAt === undefined ? pod : { ...pod, ungatedAt };
}
