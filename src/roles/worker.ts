import { ignoreElements, merge, shareReplay, take, takeUntil, tap } from 'rxjs';
import type { Observable } from 'rxjs';
import type { Work } from '../run.ts';
import { deliveries$ } from '../worker/protocol/deliveries.ts';
import { Progress } from '../worker/progress.ts';
import { services$ } from '../worker/services/services.ts';
import { janitor$ } from '../worker/upkeep/janitor.ts';
import { queueGauges$ } from '../worker/upkeep/queue-gauges.ts';
import { workerEngine } from '../worker/worker-engine.ts';
import type { WorkerDeps } from '../worker/worker-engine.ts';

/** A worker's work, why it cannot do it now, and why only a restart helps (empty: it can, none is needed). */
export type Worker = Work & { readonly problems: () => readonly string[]; readonly stuck: () => readonly string[] };

/** A worker: requests and steps of its queues, services, janitor. Ends, after `stop$`, when the last step it had begun is settled. */
export function worker(deps: WorkerDeps): Worker {
  const { broker, permitsOf, settings, meter, problems = () => [] } = deps;
  const progress = new Progress();
  let isConnected = false;
  const connection$ = broker.connected$.pipe(
    tap((up) => {
      isConnected = up;
      progress.connected(up);
      meter.gauge('broker_connected', up ? 1 : 0);
    }),
    ignoreElements(),
  );
  const work$ = (stop$: Observable<unknown>): Observable<never> => {
    const stopped$ = stop$.pipe(take(1), shareReplay({ bufferSize: 1, refCount: false }));
    const engine = workerEngine({ ...deps, progress }, stopped$);
    const { queues, credits, role = 'worker', version = '', queueGaugesEveryMs } = settings;
    const endFollows$ = stopped$.pipe(
      tap(() => {
        engine.follows.stop();
      }),
      ignoreElements(),
    );
    const untilStop$ = merge(
      // A request that arrives after the stop is answered by another worker.
      services$(engine, { role, version, problems }).pipe(progress.endless('the services')),
      connection$.pipe(progress.endless('the connection to NATS')),
      janitor$(engine, settings).pipe(progress.endless('the janitor')),
      queueGauges$(engine, queues, queueGaugesEveryMs).pipe(progress.endless('the gauges of the queues')),
    ).pipe(takeUntil(stopped$));
    return merge(
      // First, so that the stop is observed before anything that asks for it.
      progress.stopping$(stopped$),
      endFollows$,
      ...queues.map((queue) => deliveries$(engine, queue, credits, permitsOf?.(queue), stopped$)),
      untilStop$,
    );
  };
  return Object.assign(work$, {
    problems: () => (isConnected ? [] : ['is not connected to NATS']),
    stuck: () => progress.stuck,
  });
}
