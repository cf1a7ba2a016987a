import { delay, map, type Observable, type ObservableInput, of, tap } from 'rxjs';
import { expect, suite, test } from 'vitest';
import { SHARDS } from '../../src/core/shard.ts';
import type { PodSignal } from '../../src/ports/cluster.ts';
import type { SubscriptionChange } from '../../src/ports/stores.ts';
import type { Action, Checked } from '../../src/trigger/actions.ts';
import { Orphans } from '../../src/trigger/orphans.ts';
import { Ownership } from '../../src/trigger/ownership.ts';
import { PodBook } from '../../src/trigger/pod-book.ts';
import { triggerEvents$ } from '../../src/trigger/trigger-events.ts';
import { WaitingRuns, type WaitingSettings } from '../../src/trigger/waiting-runs.ts';
import { aContainer, aPod, anEndedPod, aPut } from '../support/builders.ts';
import { marbles } from '../support/marbles.ts';
import { DEFAULTS } from '../support/defaults.ts';

const ALL = new Set(SHARDS);
const SCOPE = { connection: 'default', namespace: 'jobs' };

/** What an action is, in short. */
function short(action: Action): string {
  switch (action.kind) {
    case 'fire':
      return `${action.step.lane} ${action.event.kind}${action.event.reason === undefined ? '' : ` ${action.event.reason}`}`;
    case 'check':
      return `get ${action.pod.name}`;
    case 'orphan':
      return `orphan ${action.pod.name} to ${action.queue}`;
  }
}

/** The pipeline over drawn inputs, acting on all shards unless told otherwise. */
function drawn$(
  now: () => number,
  inputs: {
    readonly subscriptions$: Observable<SubscriptionChange>;
    readonly pods$: Observable<PodSignal>;
    readonly takenOver$?: Observable<ReadonlySet<string>>;
    readonly never$: Observable<never>;
    readonly get$?: () => ObservableInput<Checked['answer']>;
  },
  settings: Partial<WaitingSettings> = {},
): Observable<Action> {
  const book = new PodBook([SCOPE]);
  const ownership = new Ownership();
  if (inputs.takenOver$ === undefined) ownership.update(ALL, Infinity, now());
  const runs = new WaitingRuns(book, ownership, now(), { ...DEFAULTS.triggerer, ...settings });
  const orphans = new Orphans(ownership, (uid) => runs.isWaitedFor(uid), now(), { defaultQueue: 'default' });
  const signal = (of: PodSignal) => ({ scope: SCOPE, signal: of });
  return triggerEvents$(
    {
      subscriptions$: inputs.subscriptions$,
      pods$: inputs.pods$.pipe(
        map(signal),
        tap((of) => {
          book.apply(of, now());
        }),
      ),
      takenOver$: (inputs.takenOver$ ?? inputs.never$).pipe(tap((shards) => ownership.update(shards, Infinity, now()))),
    },
    { book, runs, orphans },
    { now, ask$: inputs.get$ ?? (() => Promise.resolve({ kind: 'failed' })) },
  );
}

const pod = (of: ReturnType<typeof aPod>): PodSignal => ({ kind: 'pod', pod: of });
const signals: Readonly<Record<string, PodSignal>> = {
  r: pod(aPod()),
  e: pod(anEndedPod(0)),
  f: pod(anEndedPod(3)),
  g: { kind: 'gone', pod: aPod(), confirmed: true },
  G: { kind: 'gone', pod: anEndedPod(0), confirmed: true },
  l: { kind: 'lagging', why: 'HTTP 410' },
  s: { kind: 'synced' },
};

