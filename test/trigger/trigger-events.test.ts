import { delay, map, merge, type Observable, type ObservableInput, of, share, tap, throwError } from 'rxjs';
import { expect, suite, test } from 'vitest';
import type { PodProjection } from '../../src/core/pod/projection.ts';
import { SHARDS } from '../../src/core/identity.ts';
import type { Log, Meter } from '../../src/ports/ambient.ts';
import type { PodSignal } from '../../src/ports/cluster.ts';
import type { SubscriptionChange } from '../../src/ports/stores.ts';
import type { Check, CheckAnswer } from '../../src/trigger/absence-checks.ts';
import type { OrphanReport } from '../../src/trigger/firing.ts';
import type { Effect } from '../../src/trigger/look.ts';
import { orphanReports$, Orphans } from '../../src/trigger/orphans.ts';
import { Ownership } from '../../src/trigger/ownership.ts';
import { triggerEvents$ } from '../../src/trigger/trigger-events.ts';
import { type TriggerSettings, TriggerState } from '../../src/trigger/trigger-state.ts';
import { WatchedPods } from '../../src/trigger/watched-pods.ts';
import { aContainer, aPod, anEndedPod, aPut } from '../support/builders.ts';
import { DEFAULTS } from '../support/defaults.ts';
import { marbles } from '../support/marbles.ts';

const nothing = (): void => undefined;
const log: Log = { debug: nothing, info: nothing, warn: nothing, error: nothing, child: () => log };
const meter: Meter = { count: nothing, gauge: nothing, observeSeconds: nothing };
const ALL = new Set(SHARDS);
const SCOPE = { connection: 'default', namespace: 'jobs' };

/** What is to be done, in short. */
function short(effect: Effect | OrphanReport): string {
  switch (effect.kind) {
    case 'fire':
      return `${effect.step.lane} ${effect.event.kind}${effect.event.reason === undefined ? '' : ` ${effect.event.reason}`}`;
    case 'check':
      return `get ${effect.pod.name}`;
    case 'orphan':
      return `orphan ${effect.pod.name} to ${effect.queue}`;
  }
}

/** The pipeline and the reports of orphans over drawn inputs, acting on all shards unless others are drawn. */
function drawn$(
  now: () => number,
  inputs: {
    readonly subscriptions$: Observable<SubscriptionChange>;
    readonly pods$: Observable<PodSignal>;
    readonly shardsTakenOver$?: Observable<ReadonlySet<string>>;
    readonly never$: Observable<never>;
    readonly get$?: () => ObservableInput<PodProjection | undefined>;
  },
  settings: Partial<TriggerSettings> = {},
): Observable<Effect | OrphanReport> {
  const pods = new WatchedPods([SCOPE]);
  const ownership = new Ownership();
  if (inputs.shardsTakenOver$ === undefined) ownership.update(ALL, Infinity, now());
  const state = new TriggerState(pods, ownership, now(), { ...DEFAULTS.triggerer, ...settings });
  const { waits } = state;
  const orphans = new Orphans(ownership, waits, now(), { defaultQueue: 'default', log, meter });
  const pods$ = inputs.pods$.pipe(
    map((signal) => ({ scope: SCOPE, signal })),
    tap((signal) => {
      pods.apply(signal, now());
    }),
    share(),
  );
  const shardsTakenOver$ = (inputs.shardsTakenOver$ ?? inputs.never$).pipe(
    tap((shards) => ownership.update(shards, Infinity, now())),
  );
  return merge(
    orphanReports$(orphans, { pods$, pods, waits, isComplete: () => state.isComplete, now }),
    triggerEvents$({ subscriptions$: inputs.subscriptions$, pods$, shardsTakenOver$ }, state, {
      now,
      findPod$: inputs.get$ ?? unanswered$,
    }),
  );
}

const unanswered$ = () => throwError(() => new Error('HTTP 503'));

/** The pipeline's state without the pipeline: what happens is called, and what is to be done comes back. */
function aState() {
  const pods = new WatchedPods([SCOPE]);
  const ownership = new Ownership();
  ownership.update(ALL, Infinity, 0);
  const state = new TriggerState(pods, ownership, 0, DEFAULTS.triggerer);
  return {
    pods,
    state,
    watch: (signal: PodSignal, now: number): readonly Effect[] => {
      pods.apply({ scope: SCOPE, signal }, now);
      return state.look(state.podChanged({ scope: SCOPE, signal }), now);
    },
    put: (put: ReturnType<typeof aPut>, now: number): readonly Effect[] =>
      state.look(state.subscriptionChanged(put, now), now),
    /** Time passes. */
    due: (now: number): readonly Effect[] => [
      ...state.look(state.deadlines.turn(now), now),
      ...state.look(state.logging.turn(now), now),
    ],
    answer: (check: Check, answer: CheckAnswer, now: number): readonly Effect[] =>
      state.look(state.checked(check, answer, now), now),
  };
}

