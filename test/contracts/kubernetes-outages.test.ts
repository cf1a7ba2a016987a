import { setTimeout as delay } from 'node:timers/promises';
import type { Subscription } from 'rxjs';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { PodProjection } from '../../src/core/pod/projection.ts';
import type { Cluster, PodSignal } from '../../src/ports/cluster.ts';
import { BROKEN, type Breaker } from '../support/breaker.ts';
import { type ClusterUnderTest, freshName } from '../support/kubernetes.ts';

describe.each(BROKEN)('outages of $name', ({ start, breaker }) => {
  let k: ClusterUnderTest;
  let ns: string;
  let breaks: Breaker;
  const running: Subscription[] = [];
  beforeAll(async () => {
    k = await start();
    ns = await k.namespace();
    breaks = breaker(k);
  });
  afterEach(() => {
    for (const one of running.splice(0)) one.unsubscribe();
  });
  afterAll(async () => {
    await k[Symbol.asyncDispose]();
  });

  const QUICK = { backoffMs: [20, 500] } as const;
  const watching = async (cluster: Cluster, set: string): Promise<PodSignal[]> => {
    const signals: PodSignal[] = [];
    running.push(
      cluster.watchPods$({ namespace: ns, labelSelector: `set=${set}` }).subscribe((signal) => signals.push(signal)),
    );
    await expect.poll(() => signals.some(({ kind }) => kind === 'synced'), { timeout: 20_000 }).toBe(true);
    return signals;
  };
  /** Creates, through an outage if there is one. */
  const create = async (set: string, runForSeconds = 3_600): Promise<PodProjection> => {
    const manifest = k.pod({ name: freshName('pod'), labels: { set }, runForSeconds });
    const endsAt = Date.now() + 60_000;
    for (;;) {
      try {
        return k.cluster.project((await k.cluster.createPod(ns, manifest)).pod);
      } catch (error) {
        if (Date.now() > endsAt) throw error;
        await delay(100);
      }
    }
  };
  const last = (signals: readonly PodSignal[], { uid }: PodProjection): PodSignal | undefined =>
    signals.findLast((signal) => 'pod' in signal && signal.pod.uid === uid);
  const LONG = { timeout: 90_000 };

  test('a restart loses no pod, causes no list, and reports no pod as gone', async () => {
    const set = freshName('set');
    const cluster = k.open(QUICK);
    const signals = await watching(cluster, set);
    const before = await create(set);
    await expect.poll(() => last(signals, before), LONG).toBeDefined();
    await breaks.restart();
    const after = await create(set);
    await expect.poll(() => last(signals, after), LONG).toMatchObject({ kind: 'pod' });
    expect(last(signals, before)?.kind).toBe('pod');
    expect(signals.some(({ kind }) => kind === 'gone')).toBe(false);
    expect(cluster.requestCounts()['list']).toBeUndefined();
  }, 120_000);

  test('a dead connection is closed, and changes made meanwhile are reported', async () => {
    const set = freshName('set');
    const signals = await watching(k.open({ ...QUICK, watchIdleMs: 1_000 }), set);
    const pod = await create(set, 1);
    await breaks.pause();
    await expect
      .poll(() => signals.some((signal) => signal.kind === 'lagging' && signal.why.includes('received nothing')), LONG)
      .toBe(true);
    await breaks.resume();
    await expect.poll(() => last(signals, pod), LONG).toMatchObject({ kind: 'pod', pod: { phase: 'Succeeded' } });
  }, 120_000);

  test('an expired history costs one list, which reports deleted and new pods', async () => {
    const set = freshName('set');
    const cluster = k.open({ ...QUICK, watchIdleMs: 1_500 });
    const signals = await watching(cluster, set);
    const goes = await create(set);
    await expect.poll(() => last(signals, goes), LONG).toBeDefined();
    await breaks.compact();
    await k.cluster.deletePod(goes, 0);
    const comes = await create(set);
    await expect.poll(() => last(signals, comes), LONG).toMatchObject({ kind: 'pod' });
    await expect.poll(() => last(signals, goes), LONG).toMatchObject({ kind: 'gone', confirmed: true });
  }, 120_000);

  test('a list during which the history expires is started again, and is complete', async () => {
    const set = freshName('set');
    const pods = await Promise.all(Array.from({ length: 6 }, () => create(set)));
    const cluster = k.open({ ...QUICK, endMarkMs: 0, pageSize: 1 });
    const signals = watching(cluster, set);
    await breaks.compact();
    const all = await signals;
    for (const pod of pods) expect(last(all, pod)?.kind).toBe('pod');
    expect(all.some(({ kind }) => kind === 'gone')).toBe(false);
  }, 120_000);
});