suite('triggerEvents$', () => {
  test("fires on the pod's end, in the same instant, whichever came first", () => {
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const subscriptions$ = hot$('-p', { p: aPut() });
      const pods$ = hot$('         r---e', signals);
      const expected = '          ----a';
      const out$ = drawn$(now, { subscriptions$, pods$, never$: cold$('-') }).pipe(map(short));
      expectObservable(out$, '6ms !').toBe(expected, { a: 'resume success' });
    });
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const subscriptions$ = hot$('------p', { p: aPut() });
      const pods$ = hot$('         r---f', signals);
      const expected = '          ------a';
      const out$ = drawn$(now, { subscriptions$, pods$, never$: cold$('-') }).pipe(map(short));
      expectObservable(out$, '8ms !').toBe(expected, { a: 'resume failed CONTAINER_FAILED' });
    });
  });

  test('says it again after 60 s, then after twice as long, with a new id, and stops when the subscription ends', () => {
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const deleted = { kind: 'deleted', run: aPut().run, shard: aPut().shard } as const;
      const subscriptions$ = hot$('p 199s d', { p: aPut(), d: deleted });
      const pods$ = hot$('         e', signals);
      const expected = '          a 59999ms b 119999ms c';
      const out$ = drawn$(now, { subscriptions$, pods$, never$: cold$('-') }).pipe(
        map((action) => (action.kind === 'fire' ? action.id : action.kind)),
      );
      expectObservable(out$, '2000s !').toBe(expected, {
        a: 'fire:default.r1:0:1.success.0',
        b: 'fire:default.r1:0:1.success.1',
        c: 'fire:default.r1:0:1.success.2',
      });
    });
  });

  test('fires a deadline at its instant, with no event to say so, once a GET has shown that the pod still runs', () => {
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const subscriptions$ = hot$('p', { p: aPut({ await: { terminal: true, timeoutAt: 5_000 } }) });
      const pods$ = hot$('         (rs)', signals);
      const expected = '          5000ms c----a';
      const get$ = () => of({ kind: 'there', pod: aPod() } as const).pipe(delay(5));
      const out$ = drawn$(now, { subscriptions$, pods$, never$: cold$('-'), get$ }).pipe(map(short));
      expectObservable(out$, '6s !').toBe(expected, { c: 'get r1-pod', a: 'resume timeout EXECUTION_TIMEOUT' });
    });
  });

  test('fires a deadline without a GET where the watch has spoken since', () => {
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const subscriptions$ = hot$('p', { p: aPut({ await: { terminal: true, timeoutAt: 5_050 } }) });
      const pods$ = hot$<PodSignal>('         (rs) 5051ms A', { ...signals, A: { kind: 'alive' } });
      const expected = '          5100ms a';
      const out$ = drawn$(now, { subscriptions$, pods$, never$: cold$('-') }).pipe(map(short));
      expectObservable(out$, '6s !').toBe(expected, { a: 'resume timeout EXECUTION_TIMEOUT' });
    });
  });

  test('a pod that ended, or started, while the watch was down is not told as late', () => {
    const pending = aPod({ phase: 'Pending', node: undefined, containers: [aContainer({ state: 'waiting' })] });
    const ended = { kind: 'there', pod: anEndedPod(0) } as const;
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const subscriptions$ = hot$('p', { p: aPut({ await: { terminal: true, startBy: 5_000 } }) });
      const pods$ = hot$('         (ps)-l', { ...signals, p: pod(pending) });
      const expected = '          5000ms (ca)';
      const out$ = drawn$(now, { subscriptions$, pods$, never$: cold$('-'), get$: () => of(ended) }).pipe(map(short));
      expectObservable(out$, '6s !').toBe(expected, { c: 'get r1-pod', a: 'resume success' });
    });
    const running = { kind: 'there', pod: aPod() } as const;
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const subscriptions$ = hot$('p', { p: aPut({ await: { terminal: true, startBy: 5_000 } }) });
      const pods$ = hot$('         (ps)-l 99s e', { ...signals, p: pod(pending) });
      const expected = '          5000ms c 94005ms a';
      const out$ = drawn$(now, { subscriptions$, pods$, never$: cold$('-'), get$: () => of(running) }).pipe(map(short));
      expectObservable(out$, '150s !').toBe(expected, { c: 'get r1-pod', a: 'resume success' });
    });
  });

  test('a start that is late from its scheduling, though not yet by the latest time, is looked at as every deadline', () => {
    const facts = {
      phase: 'Pending',
      createdAt: 0,
      scheduledAt: 0,
      containers: [aContainer({ state: 'waiting' })],
    } as const;
    const wanted = { terminal: true, from: 0, scheduleBy: 60_000, startBy: 65_000 };
    const running = { kind: 'there', pod: aPod() } as const;
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const subscriptions$ = hot$('p', { p: aPut({ await: wanted }) });
      // The watch speaks last a second before the deadline.
      const pods$ = hot$<PodSignal>('(ps) 4996ms A', { ...signals, p: pod(aPod(facts)), A: { kind: 'alive' } });
      const expected = '              6000ms c';
      const out$ = drawn$(now, { subscriptions$, pods$, never$: cold$('-'), get$: () => of(running) }).pipe(map(short));
      expectObservable(out$, '30s !').toBe(expected, { c: 'get r1-pod' });
    });
  });

  test('a deadline that passes while neither watch nor GET answers ends nothing, and is told when one does', () => {
    let isUp = false;
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const subscriptions$ = hot$('p', { p: aPut({ await: { terminal: true, timeoutAt: 5_000 } }) });
      const pods$ = hot$('         (rs)-l', signals);
      const up$ = cold$('60s u').pipe(tap(() => (isUp = true)));
      expectObservable(up$).toBe('60s u');
      const get$ = () => of(isUp ? ({ kind: 'there', pod: aPod() } as const) : ({ kind: 'failed' } as const));
      // Asked again after 10 s, 20 s, 40 s.
      const expected = '          5s c 9999ms c 19999ms c 39999ms (ca)';
      const out$ = drawn$(now, { subscriptions$, pods$, never$: cold$('-'), get$ }).pipe(map(short));
      expectObservable(out$, '100s !').toBe(expected, { c: 'get r1-pod', a: 'resume timeout EXECUTION_TIMEOUT' });
    });
  });

  test('a timer of two hours starts the run', () => {
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const timer = aPut({ await: { notBefore: 7_200_000 }, then: 'start' }).subscription;
      delete timer.pod;
      const subscriptions$ = hot$('p', { p: { ...aPut(), subscription: timer } });
      const expected = '          7200000ms a';
      const out$ = drawn$(now, { subscriptions$, pods$: cold$('-'), never$: cold$('-') }).pipe(map(short));
      expectObservable(out$, '7200100ms !').toBe(expected, { a: 'start timer' });
    });
  });

  test('an expired queued run is resumed, not started', () => {
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const wanted = { notBefore: 9_000, expireAt: 2_000 };
      const subscriptions$ = hot$('p', { p: aPut({ await: wanted, then: 'start' }) });
      const expected = '          2000ms a';
      const out$ = drawn$(now, { subscriptions$, pods$: cold$('-'), never$: cold$('-') }).pipe(map(short));
      expectObservable(out$, '3s !').toBe(expected, { a: 'resume timeout EXPIRED' });
    });
  });

  test('the logging interval is on a grid that a late re-deferral does not move; once per step', () => {
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const wanted = { terminal: true, loggingEveryMs: 10_000 };
      const first = aPut({ await: wanted });
      const second = aPut({ await: wanted, step: 1 }, { revision: 2 });
      const spreadMs = Math.floor((Number.parseInt(first.shard, 16) / 256) * 1_000);
      const first10 = Math.ceil((10_000 + spreadMs) / 100) * 100;
      // Deferred again 3 s late; and a third time 47 s late: one event at the next point, no burst.
      const third = aPut({ await: wanted, step: 2 }, { revision: 3 });
      const subscriptions$ = hot$('p 12999ms q 56999ms t', { p: first, q: second, t: third });
      const pods$ = hot$('         r', signals);
      const frames = [first10, first10 + 10_000, first10 + 60_000];
      const expected = frames.map((at, i) => `${at - (frames[i - 1] ?? -1) - 1}ms a`).join(' ');
      const out$ = drawn$(now, { subscriptions$, pods$, never$: cold$('-') }).pipe(map(short));
      expectObservable(out$, '88s !').toBe(expected, { a: 'resume running' });
    });
  });

  test('a logging interval below the least one is stretched to it', () => {
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const put = aPut({ await: { terminal: true, loggingEveryMs: 10 } });
      const spreadMs = Math.floor((Number.parseInt(put.shard, 16) / 256) * 1_000);
      const expected = `          ${Math.ceil((5_000 + spreadMs) / 100) * 100}ms a`;
      const out$ = drawn$(now, {
        subscriptions$: hot$('p', { p: put }),
        pods$: hot$('r', signals),
        never$: cold$('-'),
      });
      expectObservable(out$.pipe(map(short)), '9s !').toBe(expected, { a: 'resume running' });
    });
  });

  test('after a running event the end is still told at once', () => {
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const put = aPut({ await: { terminal: true, loggingEveryMs: 5_000 } });
      const pods$ = hot$('r 8999ms e', signals);
      const at = Math.ceil((5_000 + Math.floor((Number.parseInt(put.shard, 16) / 256) * 1_000)) / 100) * 100;
      const expected = `${at}ms a ${9_000 - at - 1}ms b`;
      const out$ = drawn$(now, { subscriptions$: hot$('p', { p: put }), pods$, never$: cold$('-') }).pipe(map(short));
      expectObservable(out$, '10s !').toBe(expected, { a: 'resume running', b: 'resume success' });
    });
  });

  test('a deleted pod is told as gone; one that had ended keeps its verdict', () => {
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const pods$ = hot$('  rs-g', signals);
      const expected = '   ---a';
      const out$ = drawn$(now, { subscriptions$: hot$('p', { p: aPut() }), pods$, never$: cold$('-') }).pipe(
        map(short),
      );
      expectObservable(out$, '9ms !').toBe(expected, { a: 'resume gone POD_DELETED' });
    });
    marbles(({ hot$, cold$, expectObservable, now }) => {
      // Gone before the subscription arrived: the last projection is remembered.
      const subscriptions$ = hot$('-----p', { p: aPut() });
      const pods$ = hot$('         rs-G', signals);
      const expected = '          -----a';
      const out$ = drawn$(now, { subscriptions$, pods$, never$: cold$('-') }).pipe(map(short));
      expectObservable(out$, '9ms !').toBe(expected, { a: 'resume success' });
    });
  });

  test('a wait for a pod to be gone starts the next attempt when it is', () => {
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const subscriptions$ = hot$('p', { p: aPut({ await: { gone: true }, then: 'start' }) });
      const pods$ = hot$('         rse--G', signals);
      const expected = '          -----a';
      const out$ = drawn$(now, { subscriptions$, pods$, never$: cold$('-') }).pipe(map(short));
      expectObservable(out$, '9ms !').toBe(expected, { a: 'start gone' });
    });
  });

  test('a namespace outside the watches is an error at once', () => {
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const ref = { connection: 'default', namespace: 'elsewhere', name: 'x', uid: 'u9' };
      const out$ = drawn$(now, {
        subscriptions$: hot$('p', { p: aPut({ pod: ref }) }),
        pods$: cold$('-'),
        never$: cold$('-'),
      });
      expectObservable(out$.pipe(map(short)), '9ms !').toBe('a', { a: 'resume error NOT_WATCHED' });
    });
  });

  test('says nothing of a pod that a watch without a first list, or behind, does not show', () => {
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const out$ = drawn$(now, { subscriptions$: hot$('p', { p: aPut() }), pods$: cold$('-'), never$: cold$('-') });
      expectObservable(out$.pipe(map(short)), '100s !').toBe('');
    });
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const out$ = drawn$(now, {
        subscriptions$: hot$('p', { p: aPut() }),
        pods$: hot$('s 5s l', signals),
        never$: cold$('-'),
      });
      expectObservable(out$.pipe(map(short)), '100s !').toBe('');
    });
  });

  test('a pod missing from a synced watch for 10 s is asked for', () => {
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const subscriptions$ = hot$('p', { p: aPut() });
      const expected = '10000ms c';
      const out$ = drawn$(now, { subscriptions$, pods$: hot$('s', signals), never$: cold$('-') }).pipe(map(short));
      expectObservable(out$, '11s !').toBe(expected, { c: 'get r1-pod' });
    });
  });

  test('acts on its shards only, and looks at all of them when it takes them over', () => {
    marbles(({ hot$, expectObservable, cold$, now }) => {
      const inputs = {
        subscriptions$: hot$('p', { p: aPut() }),
        pods$: hot$('         -e', signals),
        takenOver$: hot$('    ----o', { o: ALL }),
      };
      const expected = '     ----a';
      const out$ = drawn$(now, { ...inputs, never$: cold$('-') }).pipe(map(short));
      expectObservable(out$, '9ms !').toBe(expected, { a: 'resume success' });
    });
  });

  test('a pod that no run waits for is reported after 60 s, and with growing pauses; a waited-for one never', () => {
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const other = pod(aPod({ uid: 'u2', name: 'lost', runId: 'r2', queue: 'big' }));
      const kept = pod(aPod({ uid: 'u3', runId: 'r3', alreadyChecked: true }));
      const subscriptions$ = hot$<SubscriptionChange>('(ps)', { p: aPut(), s: { kind: 'synced' } });
      const pods$ = hot$('         (rok)', { ...signals, o: other, k: kept });
      const expected = '          60000ms o 119999ms o';
      const out$ = drawn$(now, { subscriptions$, pods$, never$: cold$('-') }).pipe(map(short));
      expectObservable(out$, '200s !').toBe(expected, { o: 'orphan lost to big' });
    });
  });

  test('at most 100 running events a second: the rest is put off, counted, and comes', () => {
    const book = new PodBook([SCOPE]);
    const ownership = new Ownership();
    ownership.update(ALL, Infinity, 0);
    const runs = new WaitingRuns(book, ownership, 0, DEFAULTS.triggerer);
    for (let n = 0; n < 1_000; n += 1) {
      const uid = `u${n}`;
      const one = aPod({ uid, containers: [aContainer({ startedAt: 0 })] });
      book.apply({ scope: SCOPE, signal: { kind: 'pod', pod: one } }, 0);
      const { connection, namespace, name } = one;
      const facts = { pod: { connection, namespace, name, uid }, await: { terminal: true, loggingEveryMs: 5_000 } };
      expect(runs.subscription(aPut(facts, { runId: `r${n}` }), 0)).toEqual([]);
    }
    const perSecond = new Map<number, number>();
    for (let now = 0; now <= 20_000; now += 100) {
      const fired = runs.due(runs.wheel.turn(now), now).length;
      const second = Math.floor(now / 1_000);
      perSecond.set(second, (perSecond.get(second) ?? 0) + fired);
    }
    const counts = [...perSecond.values()];
    expect(counts.reduce((a, b) => a + b, 0)).toBe(1_000);
    // The first second has the burst as well.
    expect(Math.max(...counts)).toBeLessThanOrEqual(210);
    expect(counts.filter((count) => count > 120).length).toBeLessThanOrEqual(1);
    expect(runs.stretched.rate).toBeGreaterThan(700);
  });

  test('what waits is counted by shard: the replicas, each knowing all, add up to it', () => {
    const runs = new WaitingRuns(new PodBook([SCOPE]), new Ownership(), 0, DEFAULTS.triggerer);
    const puts = Array.from({ length: 50 }, (_, n) => aPut({}, { runId: `r${n}` }));
    for (const put of puts) runs.subscription(put, 0);
    const here = new Set(SHARDS.slice(0, 100));
    const there = new Set(SHARDS.slice(100));
    expect(runs.sizeOf(here)).toBe(puts.filter(({ shard }) => here.has(shard)).length);
    expect(runs.sizeOf(here) + runs.sizeOf(there)).toBe(50);
  });

  test('a GET that says absent, or another uid, is a gone; one that fails says nothing', () => {
    const book = new PodBook([SCOPE]);
    const ownership = new Ownership();
    ownership.update(ALL, Infinity, 0);
    const runs = new WaitingRuns(book, ownership, 0, DEFAULTS.triggerer);
    const put = aPut();
    book.apply({ scope: SCOPE, signal: { kind: 'synced' } }, 0);
    runs.subscription(put, 0);
    const asked = runs.due(runs.wheel.turn(10_100), 10_100);
    expect(asked.map(short)).toEqual(['get r1-pod']);
    expect(runs.checked({ run: put.run, uid: 'u1', answer: { kind: 'failed' } }, 10_200)).toEqual([]);
    const again = runs.due(runs.wheel.turn(20_300), 20_300);
    expect(again.map(short)).toEqual(['get r1-pod']);
    const gone = runs.checked({ run: put.run, uid: 'u1', answer: { kind: 'absent' } }, 20_400);
    expect(gone.map(short)).toEqual(['resume gone POD_DELETED']);
  });

  test('what the watch told while a GET was under way is newer than its answer', () => {
    const book = new PodBook([SCOPE]);
    const ownership = new Ownership();
    ownership.update(ALL, Infinity, 0);
    const runs = new WaitingRuns(book, ownership, 0, DEFAULTS.triggerer);
    const tell = (signal: PodSignal, now: number): readonly string[] => {
      book.apply({ scope: SCOPE, signal }, now);
      return runs.pod({ scope: SCOPE, signal }, now).map(short);
    };
    const put = aPut({ await: { terminal: true, timeoutAt: 1_000 } });
    const running = aPod({ uid: 'u1' });
    const there = { run: put.run, uid: 'u1', answer: { kind: 'there', pod: running } } as const;
    tell({ kind: 'synced' }, 0);
    tell({ kind: 'pod', pod: running }, 0);
    runs.subscription(put, 0);
    expect(runs.due(runs.wheel.turn(2_000), 2_000).map(short)).toEqual(['get r1-pod']);
    expect(tell({ kind: 'pod', pod: anEndedPod(0, { uid: 'u1' }) }, 2_050)).toEqual(['resume success']);
    expect(runs.checked(there, 2_100)).toEqual([]);

    runs.subscription(
      { ...put, revision: put.revision + 1, subscription: { ...put.subscription, await: { gone: true } } },
      3_000,
    );
    tell({ kind: 'gone', pod: running, confirmed: false }, 3_100);
    expect(tell({ kind: 'gone', pod: running, confirmed: true }, 3_200)).toEqual(['resume gone']);
    expect(runs.checked(there, 3_300)).toEqual([]);
    expect(runs.due(runs.wheel.turn(64_000), 64_000).map(short)).toEqual(['resume gone']);
  });

  test('a GET that was sent before a deadline says nothing of it, however late its answer comes', () => {
    const book = new PodBook([SCOPE]);
    const ownership = new Ownership();
    ownership.update(ALL, Infinity, 0);
    const runs = new WaitingRuns(book, ownership, 0, DEFAULTS.triggerer);
    const put = aPut({ await: { terminal: true, timeoutAt: 11_000 } });
    const there = { run: put.run, uid: 'u1', answer: { kind: 'there', pod: aPod({ uid: 'u1' }) } } as const;
    book.apply({ scope: SCOPE, signal: { kind: 'synced' } }, 0);
    runs.subscription(put, 0);
    expect(runs.due(runs.wheel.turn(10_100), 10_100).map(short)).toEqual(['get r1-pod']);
    expect(runs.checked(there, 12_000)).toEqual([]);
    expect(runs.due(runs.wheel.turn(22_100), 22_100).map(short)).toEqual(['get r1-pod']);
    expect(runs.checked(there, 22_200).map(short)).toEqual(['resume timeout EXECUTION_TIMEOUT']);
  });

  test('at most 20 GETs a second, whatever the number of missing pods, and all of them in the end', () => {
    const book = new PodBook([SCOPE]);
    const ownership = new Ownership();
    ownership.update(ALL, Infinity, 0);
    const runs = new WaitingRuns(book, ownership, 0, DEFAULTS.triggerer);
    book.apply({ scope: SCOPE, signal: { kind: 'synced' } }, 0);
    for (let n = 0; n < 200; n += 1) {
      const ref = { connection: 'default', namespace: 'jobs', name: `p${n}`, uid: `u${n}` };
      runs.subscription(aPut({ pod: ref }, { runId: `r${n}` }), 0);
    }
    let gets = 0;
    let gone = 0;
    for (let now = 0; now <= 30_000; now += 100) {
      for (const action of runs.due(runs.wheel.turn(now), now)) {
        if (action.kind !== 'check') continue;
        gets += 1;
        const answer = { run: action.run, uid: action.pod.uid, answer: { kind: 'absent' } } as const;
        gone += runs.checked(answer, now).length;
      }
      expect(gets).toBeLessThanOrEqual(20 + Math.ceil(Math.max(0, now - 10_000) / 50));
    }
    expect(gets).toBe(200);
    expect(gone).toBe(200);
  });

  test('a repeated relist or re-read fires nothing twice', () => {
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const subscriptions$ = hot$<SubscriptionChange>('p--p--s', { p: aPut(), s: { kind: 'synced' } });
      const pods$ = hot$('         es-es-e', signals);
      const out$ = drawn$(now, { subscriptions$, pods$, never$: cold$('-') }).pipe(map(short));
      expectObservable(out$, '50s !').toBe('a', { a: 'resume success' });
    });
  });
});