/** The one GET among the effects. */
function checkIn(effects: readonly Effect[]): Check {
  const [check] = effects;
  if (check?.kind !== 'check' || effects.length > 1) throw new Error(`not one GET: ${effects.map(short).join()}`);
  return check;
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

  test('fires again after 60 s, then after twice as long, with a new id, and stops when the subscription ends', () => {
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const deleted = { kind: 'deleted', run: aPut().run, shard: aPut().shard } as const;
      const subscriptions$ = hot$('p 199s d', { p: aPut(), d: deleted });
      const pods$ = hot$('         e', signals);
      const expected = '          a 59999ms b 119999ms c';
      const out$ = drawn$(now, { subscriptions$, pods$, never$: cold$('-') }).pipe(
        map((effect) => (effect.kind === 'fire' ? effect.id : effect.kind)),
      );
      expectObservable(out$, '2000s !').toBe(expected, {
        a: 'fire:default.r1:0:1.success.0',
        b: 'fire:default.r1:0:1.success.1',
        c: 'fire:default.r1:0:1.success.2',
      });
    });
  });

  test('fires a deadline at its instant, without an event of the pod, once a GET has shown that the pod still runs', () => {
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const subscriptions$ = hot$('p', { p: aPut({ await: { terminal: true, timeoutAt: 5_000 } }) });
      const pods$ = hot$('         (rs)', signals);
      const expected = '          5000ms c----a';
      const get$ = () => of(aPod()).pipe(delay(5));
      const out$ = drawn$(now, { subscriptions$, pods$, never$: cold$('-'), get$ }).pipe(map(short));
      expectObservable(out$, '6s !').toBe(expected, { c: 'get r1-pod', a: 'resume timeout EXECUTION_TIMEOUT' });
    });
  });

  test('fires a deadline without a GET where the watch has received anything since', () => {
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const subscriptions$ = hot$('p', { p: aPut({ await: { terminal: true, timeoutAt: 5_050 } }) });
      const pods$ = hot$<PodSignal>('         (rs) 5051ms A', { ...signals, A: { kind: 'alive' } });
      const expected = '          5100ms a';
      const out$ = drawn$(now, { subscriptions$, pods$, never$: cold$('-') }).pipe(map(short));
      expectObservable(out$, '6s !').toBe(expected, { a: 'resume timeout EXECUTION_TIMEOUT' });
    });
  });

  test('a pod that ended, or started, while the watch was down is not reported as late', () => {
    const pending = aPod({ phase: 'Pending', node: undefined, containers: [aContainer({ state: 'waiting' })] });
    const ended = anEndedPod(0);
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const subscriptions$ = hot$('p', { p: aPut({ await: { terminal: true, startBy: 5_000 } }) });
      const pods$ = hot$('         (ps)-l', { ...signals, p: pod(pending) });
      const expected = '          5000ms (ca)';
      const out$ = drawn$(now, { subscriptions$, pods$, never$: cold$('-'), get$: () => of(ended) }).pipe(map(short));
      expectObservable(out$, '6s !').toBe(expected, { c: 'get r1-pod', a: 'resume success' });
    });
    const running = aPod();
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
    const running = aPod();
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const subscriptions$ = hot$('p', { p: aPut({ await: wanted }) });
      // The watch receives something last a second before the deadline.
      const pods$ = hot$<PodSignal>('(ps) 4996ms A', { ...signals, p: pod(aPod(facts)), A: { kind: 'alive' } });
      const expected = '              6000ms c';
      const out$ = drawn$(now, { subscriptions$, pods$, never$: cold$('-'), get$: () => of(running) }).pipe(map(short));
      expectObservable(out$, '30s !').toBe(expected, { c: 'get r1-pod' });
    });
  });

  test('a deadline that passes while neither watch nor GET answers ends nothing, and fires when one does', () => {
    let isUp = false;
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const subscriptions$ = hot$('p', { p: aPut({ await: { terminal: true, timeoutAt: 5_000 } }) });
      const pods$ = hot$('         (rs)-l', signals);
      const up$ = cold$('60s u').pipe(tap(() => (isUp = true)));
      expectObservable(up$).toBe('60s u');
      const get$ = () => (isUp ? of(aPod()) : unanswered$());
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

  test('after a running event the end still fires at once', () => {
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const put = aPut({ await: { terminal: true, loggingEveryMs: 5_000 } });
      const pods$ = hot$('r 8999ms e', signals);
      const at = Math.ceil((5_000 + Math.floor((Number.parseInt(put.shard, 16) / 256) * 1_000)) / 100) * 100;
      const expected = `${at}ms a ${9_000 - at - 1}ms b`;
      const out$ = drawn$(now, { subscriptions$: hot$('p', { p: put }), pods$, never$: cold$('-') }).pipe(map(short));
      expectObservable(out$, '10s !').toBe(expected, { a: 'resume running', b: 'resume success' });
    });
  });

  test('a deleted pod fires as gone; one that had ended keeps its verdict', () => {
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

  test('concludes nothing about a pod that a watch without a first list, or behind, does not show', () => {
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
        shardsTakenOver$: hot$('----o', { o: ALL }),
      };
      const expected = '     ----a';
      const out$ = drawn$(now, { ...inputs, never$: cold$('-') }).pipe(map(short));
      expectObservable(out$, '9ms !').toBe(expected, { a: 'resume success' });
    });
  });

  /** Of a pod that was created long ago. */
  const OLD = { createdAt: -3_600_000 };

  test('a pod that no run waits for is reported after 60 s, and with growing pauses; a waited-for one never', () => {
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const other = pod(aPod({ uid: 'u2', name: 'lost', runId: 'r2', queue: 'big', ...OLD }));
      const retained = pod(aPod({ uid: 'u3', runId: 'r3', alreadyChecked: true }));
      const subscriptions$ = hot$<SubscriptionChange>('(ps)', { p: aPut(), s: { kind: 'synced' } });
      const pods$ = hot$('         (rok)', { ...signals, o: other, k: retained });
      const expected = '          60000ms o 119999ms o';
      const out$ = drawn$(now, { subscriptions$, pods$, never$: cold$('-') }).pipe(map(short));
      expectObservable(out$, '200s !').toBe(expected, { o: 'orphan lost to big' });
    });
  });

  test('a pod is reported from 60 s after its run stopped waiting for it, be the run over or at another pod', () => {
    const { connection, namespace } = aPod();
    const next = aPut({ pod: { connection, namespace, name: 'next', uid: 'u9' } }, { revision: 2 });
    const deleted = { kind: 'deleted', run: aPut().run, shard: aPut().shard } as const;
    for (const change of [next, deleted])
      marbles(({ hot$, cold$, expectObservable, now }) => {
        const subscriptions$ = hot$<SubscriptionChange>('(ps) 96ms c', { p: aPut(), s: { kind: 'synced' }, c: change });
        const expected = '60100ms o';
        const pods$ = hot$('r', { r: pod(aPod(OLD)) });
        const out$ = drawn$(now, { subscriptions$, pods$, never$: cold$('-') }).pipe(map(short));
        expectObservable(out$, '61s !').toBe(expected, { o: 'orphan r1-pod to default' });
      });
  });

  test('a young pod that no run waits for is reported after 8 s, and then as any other', () => {
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const subscriptions$ = hot$<SubscriptionChange>('s', { s: { kind: 'synced' } });
      const expected = '8000ms o 119999ms o';
      const out$ = drawn$(now, { subscriptions$, pods$: hot$('r', signals), never$: cold$('-') }).pipe(map(short));
      expectObservable(out$, '200s !').toBe(expected, { o: 'orphan r1-pod to default' });
    });
  });

  test('a young pod that is being deleted has its grace period: it is reported after 60 s', () => {
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const subscriptions$ = hot$<SubscriptionChange>('s', { s: { kind: 'synced' } });
      const pods$ = hot$('r 99ms d', { ...signals, d: pod(aPod({ deletedAt: 100 })) });
      const out$ = drawn$(now, { subscriptions$, pods$, never$: cold$('-') }).pipe(map(short));
      expectObservable(out$, '61s !').toBe('60000ms o', { o: 'orphan r1-pod to default' });
    });
  });

  test('a pod whose subscription comes late is not reported', () => {
    marbles(({ hot$, cold$, expectObservable, now }) => {
      const subscriptions$ = hot$<SubscriptionChange>('s 7s p', { p: aPut(), s: { kind: 'synced' } });
      const out$ = drawn$(now, { subscriptions$, pods$: hot$('r', signals), never$: cold$('-') }).pipe(map(short));
      expectObservable(out$, '300s !').toBe('');
    });
  });

  test('a pod that another run waits for now is not released by the one that waited before', () => {
    const { state, put } = aState();
    const released: string[] = [];
    const watching = state.waits.released$.subscribe((uid) => released.push(uid));
    put(aPut({}, { runId: 'first' }), 0);
    put(aPut({}, { runId: 'second' }), 0);
    const { run, shard } = aPut({}, { runId: 'first' });
    state.subscriptionChanged({ kind: 'deleted', run, shard }, 1);
    expect(released).toEqual([]);
    expect(state.waits.ofPod('u1')).toBeDefined();
    watching.unsubscribe();
  });

  test('a subscription that changes within its step gets no second running event', () => {
    const { put, watch, due } = aState();
    const facts = { await: { terminal: true, loggingEveryMs: 5_000 } };
    watch({ kind: 'pod', pod: aPod() }, 0);
    put(aPut(facts), 0);
    const fired = [6_000, 7_000, 12_000].flatMap((now) => due(now).map(short));
    expect(fired).toEqual(['resume running']);
    put(aPut(facts, { revision: 2 }), 12_500);
    expect([18_000, 24_000].flatMap((now) => due(now).map(short))).toEqual([]);
    put(aPut({ ...facts, step: 1 }, { revision: 3 }), 24_500);
    expect([30_000, 31_000].flatMap((now) => due(now).map(short))).toEqual(['resume running']);
  });

  test('an event that was not published is fired again after 5 s with the same id, unless the subscription has changed', () => {
    const { state, put, watch, due } = aState();
    const facts = { await: { terminal: true, loggingEveryMs: 5_000 } };
    watch({ kind: 'pod', pod: aPod() }, 0);
    put(aPut(facts), 0);
    const [running] = due(6_000);
    if (running?.kind !== 'fire') throw new Error('no event');
    state.unpublished(running, 7_000);
    // A change of the pod is no reason to fire sooner.
    expect(watch({ kind: 'pod', pod: aPod({ resourceVersion: '9' }) }, 8_000)).toEqual([]);
    expect(due(11_900)).toEqual([]);
    expect(due(12_000)).toMatchObject([{ kind: 'fire', id: running.id, event: { kind: 'running' } }]);

    const [ended] = watch({ kind: 'pod', pod: anEndedPod(0) }, 13_000);
    if (ended?.kind !== 'fire') throw new Error('no event');
    state.unpublished(ended, 14_000);
    expect(due(18_900)).toEqual([]);
    expect(due(19_000)).toMatchObject([{ id: ended.id }]);

    expect(put(aPut(facts, { revision: 2 }), 20_000)).toMatchObject([{ id: 'fire:default.r1:0:2.success.0' }]);
    state.unpublished(ended, 21_000);
    expect(due(79_900)).toEqual([]);
    expect(due(80_000)).toMatchObject([{ id: 'fire:default.r1:0:2.success.1' }]);
  });

  test('the answer of a GET counts for the pod that was asked for only', () => {
    const { put, watch, due, answer } = aState();
    watch({ kind: 'synced' }, 0);
    put(aPut(), 0);
    const check = checkIn(due(10_000));
    const { connection, namespace, name } = aPod();
    put(aPut({ pod: { connection, namespace, name, uid: 'u2' } }, { revision: 2 }), 10_100);
    expect(answer(check, { kind: 'absent' }, 10_200)).toEqual([]);
  });

  test('at most 100 running events a second: the rest is put off, counted, and comes', () => {
    const { pods, state, put, due } = aState();
    for (let n = 0; n < 1_000; n += 1) {
      const uid = `u${n}`;
      const one = aPod({ uid, containers: [aContainer({ startedAt: 0 })] });
      pods.apply({ scope: SCOPE, signal: { kind: 'pod', pod: one } }, 0);
      const { connection, namespace, name } = one;
      const facts = { pod: { connection, namespace, name, uid }, await: { terminal: true, loggingEveryMs: 5_000 } };
      expect(put(aPut(facts, { runId: `r${n}` }), 0)).toEqual([]);
    }
    const perSecond = new Map<number, number>();
    for (let now = 0; now <= 20_000; now += 100) {
      const fired = due(now).length;
      const second = Math.floor(now / 1_000);
      perSecond.set(second, (perSecond.get(second) ?? 0) + fired);
    }
    const counts = [...perSecond.values()];
    expect(counts.reduce((a, b) => a + b, 0)).toBe(1_000);
    // The first second has the burst as well.
    expect(Math.max(...counts)).toBeLessThanOrEqual(210);
    expect(counts.filter((count) => count > 120).length).toBeLessThanOrEqual(1);
    expect(state.logging.stretched.rate).toBeGreaterThan(700);
  });

  test('what waits is counted by shard: the replicas, each knowing all, add up to it', () => {
    const state = new TriggerState(new WatchedPods([SCOPE]), new Ownership(), 0, DEFAULTS.triggerer);
    const puts = Array.from({ length: 50 }, (_, n) => aPut({}, { runId: `r${n}` }));
    for (const put of puts) state.subscriptionChanged(put, 0);
    const { waits } = state;
    const here = new Set(SHARDS.slice(0, 100));
    const there = new Set(SHARDS.slice(100));
    expect(waits.sizeOf(here)).toBe(puts.filter(({ shard }) => here.has(shard)).length);
    expect(waits.sizeOf(here) + waits.sizeOf(there)).toBe(50);
  });

  test('a GET that shows no pod, or another uid, is a gone; one that fails proves nothing', () => {
    const { watch, put, due, answer } = aState();
    watch({ kind: 'synced' }, 0);
    put(aPut(), 0);
    const first = due(10_100);
    expect(first.map(short)).toEqual(['get r1-pod']);
    expect(answer(checkIn(first), { kind: 'failed' }, 10_200)).toEqual([]);
    const second = due(20_300);
    expect(second.map(short)).toEqual(['get r1-pod']);
    expect(answer(checkIn(second), { kind: 'absent' }, 20_400).map(short)).toEqual(['resume gone POD_DELETED']);
  });

  test('what the watch showed while a GET was under way is newer than its answer', () => {
    const { watch, put, due, answer } = aState();
    const waiting = aPut({ await: { terminal: true, timeoutAt: 1_000 } });
    const running = aPod({ uid: 'u1' });
    const present = { kind: 'present', pod: running } as const;
    watch({ kind: 'synced' }, 0);
    watch({ kind: 'pod', pod: running }, 0);
    put(waiting, 0);
    const timedOut = due(2_000);
    expect(timedOut.map(short)).toEqual(['get r1-pod']);
    expect(watch({ kind: 'pod', pod: anEndedPod(0, { uid: 'u1' }) }, 2_050).map(short)).toEqual(['resume success']);
    expect(answer(checkIn(timedOut), present, 2_100)).toEqual([]);

    const { subscription } = waiting;
    put(
      { ...waiting, revision: waiting.revision + 1, subscription: { ...subscription, await: { gone: true } } },
      3_000,
    );
    const left = watch({ kind: 'gone', pod: running, confirmed: false }, 3_100);
    expect(left.map(short)).toEqual(['get r1-pod']);
    expect(watch({ kind: 'gone', pod: running, confirmed: true }, 3_200).map(short)).toEqual(['resume gone']);
    expect(answer(checkIn(left), present, 3_300)).toEqual([]);
    expect(due(64_000).map(short)).toEqual(['resume gone']);
  });

  test('a GET that was sent before a deadline proves nothing about it, however late its answer comes', () => {
    const { watch, put, due, answer } = aState();
    const present = { kind: 'present', pod: aPod({ uid: 'u1' }) } as const;
    watch({ kind: 'synced' }, 0);
    put(aPut({ await: { terminal: true, timeoutAt: 11_000 } }), 0);
    const first = due(10_100);
    expect(first.map(short)).toEqual(['get r1-pod']);
    expect(answer(checkIn(first), present, 12_000)).toEqual([]);
    const second = due(22_100);
    expect(second.map(short)).toEqual(['get r1-pod']);
    expect(answer(checkIn(second), present, 22_200).map(short)).toEqual(['resume timeout EXECUTION_TIMEOUT']);
  });

  test('at most 20 GETs a second, whatever the number of missing pods, and all of them in the end', () => {
    const { watch, put, due, answer } = aState();
    watch({ kind: 'synced' }, 0);
    for (let n = 0; n < 200; n += 1) {
      const ref = { connection: 'default', namespace: 'jobs', name: `p${n}`, uid: `u${n}` };
      put(aPut({ pod: ref }, { runId: `r${n}` }), 0);
    }
    let gets = 0;
    let gone = 0;
    for (let now = 0; now <= 30_000; now += 100) {
      for (const effect of due(now)) {
        if (effect.kind !== 'check') continue;
        gets += 1;
        gone += answer(effect, { kind: 'absent' }, now).length;
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
