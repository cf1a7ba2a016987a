import {
  defer,
  delay,
  endWith,
  filter,
  finalize,
  ignoreElements,
  interval,
  merge,
  type Observable,
  share,
  takeUntil,
  tap,
} from 'rxjs';
import type { PodProjection } from '../core/pod/projection.ts';
import type { Log, Meter } from '../ports/ambient.ts';
import type { TriggererBroker } from '../ports/broker.ts';
import type { Clusters } from '../ports/cluster.ts';
import type { Work } from '../run.ts';
import type { Check, Checked, Word } from '../trigger/actions.ts';
import { heartbeatFacts, triggererHealth, type TriggererHealth } from '../trigger/health.ts';
import { type LoopDelay, openLoopDelay } from '../trigger/loop-delay.ts';
import { Orphans, type OrphanSettings } from '../trigger/orphans.ts';
import { Ownership, takenOverShards$ } from '../trigger/ownership.ts';
import { PodBook } from '../trigger/pod-book.ts';
import { published$ } from '../trigger/publish.ts';
import { triggerEvents$ } from '../trigger/trigger-events.ts';
import { WaitingRuns, type WaitingSettings } from '../trigger/waiting-runs.ts';
import { runRefSchema } from '../wire/presence.ts';
import { watchedPods$, watchScopes } from '../trigger/watched-pods.ts';

/** Settings of one triggerer. */
export interface TriggererSettings extends WaitingSettings, Omit<OrphanSettings, 'misnamed'> {
  /** Version of the program, for `doctor`. */
  readonly version?: string | undefined;
  /** This replica's id, unique among those alive. */
  readonly id: string;
  readonly installation: string;
  /** Namespaces to watch, in every connection; undefined: all of them by one watch. */
  readonly namespaces: readonly string[] | undefined;
}

/** What a triggerer needs. */
export interface TriggererDeps {
  readonly broker: TriggererBroker;
  readonly clusters: Clusters;
  readonly settings: TriggererSettings;
  readonly log: Log;
  readonly meter: Meter;
}

/** A triggerer's work, and how it is. */
export type Triggerer = Work & { readonly health: () => TriggererHealth };

const GAUGES_MS = 1_000;
/** What is still unsent this long after the hand-over is left to the successors, who judge it anew. */
const LAST_WORDS_MS = 200;

/**
 * Watches the pods of the installation and says to the workers which runs may go on. Many run at a time; each acts on its shards.
 *
 * Start: watches and subscriptions begin together (a subscription is judged again when its watch is in), membership too, because
 * acting early on what is known is right for a level. Stop: goodbye, acting until the others have taken over, then the last words go out.
 */
