import { ignoreElements, merge, shareReplay, take, takeUntil, tap } from 'rxjs';
import type { Observable } from 'rxjs';
import type { Work } from '../run.ts';
import { deliveries$ } from '../worker/protocol/deliveries.ts';
import { services$ } from '../worker/services/services.ts';
import { janitor$ } from '../worker/upkeep/janitor.ts';
import { queueGauges$ } from '../worker/upkeep/queue-gauges.ts';
import { workerEngine } from '../worker/worker-engine.ts';
import type { WorkerDeps } from '../worker/worker-engine.ts';

/** A worker's work, and why it cannot do it now (empty: it can). */
export type Worker = Work & { readonly problems: () => readonly string[] };

/** A worker: requests and steps of its queues, services, janitor. Ends, after `stop$`, when the last step it had begun is settled. */
export function worker(deps: WorkerDeps): Worker {
  const { broker, permitsOf, settings, meter, problems = () => [] } = deps;
  let isConnected = false;
  const connection$ = broker.connected$.pipe(
    tap((up) => {
      isConnected = up;
      meter.gauge('broker_connected', up ? 1 : 0);
    }),
    ignoreElements(),
  );
  const work$ = (stop$: Observable<unknown>): Observable<never> => {
    const stopped$ = stop$.pipe(take(1), shareReplay({ bufferSize: 1, refCount: false }));
    const engine = workerEngine(deps, stopped$);
    const { queues, credits, role = 'worker', version = '', queueGaugesEveryMs } = settings;
    const endFollows$ = stopped$.pipe(
      tap(() => {
        engine.follows.stop();
      }),
      ignoreElements(),
    );
    const untilStop$ = merge(
      // A request that arrives after the stop is answered by another worker.
      services$(engine, { role, version, problems }),
      connection$,
      janitor$(engine, settings),
      queueGauges$(engine, queues, queueGaugesEveryMs),
    ).pipe(takeUntil(stopped$));
    return merge(
      // First, so that the stop is observed before anything that asks for it.
      endFollows$,
      ...queues.map((queue) => deliveries$(engine, queue, credits, permitsOf?.(queue), stopped$)),
      untilStop$,
    );
  };
  return Object.assign(work$, { problems: () => (isConnected ? [] : ['is not connected to NATS']) });
}
