import { catchError, defer, EMPTY, expand, ignoreElements, map, mergeMap, type Observable, of, tap } from 'rxjs';
import type { Log, Meter } from '../ports/ambient.ts';
import type { Publisher } from '../ports/broker.ts';
import { WIRE_VERSION } from '../core/wire-version.ts';
import { runKeyText, type Firing, type Word } from './actions.ts';

/** Publishes under way at a time. */
export const PUBLISH_CREDITS = 64;

const keyOf = (word: Word): string => (word.kind === 'fire' ? runKeyText(word.run) : word.id);

/** The part of publishing that a triggerer may do. */
export type Voice = Pick<Publisher, 'start' | 'resume' | 'ctl'>;

/** Says one word to the workers; resolves when the broker has stored it. */
export function say(publish: Voice, word: Word): Promise<void> {
  if (word.kind === 'orphan') {
    const { pod } = word;
    const message = {
      v: WIRE_VERSION,
      kind: 'orphan',
      pod: { ...pod, containers: pod.containers.map((one) => ({ ...one })) },
    } as const;
    return publish.ctl(word.run, word.queue, message, word.id);
  }
  const { run, queue, step, id } = word;
  return step.lane === 'start'
    ? publish.start(run, queue, step.message, id)
    : publish.resume(run, queue, step.message, id);
}

/**
 * Publishes words with at most `credits` under way. What cannot go out yet waits as one word per run: a newer firing replaces
 * an older one that was not sent (a level needs its last value only), so that a slow broker costs one entry per run and no more.
 * Completes when `words$` has and all words are out; never errors: `failed` is told of a firing that did not get through.
 *
 * ```
 * words$   ──a1─b1─a2─a3──c1──|          (credits 1)
 * broker   ──[a1.....][b1..][a3..][c1.]
 * out      ────────────────────────────|
 * ```
 */
export function published$(
  words$: Observable<Word>,
  {
    publish,
    failed,
    now,
    log,
    meter,
    credits = PUBLISH_CREDITS,
    unsent = new Map(),
  }: {
    readonly publish: Voice;
    readonly failed: (firing: Firing, now: number) => void;
    readonly now: () => number;
    readonly log: Log;
    readonly meter: Meter;
    readonly credits?: number;
    /** Where the words stand that cannot go out yet; given to look at. */
    readonly unsent?: Map<string, Word>;
  },
): Observable<never> {
  const sent$ = (word: Word): Observable<unknown> =>
    defer(() => say(publish, word)).pipe(
      tap(() => {
        if (word.kind === 'orphan') {
          meter.count('orphans_total');
          return;
        }
        meter.count('events_fired_total', { kind: word.event.kind });
        meter.observeSeconds('fire_delay_seconds', Math.max(0, now() - word.event.at) / 1000);
      }),
      map(() => undefined),
      catchError((error: unknown) => {
        meter.count('fire_failures_total');
        log.warn({ ...word.run, id: word.id, err: error }, 'a trigger event was not stored; it is said again');
        if (word.kind === 'fire') failed(word, now());
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
      const [key, word] = first.value;
      unsent.delete(key);
      return sent$(word);
    };
    return words$.pipe(
      mergeMap((word) => {
        unsent.set(keyOf(word), word);
        if (lanes >= credits) return EMPTY;
        lanes += 1;
        // A lane takes the next word as soon as its last one is out, and ends when there is none. Not more than `credits` lanes exist.
        return nextSent$().pipe(expand(nextSent$));
      }),
      ignoreElements(),
    );
  });
}
