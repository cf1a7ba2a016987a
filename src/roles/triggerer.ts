import { defer, endWith, filter, ignoreElements, interval, merge, type Observable, share, takeUntil, tap } from 'rxjs';
import type { Broker, Clusters, Log, Meter } from '../ports.ts';
import type { Work } from '../run.ts';
import type { Check, Checked, Word } from '../trigger/actions.ts';
import { triggererHealth, type TriggererHealth } from '../trigger/health.ts';
import { TRIGGER_METRICS } from '../trigger/metrics.ts';
import { Orphans, type OrphanSettings } from '../trigger/orphans.ts';
import { Ownership, takenOverShards$ } from '../trigger/ownership.ts';
import { PodBook } from '../trigger/pod-book.ts';
import { published$ } from '../trigger/published.ts';
import { triggerActions$ } from '../trigger/trigger-actions.ts';
import { WaitingRuns, type WaitingSettings } from '../trigger/waiting-runs.ts';
import { watchedPods$, watchScopes } from '../trigger/watched-pods.ts';

/** Settings of one triggerer. */
export interface TriggererSettings extends WaitingSettings, OrphanSettings {
  /** This replica's id, unique among those alive. */
  readonly id: string;
  readonly installation: string;
  /** Namespaces to watch, in every connection; undefined: all of them by one watch. */
  readonly namespaces: readonly string[] | undefined;
}

/** What a triggerer needs. */
export interface TriggererDeps {
  readonly broker: Broker;
  readonly clusters: Clusters;
  readonly settings: TriggererSettings;
  readonly log: Log;
  readonly meter: Meter;
}

/** A triggerer's work, and how it is. */
export type Triggerer = Work & { readonly health: () => TriggererHealth };

const GAUGES_MS = 1_000;

/**
 * Watches the pods of the installation and says to the workers which runs may go on. Many run at a time; each acts on its shards.
 *
 * Start: watches and subscriptions begin together (a subscription is judged again when its watch is in), membership too, because
 * acting early on what is known is right for a level. Stop: goodbye, acting until the others have taken over, then the last words go out.
 */
export function triggerer({ broker, clusters, settings, log, meter }: TriggererDeps): Triggerer {
  const now = (): number => broker.now();
  const scopes = watchScopes(clusters.names, settings.namespaces);
  const book = new PodBook(scopes);
  const ownership = new Ownership();
  const runs = new WaitingRuns(book, ownership, now(), settings);
  const orphans = new Orphans(ownership, (uid) => runs.isWaitedFor(uid), now(), settings);
  const health = (): TriggererHealth => triggererHealth({ book, ownership, waiting: runs.size, now: now() });

  const ask = async ({ pod }: Check): Promise<Checked['answer']> => {
    meter.count(TRIGGER_METRICS.checks);
    const cluster = clusters.get(pod.connection);
    const found = await cluster.getPod(pod.namespace, pod.name);
    const seen = found === undefined ? undefined : cluster.project(found);
    return seen?.uid === pod.uid ? { kind: 'there', pod: seen } : { kind: 'absent' };
  };
  let stretched = 0;
  const gauges$ = interval(GAUGES_MS).pipe(
    tap(() => {
      meter.gauge(TRIGGER_METRICS.waiting, runs.size);
      for (const { connection, pods, ageMs } of health().watches) {
        meter.gauge(TRIGGER_METRICS.pods, pods, { connection });
        meter.gauge(TRIGGER_METRICS.watchAgeMs, ageMs ?? 0, { connection });
      }
      if (runs.stretched > stretched) meter.count(TRIGGER_METRICS.stretched, {}, runs.stretched - stretched);
      stretched = runs.stretched;
    }),
    ignoreElements(),
  );

  const work$ = (stop$: Observable<unknown>): Observable<never> =>
    defer(() => {
      const takenOver$ = takenOverShards$(ownership, {
        me: settings.id,
        membership: broker.membership,
        connected$: broker.connected$,
        stop$,
        now,
        facts: () => {
          const { waiting, oldestWatchMs } = health();
          return { waiting, ...(oldestWatchMs === undefined ? {} : { watchAgeMs: oldestWatchMs }) };
        },
        log,
        meter,
      }).pipe(share());
      const left$ = takenOver$.pipe(ignoreElements(), endWith(true));
      const words$ = triggerActions$(
        {
          subscriptions$: broker.subscriptions.changes$(settings.id),
          pods$: watchedPods$(scopes, (connection) => clusters.get(connection), settings.installation, book, {
            now,
            meter,
          }),
          takenOver$,
        },
        { book, runs, orphans },
        { now, ask },
      ).pipe(
        filter((action): action is Word => action.kind !== 'check'),
        takeUntil(left$),
      );
      const failed = runs.unpublished.bind(runs);
      return merge(
        published$(words$, { publish: broker.publish, failed, now, log, meter }),
        gauges$.pipe(takeUntil(left$)),
      );
    });
  return Object.assign(work$, { health });
}
