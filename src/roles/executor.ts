/** The executor: a worker for `command` runs, which limits the live pods of each queue to its slots. */
import { finalize, ignoreElements, merge, type Observable, ReplaySubject, take, takeUntil, tap } from 'rxjs';
import { executorSelector } from '../core/pod/labels.ts';
import type { ExecutorBroker } from '../ports/broker.ts';
import type { ExecutorSlots } from '../slots/executor-slots.ts';
import { watchScopes } from '../trigger/watched-pods.ts';
import { Progress } from '../worker/progress.ts';
import type { WorkerDeps } from '../worker/worker-engine.ts';
import { worker, type Worker } from './worker.ts';

/** What an executor is given besides what every worker is. */
export interface ExecutorDeps extends Omit<WorkerDeps, 'broker' | 'permitsOf'> {
  readonly broker: ExecutorBroker;
  /** The slots of its queues; its `command` operator must report to them what became of each launch. */
  readonly slots: ExecutorSlots;
}

/** An executor's work, why it cannot launch, and why only a restart helps (empty: it can, none is needed). */
export type Executor = Worker;

/**
 * A worker over executor queues whose launches wait for slots, with a watch that frees a slot when its pod has ended. Executors own no pod: when one
 * dies, another continues its runs, and frees what it held.
 */
export function executor({ slots, ...deps }: ExecutorDeps): Executor {
  const { broker, clusters, settings } = deps;
  const labelSelector = executorSelector(settings.installation);
  const watches = watchScopes(clusters.names, settings.namespaces).map(({ connection, namespace }) =>
    clusters.get(connection).watchPods$({ namespace, labelSelector }),
  );
  const engine$ = worker({ ...deps, permitsOf: (queue) => slots.permitsOf(queue) });
  const progress = new Progress();
  const work$ = (stop$: Observable<unknown>): Observable<never> => {
    const over$ = new ReplaySubject<void>(1);
    const steps$ = engine$(stop$).pipe(
      finalize(() => {
        over$.next();
      }),
    );
    // Continues after the stop until all launches are settled: a slot is freed by the executor that took it.
    const sharing$ = merge(
      slots.count$(watches).pipe(progress.endless('the count of pods')),
      slots.hold$().pipe(progress.endless('the holding of slots')),
      slots.exchange$(broker).pipe(progress.endless('the heartbeats')),
    ).pipe(takeUntil(over$));
    const leaving$ = stop$.pipe(
      take(1),
      tap(() => {
        slots.leave(broker.executors);
      }),
      ignoreElements(),
    );
    return merge(progress.stopping$(stop$), steps$, sharing$, leaving$);
  };
  return Object.assign(work$, {
    problems: () => [...engine$.problems(), ...slots.problems],
    stuck: () => [...engine$.stuck(), ...progress.stuck],
  });
}
