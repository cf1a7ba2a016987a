import { map, merge, type Observable, tap } from 'rxjs';
import { installationSelector } from '../core/pod/labels.ts';
import type { Meter } from '../ports/ambient.ts';
import type { Cluster } from '../ports/cluster.ts';
import type { PodBook, WatchScope, WatchSignal } from './pod-book.ts';

/** The watches of a triggerer: each connection's namespaces, or (undefined) all of them by one watch. */
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

/**
 * Every pod of the installation, from one watch per scope, put into `book` before it is told. Never ends and never errors: the port promises it.
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
  book: PodBook,
  { now, meter }: { readonly now: () => number; readonly meter: Meter },
): Observable<WatchSignal> {
  const labelSelector = installationSelector(installation);
  return merge(
    ...scopes.map((scope) =>
      clusterOf(scope.connection)
        // Most that vanish behind a watch are nobody's any more; those that are waited for are asked for, within their rate.
        .watchPods$({ namespace: scope.namespace, labelSelector, confirms: false })
        .pipe(map((signal): WatchSignal => ({ scope, signal }))),
    ),
  ).pipe(
    tap((signal) => {
      book.apply(signal, now());
      if (signal.signal.kind === 'lagging')
        meter.count('watch_restarts_total', { connection: signal.scope.connection });
    }),
  );
}
