import { concat, defer, map, NEVER, type Observable, of, tap, throwError } from 'rxjs';
import { expect, suite, test } from 'vitest';
import type { PodProjection } from '../../src/core/pod/projection.ts';
import type { PodSignal } from '../../src/ports/cluster.ts';
import { firstEvent$, type FirstEventInputs } from '../../src/trigger/first-event.ts';
import { WatchedPods } from '../../src/trigger/watched-pods.ts';
import { aContainer, anEndedPod, aPod, aSubscription } from '../support/builders.ts';
import { marbles } from '../support/marbles.ts';

const RUN = { tenant: 'default', runId: 'r1' };
const SCOPE = { connection: 'default', namespace: 'jobs' };
const DAY_MS = 86_400_000;
const pending = aPod({ phase: 'Pending', node: undefined, containers: [aContainer({ state: 'waiting' })] });
const signals: Readonly<Record<string, PodSignal>> = {
  s: { kind: 'synced' },
  l: { kind: 'lagging', why: 'HTTP 503' },
  r: { kind: 'pod', pod: aPod() },
  e: { kind: 'pod', pod: anEndedPod(0) },
  u: { kind: 'gone', pod: aPod(), confirmed: false },
  g: { kind: 'gone', pod: aPod(), confirmed: true },
};

/** The wait of one run over drawn signals; `get$` is the API. What it gives, in short. */
function drawn$(
  signals$: Observable<PodSignal>,
  now: () => number,
  facts: Parameters<typeof aSubscription>[0],
  {
    get$ = () => NEVER,
    ...more
  }: Partial<FirstEventInputs> & { readonly get$?: () => Observable<PodProjection | undefined> } = {},
): Observable<string> {
  const pods = new WatchedPods([SCOPE]);
  const pods$ = signals$.pipe(
    map((signal) => ({ scope: SCOPE, signal })),
    tap((signal) => {
      pods.apply(signal, now());
    }),
  );
  return firstEvent$(RUN, aSubscription(facts), { pods$, pods, now, findPod$: get$, ...more }).pipe(
    map(({ kind, reason }) => (reason === undefined ? kind : `${kind} ${reason}`)),
  );
}

suite('firstEvent$', () => {
  test('gives one event and completes', () => {
    marbles(({ hot$, expectObservable, now }) => {
      expectObservable(drawn$(hot$('s-r---e', signals), now, {})).toBe('------(a|)', { a: 'success' });
    });
  });

  test('a pod that had ended, or was gone, when the caller asked needs no watch', () => {
    marbles(({ hot$, expectObservable, now }) => {
      const found = { pod: anEndedPod(0), at: 0 };
      expectObservable(drawn$(hot$('l', signals), now, {}, { found })).toBe('(a|)', { a: 'success' });
      const gone = { pod: undefined, at: 0 };
      expectObservable(drawn$(hot$('l', signals), now, {}, { found: gone })).toBe('(a|)', { a: 'gone POD_DELETED' });
    });
  });

  test('a deadline counts only for a pod that was seen after it, however long neither watch nor API answers', () => {
    const gets: number[] = [];
    marbles(({ hot$, expectObservable, now }) => {
      const get$ = () =>
        defer(() => {
          gets.push(now());
          return now() < 35_000 ? throwError(() => new Error('HTTP 503')) : of(pending);
        });
      const facts = { await: { terminal: true, startBy: 1_000, scheduleBy: 1_000, from: 0 } };
      const settings = { absentAfterMs: 10_000, maxCheckIntervalMs: 10_000 };
      const out$ = drawn$(hot$('l', signals), now, facts, { get$, found: { pod: pending, at: 0 }, settings });
      expectObservable(out$).toBe('41s (a|)', { a: 'timeout SCHEDULE_TIMEOUT' });
    });
    // At the deadline, then every 10 s.
    expect(gets).toEqual([1_000, 11_000, 21_000, 31_000, 41_000]);
  });

  test('a pod that left the watch unconfirmed is asked for until it has ended', () => {
    const gets: number[] = [];
    marbles(({ hot$, expectObservable, now }) => {
      const get$ = () =>
        defer(() => {
          gets.push(now());
          return of(now() < 25_000 ? aPod() : anEndedPod(3));
        });
      const settings = { absentAfterMs: 10_000, maxCheckIntervalMs: 10_000 };
      const out$ = drawn$(hot$('(sr) 996ms u', signals), now, {}, { get$, settings });
      expectObservable(out$).toBe('31s (a|)', { a: 'failed CONTAINER_FAILED' });
    });
    expect(gets).toEqual([1_000, 11_000, 21_000, 31_000]);
  });

  test('a watch that showed the pod before the wait began costs no GET', () => {
    marbles(({ hot$, expectObservable, now }) => {
      const pods = new WatchedPods([SCOPE]);
      for (const signal of [signals['s'], signals['r']])
        if (signal !== undefined) pods.apply({ scope: SCOPE, signal }, 0);
      const get$ = () => throwError(() => new Error('asked'));
      const later$ = hot$('60s g', signals).pipe(
        map((signal) => ({ scope: SCOPE, signal })),
        tap((signal) => {
          pods.apply(signal, now());
        }),
      );
      const out$ = drawn$(NEVER, now, {}, { get$, pods, pods$: later$, found: { pod: aPod(), at: 0 } });
      expectObservable(out$).toBe('60s (a|)', { a: 'gone POD_DELETED' });
    });
  });

  test('a time-out of thirty days, longer than a timer of Node, fires then and not before', () => {
    const timeoutAt = 30 * DAY_MS;
    const get$ = () => of(aPod());
    // The clock leaps, as that of a process whose machine slept.
    const leaps: Readonly<Record<string, number>> = { r: 0, x: timeoutAt - 10_000, y: timeoutAt };
    marbles(({ hot$, expectObservable, now }) => {
      let leapMs = 0;
      const leaping = () => now() + leapMs;
      const pods$ = hot$('r 999ms x 999ms y').pipe(
        tap((leap) => {
          leapMs = leaps[leap] ?? 0;
        }),
        map((leap): PodSignal => (leap === 'r' ? { kind: 'pod', pod: aPod() } : { kind: 'alive' })),
      );
      const out$ = drawn$(concat(pods$, NEVER), leaping, { await: { terminal: true, timeoutAt } }, { get$ });
      expectObservable(out$).toBe('2s (a|)', { a: 'timeout EXECUTION_TIMEOUT' });
    });
  });
});
