import { catchError, defer, EMPTY, expand, ignoreElements, mergeMap, type Observable, of, tap } from 'rxjs';
import { podInMessage } from '../core/pod/judge.ts';
import type { Log, Meter } from '../ports/ambient.ts';
import type { Publisher } from '../ports/broker.ts';
import { WIRE_VERSION } from '../core/wire-version.ts';
import type { Firing, TriggerMessage } from './firing.ts';
import { keyOf } from './waits.ts';

/** Publishes under way at a time. */
export const PUBLISH_CREDITS = 64;

/** What a triggerer may publish. */
export type TriggerPublisher = Pick<Publisher, 'start' | 'resume' | 'ctl'>;

/** Publishes one message to the workers; resolves when the broker has stored it. */
export function publishMessage(publish: TriggerPublisher, message: TriggerMessage): Promise<void> {
  const { run, queue, id } = message;
  if (message.kind === 'orphan')
    return publish.ctl(run, queue, { v: WIRE_VERSION, kind: 'orphan', pod: podInMessage(message.pod) }, id);
  const { step } = message;
  return step.lane === 'start'
    ? publish.start(run, queue, step.message, id)
    : publish.resume(run, queue, step.message, id);
}

/**
 * Publishes with at most `credits` under way. Unsent events are coalesced, at most one per run: a newer event replaces an older one that
 * was not sent (a level needs its last value only), so that a slow broker costs one entry per run and no more.
 * Completes when `messages$` has and all messages are out; never errors: `failed` is called with an event that was not stored.
 *
 * ```
 * messages$  ──a1─b1─a2─a3──c1──|          (credits 1)
 * broker     ──[a1.....][b1..][a3..][c1.]
 * out        ────────────────────────────|
 * ```
 */
export function published$(
  messages$: Observable<TriggerMessage>,
  {
    publish,
    failed,
    now,
    log,
    meter,
    credits = PUBLISH_CREDITS,
    unsent = new Map(),
  }: {
    readonly publish: TriggerPublisher;
    readonly failed: (firing: Firing, now: number) => void;
    readonly now: () => number;
    readonly log: Log;
    readonly meter: Meter;
    readonly credits?: number;
    /** Where messages wait that cannot be sent yet; a caller's map shows how many. */
    readonly unsent?: Map<string, TriggerMessage>;
  },
): Observable<never> {
  const sent$ = (message: TriggerMessage): Observable<unknown> =>
    defer(() => publishMessage(publish, message)).pipe(
      tap(() => {
        if (message.kind === 'orphan') {
          meter.count('orphans_total');
          return;
        }
        meter.count('events_fired_total', { kind: message.event.kind });
        meter.observeSeconds('fire_delay_seconds', Math.max(0, now() - message.event.at) / 1000);
      }),
      catchError((error: unknown) => {
        meter.count('fire_failures_total');
        log.warn({ ...message.run, id: message.id, err: error }, 'publishing a trigger event failed; it is retried');
        if (message.kind === 'fire') failed(message, now());
        return of(undefined);
      }),
    );

  return defer(() => {
    let lanes = 0;
    const nextSent$ = (): Observable<unknown> => {
      const first = unsent.entries().next();
      if (first.done === true) {
        lanes -= 1;
        return EMPTY;
      }
      const [slot, message] = first.value;
      unsent.delete(slot);
      return sent$(message);
    };
    return messages$.pipe(
      mergeMap((message) => {
        unsent.set(message.kind === 'fire' ? keyOf(message.run) : message.id, message);
        if (lanes >= credits) return EMPTY;
        lanes += 1;
        // A lane takes the next message as soon as its last one is out, and ends when there is none. There are never more than `credits` lanes.
        return nextSent$().pipe(expand(nextSent$));
      }),
      ignoreElements(),
    );
  });
}
