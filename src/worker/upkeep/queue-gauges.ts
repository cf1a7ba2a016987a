/** The gauge of what waits in the queues of a worker: what the number of workers should follow. */
import { catchError, exhaustMap, finalize, forkJoin, from, ignoreElements, of, tap, timer } from 'rxjs';
import type { Observable } from 'rxjs';
import { ReentryError } from '../../errors.ts';
import type { Log, Meter } from '../../ports/ambient.ts';
import type { WorkerBroker } from '../../ports/broker.ts';
import type { Gate } from '../../wire/triggers.ts';

/** About as often as metrics are scraped. */
const QUEUE_GAUGES_EVERY_MS = 15_000;

/** What a run waits for: a free worker, or a gate to open. */
const WHYS: readonly ('worker' | Gate['why'])[] = ['worker', 'turn', 'key', 'paused'];

/**
 * Updates the gauge every `everyMs`. The broker counts messages that were delivered to no worker, a triggerer the runs held back by gates; a run
 * whose gate has opened is a step message again, so nothing counts twice. Counts that nothing reported are left out rather than repeated.
 */
export function queueGauges$(
  {
    broker,
    log,
    meter,
  }: { readonly broker: Pick<WorkerBroker, 'queues' | 'queries'>; readonly log: Log; readonly meter: Meter },
  queues: readonly string[],
  everyMs = QUEUE_GAUGES_EVERY_MS,
): Observable<never> {
  const set = (queue: string, counts: Readonly<Partial<Record<(typeof WHYS)[number], number>>>) => {
    for (const why of WHYS) meter.gauge('queue_waiting', counts[why], { queue, why });
  };
  const refused = new Set<string>();
  const unknown = (queue: string) => (error: unknown) => {
    if (error instanceof ReentryError && error.code === 'FORBIDDEN' && !refused.has(queue)) {
      // NATS users set up for an earlier version: go on, and do not fill the server's log and ours.
      refused.add(queue);
      log.warn(
        { queue },
        'NATS does not allow this user to count what waits in the queue, so the gauge is left out; `reentry setup --permissions` prints the permissions needed',
      );
    }
    log.debug({ queue, error: String(error) }, 'counting what waits in the queue failed');
    return of(undefined);
  };
  const undelivered$ = (queue: string): Observable<number | undefined> =>
    refused.has(queue) ? of(undefined) : from(broker.queues.undelivered(queue)).pipe(catchError(unknown(queue)));
  const counts$ = (): Observable<unknown> =>
    forkJoin({
      loads: from(broker.queries.queues()).pipe(catchError(unknown(queues.join()))),
      undelivered: forkJoin(queues.map(undelivered$)),
    }).pipe(
      tap(({ loads, undelivered }) => {
        for (const [n, queue] of queues.entries()) {
          const worker = undelivered[n];
          const load = loads?.find((one) => one.queue === queue);
          // A triggerer that answers without naming the queue holds no run of it back.
          const heldBack = load === undefined && loads !== undefined ? { turn: 0, key: 0, paused: 0 } : load?.heldBack;
          set(queue, { ...(worker === undefined ? {} : { worker }), ...heldBack });
        }
      }),
    );
  return timer(0, everyMs).pipe(
    exhaustMap(counts$),
    finalize(() => {
      for (const queue of queues) set(queue, {});
    }),
    ignoreElements(),
  );
}
