/** Lifecycle events of a run, through reconnections: what is published, and what was stored meanwhile. */
import {
  concat,
  concatMap,
  distinct,
  filter,
  firstValueFrom,
  from,
  identity,
  interval,
  map,
  merge,
  mergeMap,
  of,
  startWith,
  take,
  takeUntil,
  takeWhile,
  throwError,
  timeout,
} from 'rxjs';
import type { Observable } from 'rxjs';
import { ReentryError } from '../errors.ts';
import type { ClientBroker, StoredEvent } from '../ports/client.ts';
import { completedDataSchema } from '../wire/events.ts';
import type { CompletedData } from '../wire/events.ts';
import { EVENT_TYPES } from '../wire/subjects.ts';
import type { RunKey } from '../wire/subjects.ts';

/** Interval at which a waiting client looks for an event that a broken connection may have cost it, in milliseconds. */
export const LOOK_AGAIN_MS = 5_000;

/** Emits at once, at each reconnection and at an interval: moments to look for what may have been missed. */
function look$({ connected$ }: ClientBroker): Observable<unknown> {
  return merge(connected$.pipe(filter(Boolean)), interval(LOOK_AGAIN_MS).pipe(startWith(0)));
}

/** Data of the run's `completed` event, once. Completes without it when `closed$` emits. */
export function completed$(broker: ClientBroker, run: RunKey, closed$: Observable<unknown>): Observable<CompletedData> {
  const live$ = broker.events$(run).pipe(filter(({ type }) => type === 'completed'));
  const stored$ = look$(broker).pipe(
    // One read at a time; the next one makes up for a failed one.
    concatMap(() => broker.lastEvent(run, 'completed').catch(() => undefined)),
    filter((event) => event !== undefined),
  );
  return merge(live$, stored$).pipe(
    take(1),
    map(({ data }) => completedDataSchema.parse(data)),
    takeUntil(closed$),
  );
}

/** The first value of a `completed$`. @throws ReentryError TIMEOUT after `timeoutMs`, where given; NATS_UNAVAILABLE where it ends without one */
export async function completion(
  data$: Observable<CompletedData>,
  runId: string,
  timeoutMs: number | undefined,
): Promise<CompletedData> {
  const late = new ReentryError('TIMEOUT', `run ${runId} has not completed within ${String(timeoutMs)} ms`, {
    transient: true,
  });
  const limited$ = data$.pipe(
    timeoutMs === undefined ? identity : timeout({ first: timeoutMs, with: () => throwError(() => late) }),
  );
  const data = await firstValueFrom(limited$, { defaultValue: undefined });
  if (data !== undefined) return data;
  throw new ReentryError('NATS_UNAVAILABLE', `the connection was closed while waiting for run ${runId}`, {
    transient: true,
  });
}

/** Every lifecycle event of the run, each once: the stored ones, then new ones. Completes after `completed`, and when `closed$` emits. */
export function runEvents$(broker: ClientBroker, run: RunKey, closed$: Observable<unknown>): Observable<StoredEvent> {
  const history$ = from(EVENT_TYPES).pipe(
    mergeMap((type) => broker.lastEvent(run, type).catch(() => undefined), 1),
    filter((event) => event !== undefined),
  );
  return merge(broker.events$(run), look$(broker).pipe(concatMap(() => history$))).pipe(
    // `completed` may overtake events that were stored before this began.
    concatMap((event) => (event.type === 'completed' ? concat(history$, of(event)) : of(event))),
    distinct(({ id }) => id), // a few dozen ids, for as long as the run's events
    takeWhile(({ type }) => type !== 'completed', true),
    takeUntil(closed$),
  );
}
