import { map } from 'rxjs';
import { expect, suite, test } from 'vitest';
import { shardOf } from '../../src/core/identity.ts';
import type { PodSignal } from '../../src/ports/cluster.ts';
import { KubernetesPodTrigger } from '../../src/airflow/kubernetes-pod-trigger.ts';
import type { Subscription } from '../../src/wire/triggers.ts';
import { aContainer, anEndedPod, aPod, aSubscription } from '../support/builders.ts';
import { marbles } from '../support/marbles.ts';

const RUN = { tenant: 'default', runId: 'r1' };
const aTrigger = (facts: Partial<Subscription> = {}): KubernetesPodTrigger =>
  new KubernetesPodTrigger(RUN, aSubscription(facts));
const pending = aPod({ phase: 'Pending', node: undefined, containers: [aContainer({ state: 'waiting' })] });
const signals: Readonly<Record<string, PodSignal>> = {
  p: { kind: 'pod', pod: pending },
  r: { kind: 'pod', pod: aPod() },
  e: { kind: 'pod', pod: anEndedPod(0) },
  o: { kind: 'pod', pod: anEndedPod(1, { uid: 'other' }) },
  u: { kind: 'gone', pod: aPod(), confirmed: false },
  g: { kind: 'gone', pod: aPod(), confirmed: true },
};

suite('KubernetesPodTrigger', () => {
  test("emits one event at the pod's end and completes; other pods are ignored", () => {
    marbles(({ hot$, expectObservable, now }) => {
      const signals$ = hot$('p-r-o-e', signals);
      const expected = '     ------(a|)';
      const out$ = aTrigger()
        .events$(signals$, now)
        .pipe(map(({ kind }) => kind));
      expectObservable(out$).toBe(expected, { a: 'success' });
    });
  });

  test('a pod that starts in time outlives its start deadline', () => {
    marbles(({ hot$, expectObservable, now }) => {
      const signals$ = hot$('p 49ms r 99ms e', signals);
      const expected = '     150ms (a|)';
      const out$ = aTrigger({ await: { terminal: true, startBy: 100 } }).events$(signals$, now);
      expectObservable(out$.pipe(map(({ kind }) => kind))).toBe(expected, { a: 'success' });
    });
    marbles(({ hot$, expectObservable, now }) => {
      const signals$ = hot$('p', signals);
      const out$ = aTrigger({ await: { terminal: true, startBy: 100 } }).events$(signals$, now);
      expectObservable(out$.pipe(map(({ reason }) => reason))).toBe('100ms (a|)', { a: 'SCHEDULE_TIMEOUT' });
    });
  });

  test('fires running when the logging interval is over, exact to 100 ms', () => {
    marbles(({ hot$, expectObservable, now }) => {
      const spreadMs = Math.floor((Number.parseInt(shardOf(RUN), 16) / 256) * 1_000);
      const out$ = aTrigger({ await: { terminal: true, loggingEveryMs: 1_000 } }).events$(hot$('r', signals), now);
      const expected = `${Math.ceil((1_000 + spreadMs) / 100) * 100}ms (a|)`;
      expectObservable(out$.pipe(map(({ kind }) => kind))).toBe(expected, { a: 'running' });
    });
  });

  test('accepts an absence only when it is confirmed', () => {
    marbles(({ hot$, expectObservable, now }) => {
      const out$ = aTrigger().events$(hot$('r-u-g', signals), now);
      expectObservable(out$.pipe(map(({ kind }) => kind))).toBe('----(a|)', { a: 'gone' });
    });
  });

  test("names the base container's state as Airflow does", () => {
    const trigger = aTrigger();
    expect(trigger.defineContainerState(pending)).toBe('undefined');
    expect(trigger.defineContainerState(aPod())).toBe('running');
    expect(trigger.defineContainerState(anEndedPod(0))).toBe('terminated');
    expect(trigger.defineContainerState(anEndedPod(2))).toBe('failed');
    expect(trigger.shouldWait('Pending', 'undefined')).toBe(true);
    expect(trigger.shouldWait('Running', 'undefined')).toBe(false);
    expect(trigger.shouldWait('Running', 'running')).toBe(true);
  });

  test('can be created from its serialized form', () => {
    const { run, subscription } = aTrigger().serialize();
    expect(new KubernetesPodTrigger(run, subscription)).toEqual(aTrigger());
  });
});
