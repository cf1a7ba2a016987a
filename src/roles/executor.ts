/** The executor: a worker whose queues take `command` runs, whose launches are rationed by slots, and whose slots are counted from the shared watch. */
import {
  distinctUntilChanged,
  finalize,
  ignoreElements,
  merge,
  ReplaySubject,
  take,
  takeUntil,
  tap,
  throttleTime,
  timer,
} from 'rxjs';
import type { Observable } from 'rxjs';
import { HEARTBEAT_MS } from '../core/ownership.ts';
import { executorSelector } from '../core/pod/labels.ts';
import { SlotPermits } from '../slots/start-permits.ts';
import type { LaunchBook } from '../slots/launch-book.ts';
import type { ExecutorBroker } from '../ports/broker.ts';
import type { Work } from '../run.ts';
import { watchScopes } from '../trigger/watched-pods.ts';
import { worker } from './worker.ts';
import type { WorkerDeps } from '../worker/worker-engine.ts';

/** What an executor is given beside what every worker is. */
export interface ExecutorDeps extends Omit<WorkerDeps, 'broker' | 'permitsOf'> {
  readonly broker: ExecutorBroker;
  /** Live pods of each queue, over all executors that serve it. */
  readonly parallelism: number;
  /** Told of each pod by the operator that made it; `executor` binds it to its slots. */
  readonly launches: LaunchBook;
}

/** How soon siblings hear of launches that have begun. */
const LAUNCHING_EVERY_MS = 25;

/** An executor's work, and why it cannot launch (empty: it can). */
export type Executor = Work & { readonly problems: () => readonly string[] };

/**
 * Intake, steps, services and janitor of the worker over executor queues; beside them the watch that counts live pods, and the heartbeats
 * by which executors of a queue share its slots. Many run at a time, and none owns a pod: another goes on where one dies.
 */
export function executor({ parallelism, launches, ...deps }: ExecutorDeps): Executor {
  const { broker, clusters, settings, meter } = deps;
  const now = () => performance.now();
  const scopes = watchScopes(clusters.names, settings.namespaces);
  const nameOf = ({ connection, namespace }: (typeof scopes)[number]) => `${connection}/${namespace ?? '*'}`;
  const startCredits = settings.credits.start;
  const permits = new Map(
    settings.queues.map((queue) => {
      const options = { id: settings.id, queue, parallelism, startCredits, meter, now };
      return [queue, new SlotPermits(options, scopes.map(nameOf))] as const;
    }),
  );
  const each = (act: (one: SlotPermits) => void): void => {
    for (const one of permits.values()) act(one);
  };
  launches.listen((queue, run, pod) => permits.get(queue)?.created(run, pod));

  const labelSelector = executorSelector(settings.installation);
  const watches$ = merge(
    ...scopes.map((scope) =>
      clusters
        .get(scope.connection)
        .watchPods$({ namespace: scope.namespace, labelSelector })
        .pipe(
          tap((signal) => {
            each((one) => {
              one.hear(nameOf(scope), signal);
            });
          }),
        ),
    ),
  );
  const connection$ = broker.connected$.pipe(
    distinctUntilChanged(),
    tap((isConnected) => {
      each((one) => {
        one.connected(isConnected);
      });
    }),
  );
  const heard$ = broker.executors.heartbeats$.pipe(
    tap((beat) => {
      each((one) => {
        one.heard(beat);
      });
    }),
  );
  const beats$ = timer(0, HEARTBEAT_MS).pipe(
    tap(() => {
      each((one) => {
        broker.executors.publishHeartbeat(one.tick());
      });
    }),
  );
  const launching$ = merge(
    ...[...permits.values()].map((one) =>
      one.launching$.pipe(
        throttleTime(LAUNCHING_EVERY_MS, undefined, { leading: true, trailing: true }),
        tap(() => {
          broker.executors.publishHeartbeat(one.beat());
        }),
      ),
    ),
  );
  const engine$ = worker({ ...deps, permitsOf: (queue) => permits.get(queue) });
  const work$ = (stop$: Observable<unknown>): Observable<never> => {
    const goodbye$ = stop$.pipe(
      take(1),
      tap(() => {
        each((one) => {
          one.stop();
          // Its siblings need not wait for its death.
          broker.executors.publishHeartbeat(one.tick());
        });
      }),
    );
    const over$ = new ReplaySubject<void>(1);
    const steps$ = engine$(stop$).pipe(
      finalize(() => {
        over$.next();
      }),
    );
    // Launches that have begun are watched and told of to their end: until then their slots are not the siblings'.
    const around$ = merge(watches$, connection$, heard$, beats$, launching$).pipe(takeUntil(over$));
    return merge(steps$, merge(around$, goodbye$).pipe(ignoreElements()));
  };
  return Object.assign(work$, {
    problems: () => [...engine$.problems(), ...[...permits.values()].flatMap(({ problems }) => problems)],
  });
}
