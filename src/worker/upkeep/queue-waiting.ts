/** What waits in the queues of a worker, told as a gauge: what its number should follow. */
import { catchError, exhaustMap, finalize, forkJoin, from, ignoreElements, of, tap, timer } from 'rxjs';
import type { Observable } from 'rxjs';
import { ReentryError } from '../../errors.ts';
import type { Log, Meter } from '../../ports/ambient.ts';
import type { WorkerBroker } from '../../ports/broker.ts';
import type { Gate } from '../../wire/triggers.ts';

/** How often it is looked at, in milliseconds: as often as anybody scrapes, and seldom enough to cost nothing. */
const LOOK_AT_QUEUES_MS = 15_000;

/** Why something waits: for any worker that is free, or because its gate is shut. */
const WHYS: readonly ('worker' | Gate['why'])[] = ['worker', 'turn', 'key', 'paused'];

/**
 * Asks every `everyMs` how much waits, beside the work and never in its way. The broker counts what no worker was given, a triggerer the runs
 * behind their gates; a run whose gate has opened stands as a step in the broker again, so nothing counts twice. What nobody answers is not
 * told, rather than told as it was.
 */
export function queueWaiting$(
  {
    broker,
    log,
    meter,
  }: { readonly broker: Pick<WorkerBroker, 'queues' | 'queries'>; readonly log: Log; readonly meter: Meter },
  queues: readonly string[],
  everyMs = LOOK_AT_QUEUES_MS,
): Observable<never> {
  const tell = (queue: string, counts: Readonly<Partial<Record<(typeof WHYS)[number], number>>>) => {
    for (const why of WHYS) meter.gauge('queue_waiting', counts[why], { queue, why });
  };
  const refused = new Set<string>();
  const unknown = (queue: string) => (error: unknown) => {
    if (error instanceof ReentryError && error.code === 'FORBIDDEN' && !refused.has(queue)) {
      // Users of an earlier version: the work goes on, and the server's log and ours are not filled with what does not change by itself.
      refused.add(queue);
      log.warn(
        { queue },
        'not allowed to ask NATS what waits in the queue, so it is not told; `reentry setup --permissions` prints what the server must allow',
      );
    }
    log.debug({ queue, error: String(error) }, 'what waits in the queue is not known now');
    return of(undefined);
  };
  const ungiven$ = (queue: string): Observable<number | undefined> =>
    refused.has(queue) ? of(undefined) : from(broker.queues.undelivered(queue)).pipe(catchError(unknown(queue)));
  const look$ = (): Observable<unknown> =>
    forkJoin({
      loads: from(broker.queries.queues()).pipe(catchError(unknown(queues.join()))),
      given: forkJoin(queues.map(ungiven$)),
    }).pipe(
      tap(({ loads, given }) => {
        for (const [n, queue] of queues.entries()) {
          const worker = given[n];
          const load = loads?.find((one) => one.queue === queue);
          // A triggerer that answers and does not name the queue knows nobody who waits there.
          const heldBack = load === undefined && loads !== undefined ? { turn: 0, key: 0, paused: 0 } : load?.heldBack;
          tell(queue, { ...(worker === undefined ? {} : { worker }), ...heldBack });
        }
      }),
    );
  return timer(0, everyMs).pipe(
    exhaustMap(look$),
    finalize(() => {
      for (const queue of queues) tell(queue, {});
    }),
    ignoreElements(),
  );
}