export function triggerer({ broker, clusters, settings, log, meter }: TriggererDeps): Triggerer {
  const now = (): number => broker.now();
  const since = now();
  const scopes = watchScopes(clusters.names, settings.namespaces);
  const book = new PodBook(scopes);
  const ownership = new Ownership();
  const runs = new WaitingRuns(book, ownership, now(), settings);
  const misnamed = ({ connection, namespace, name }: PodProjection): void => {
    meter.count('pods_misnamed_total');
    log.warn({ connection, namespace, pod: name }, 'the annotations of a pod name a run that cannot be; left alone');
  };
  const orphans = new Orphans(ownership, (uid) => runs.isWaitedFor(uid), now(), { ...settings, misnamed });
  const unsent = new Map<string, Word>();
  let loopDelay: LoopDelay = { p50: 0, p99: 0 };
  let knowsAll = false;
  let waitsHeardAt = since;
  const health = (): TriggererHealth => {
    const { rate, floor } = runs.stretched;
    return triggererHealth({
      ...{ book, ownership, knowsAll, waitsHeardAt, loopDelay },
      waiting: runs.size,
      unsent: unsent.size,
      stretched: rate + floor,
      now: now(),
    });
  };

  const ask = async ({ pod }: Check): Promise<Checked['answer']> => {
    meter.count('absence_checks_total');
    const found = await clusters.get(pod.connection).findPod(pod);
    return found === undefined ? { kind: 'absent' } : { kind: 'there', pod: found };
  };

  let told = runs.stretched;
  const gauges$ = defer(() => {
    const delays = openLoopDelay();
    return interval(GAUGES_MS).pipe(
      tap(() => {
        loopDelay = delays.read();
        meter.gauge('event_loop_delay_seconds', loopDelay.p50 / 1000, { quantile: '0.5' });
        meter.gauge('event_loop_delay_seconds', loopDelay.p99 / 1000, { quantile: '0.99' });
        meter.gauge('subscriptions', runs.size);
        meter.gauge('subscriptions_owned', runs.sizeOf(ownership.held));
        meter.gauge('events_unsent', unsent.size);
        for (const connection of clusters.names) {
          const watches = health().watches.filter((watch) => watch.connection === connection);
          meter.gauge('pods_watched', sum(watches.map(({ pods }) => pods)), { connection });
          // A watch that has never been heard is as old as the process.
          const agesMs = watches.map(({ ageMs }) => ageMs ?? now() - since);
          meter.gauge('watch_lag_seconds', Math.max(0, ...agesMs) / 1000, { connection });
        }
        for (const why of ['rate', 'floor'] as const) {
          const more = runs.stretched[why] - told[why];
          if (more > 0) meter.count('logging_intervals_stretched_total', { why }, more);
        }
        told = runs.stretched;
      }),
      ignoreElements(),
      finalize(() => {
        delays[Symbol.dispose]();
      }),
    );
  });

  const runOf = (data: unknown) => runRefSchema.parse(data);
  const answers$ = merge(
    broker.queries.answer$('queuePosition', (data) => runs.queuePositionOf(runOf(data))),
    broker.queries.answer$('queues', () => runs.loads()),
    broker.queries.answer$('roles', () => {
      const { oldestWatchMs, problems } = health();
      return {
        ...{ role: 'triggerer', id: settings.id, version: settings.version ?? '', problems },
        clockOffsetMs: broker.clockOffsetMs(),
        ...(oldestWatchMs === undefined ? {} : { watchAgeMs: oldestWatchMs }),
      };
    }),
  );

  const work$ = (stop$: Observable<unknown>): Observable<never> =>
    defer(() => {
      const takenOver$ = takenOverShards$(ownership, {
        me: settings.id,
        membership: broker.membership,
        connected$: broker.connected$,
        stop$,
        now,
        facts: () => heartbeatFacts(health(), since),
        log,
        meter,
      }).pipe(share());
      const left$ = takenOver$.pipe(ignoreElements(), endWith(true), share());
      const words$ = triggerEvents$(
        {
          subscriptions$: broker.subscriptions.changes$(settings.id).pipe(
            tap(({ kind }) => {
              knowsAll ||= kind === 'synced';
              if (kind === 'synced' || kind === 'alive') waitsHeardAt = now();
            }),
          ),
          pods$: watchedPods$(scopes, (connection) => clusters.get(connection), settings.installation, book, {
            now,
            meter,
          }),
          takenOver$,
        },
        { book, runs, orphans },
        { now, ask$: ask },
      ).pipe(
        filter((action): action is Word => action.kind !== 'check'),
        takeUntil(left$),
      );
      const failed = runs.unpublished.bind(runs);
      return merge(
        published$(words$, { publish: broker.publish, failed, now, log, meter, unsent }).pipe(
          takeUntil(left$.pipe(delay(LAST_WORDS_MS))),
        ),
        gauges$.pipe(takeUntil(left$)),
        broker.connected$.pipe(
          tap((up) => {
            meter.gauge('broker_connected', up ? 1 : 0);
            if (up) waitsHeardAt = now();
          }),
          ignoreElements(),
          takeUntil(left$),
        ),
        answers$.pipe(takeUntil(left$)),
      );
    });
  return Object.assign(work$, { health });
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
