/** The deliveries of one queue: its requests while there is room for runs, and its three lanes of step messages. */
import {
  EMPTY,
  catchError,
  concatMap,
  distinctUntilChanged,
  exhaustMap,
  filter,
  finalize,
  from,
  map,
  merge,
  shareReplay,
  takeUntil,
  tap,
  timer,
} from 'rxjs';
import type { Observable } from 'rxjs';
import type { Credits, DeliveryHandler } from '../../ports/broker.ts';
import { LANES } from '../../wire/subjects.ts';
import type { Lane, RunKey } from '../../wire/subjects.ts';
import { dec } from '../../wire/tokens.ts';
import type { BrokerParts, Engine } from './engine.ts';
import { intakeHandler } from './intake.ts';
import type { IntakeParts } from './intake.ts';
import { attemptOf, laneHandler } from './step.ts';
import type { StepParts } from './step.ts';

/** Fill of the fullest bucket, 0 to 1, from which on no run begins: the rest is for runs that have begun. */
export const FULL_AT = 0.8;

const CHECK_FILL_EVERY_MS = 5_000;

/** Rations starts of one queue: lane `start` acquires a permit before each launch. An executor gives one per free slot. */
export interface StartPermits {
  /** How many start messages may be held. */
  readonly credits: Credits;
  /** Waits for a permit and resolves with the function that returns it; `undefined` once this process stops: the message must be requeued. */
  acquire(
    attempt: RunKey & { readonly attempt: number },
    stop$: Observable<unknown>,
  ): Promise<(() => void) | undefined>;
}

/** How many messages of a queue are held at a time. */
export type QueueCredits = Readonly<Record<Lane | 'intake', number>>;

type DeliveryParts = BrokerParts<'queues' | 'fill'> & IntakeParts & StepParts & Pick<Engine, 'progress'>;

/** Takes and handles what a queue delivers. Completes, after `stop$`, when everything begun is settled. */
export function deliveries$(
  parts: DeliveryParts,
  queue: string,
  credits: QueueCredits,
  permits: StartPermits | undefined,
  stop$: Observable<unknown>,
): Observable<never> {
  const { queues } = parts.broker;
  const { progress } = parts;
  const lane$ = (lane: Lane) => {
    const handler = laneHandler(parts, lane);
    // Starts may hold their messages for hours: blocking runs for their pod, launches of an executor for a slot.
    const handle =
      lane === 'start' ? handler : progress.settling(`lane ${lane} of queue ${queue}`, credits[lane], handler);
    return lane === 'start' && permits !== undefined
      ? queues.steps$(queue, lane, permits.credits, withPermit(permits, handle, stop$), stop$)
      : queues.steps$(queue, lane, credits[lane], handle, stop$);
  };
  const intake$ = (full$: Observable<unknown>) =>
    queues.intake$(
      queue,
      credits.intake,
      progress.settling(`intake of queue ${queue}`, credits.intake, intakeHandler(parts, queue)),
      full$,
    );
  return merge(
    whileRoom$(parts, stop$, intake$).pipe(progress.endless(`intake of queue ${queue}`)),
    ...LANES.map((lane) => lane$(lane).pipe(progress.endless(`lane ${lane} of queue ${queue}`))),
  );
}

/** Handles a start message once it has a permit; without one, when this process stops, the message is requeued. */
function withPermit(permits: StartPermits, handle: DeliveryHandler, stop$: Observable<unknown>): DeliveryHandler {
  return async (delivery) => {
    const { tenantToken, runIdToken } = delivery;
    const run = { tenant: dec(tenantToken) ?? tenantToken, runId: dec(runIdToken) ?? runIdToken };
    const attempt = attemptOf(delivery);
    // It cannot be read, and will be put aside: it launches nothing.
    if (attempt === undefined) return handle(delivery);
    const release = await permits.acquire({ ...run, attempt }, stop$);
    if (release === undefined) return delivery.nak();
    try {
      await handle(delivery);
    } finally {
      release();
    }
  };
}

/** Takes requests in while the buckets have room. Steps of runs that have begun go on regardless, so that runs can always end. */
function whileRoom$(
  { broker, meter, log, progress }: BrokerParts<'fill'> & Pick<Engine, 'meter' | 'log' | 'progress'>,
  stop$: Observable<unknown>,
  intake$: (stop$: Observable<unknown>) => Observable<never>,
): Observable<never> {
  const room$ = timer(0, CHECK_FILL_EVERY_MS).pipe(
    exhaustMap(() =>
      from(broker.fill()).pipe(
        catchError((error: unknown) => {
          log.debug({ error: String(error) }, 'reading the fill of the buckets failed; intake stays as it was');
          return EMPTY;
        }),
        finalize(() => {
          progress.turned('the check of the buckets’ fill');
        }),
      ),
    ),
    tap((fill) => {
      meter.gauge('bucket_fill_ratio', fill);
    }),
    map((fill) => fill < FULL_AT),
    distinctUntilChanged(),
    takeUntil(stop$),
    shareReplay({ bufferSize: 1, refCount: true }),
  );
  return room$.pipe(
    // An intake ends by itself when the room does; the next begins after it.
    concatMap((room) => (room ? intake$(merge(stop$, room$.pipe(filter((still) => !still)))) : EMPTY)),
  );
}
