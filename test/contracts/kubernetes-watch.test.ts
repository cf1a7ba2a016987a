import type { Subscription } from 'rxjs';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { PodProjection } from '../../src/core/pod/projection.ts';
import type { Cluster, PodSignal } from '../../src/ports/cluster.ts';
import { type ClusterUnderTest, freshName, TARGETS } from '../support/kubernetes.ts';

describe.each(TARGETS)('watchPods$ on $name', ({ start }) => {
  let k: ClusterUnderTest;
  let ns: string;
  const running: Subscription[] = [];
  beforeAll(async () => {
    k = await start();
    ns = await k.namespace();
  });
  afterEach(() => {
    for (const one of running.splice(0)) one.unsubscribe();
  });
  afterAll(async () => {
    await k[Symbol.asyncDispose]();
  });

  /** Watches the pods of one label and collects the signals. */
  const watching = async (cluster: Cluster, set: string): Promise<PodSignal[]> => {
    const signals: PodSignal[] = [];
    running.push(
      cluster.watchPods$({ namespace: ns, labelSelector: `set=${set}` }).subscribe((signal) => signals.push(signal)),
    );
    await expect.poll(() => signals.some(({ kind }) => kind === 'synced'), { timeout: 15_000 }).toBe(true);
    return signals;
  };
  const create = async (
    set: string,
    options: { readonly name?: string; readonly runForSeconds?: number } = {},
  ): Promise<PodProjection> =>
    k.cluster.project((await k.cluster.createPod(ns, k.pod({ labels: { set }, ...options }))).pod);
  const seen = (signals: readonly PodSignal[], uid: string): readonly PodProjection[] =>
    signals.flatMap((signal) => (signal.kind === 'pod' && signal.pod.uid === uid ? [signal.pod] : []));
  const gone = (signals: readonly PodSignal[], uid: string): PodSignal | undefined =>
    signals.find((signal) => signal.kind === 'gone' && signal.pod.uid === uid);

  test('emits every existing pod, then synced', async () => {
    const set = freshName('set');
    const pods = await Promise.all([create(set), create(set), create(set)]);
    const signals = await watching(k.cluster, set);
    const synced = signals.findIndex(({ kind }) => kind === 'synced');
    for (const { uid } of pods) expect(seen(signals.slice(0, synced), uid)).not.toEqual([]);
  });

  test('does the same without WatchList, in pages', async () => {
    const set = freshName('set');
    const pods = await Promise.all([create(set), create(set), create(set)]);
    // With a time-out of 0 the end mark never comes in time.
    const cluster = k.open({ endMarkMs: 0, pageSize: 2 });
    const signals = await watching(cluster, set);
    for (const { uid } of pods) expect(seen(signals, uid)).not.toEqual([]);
    expect(cluster.requestCounts()['list']).toBe(2);
    const late = await create(set);
    await expect.poll(() => seen(signals, late.uid)).not.toEqual([]);
  });

  test('follows a pod to its end with one request', async () => {
    const set = freshName('set');
    const cluster = k.open({});
    const signals = await watching(cluster, set);
    const pod = await create(set, { runForSeconds: 1 });
    await expect.poll(() => seen(signals, pod.uid).at(-1)?.phase, { timeout: 30_000 }).toBe('Succeeded');
    expect(cluster.requestCounts()).toEqual({ watch: 1 });
  });

  test('emits gone, confirmed, when a running pod is deleted', async () => {
    const set = freshName('set');
    const signals = await watching(k.cluster, set);
    const pod = await create(set);
    await expect.poll(() => seen(signals, pod.uid).at(-1)?.phase, { timeout: 30_000 }).toBe('Running');
    await k.cluster.deletePod(pod);
    await expect.poll(() => gone(signals, pod.uid), { timeout: 30_000 }).toMatchObject({ confirmed: true });
  });

  test('emits gone, not confirmed, when a pod only leaves the selection', async () => {
    const set = freshName('set');
    const signals = await watching(k.cluster, set);
    const pod = await create(set);
    await k.until(pod, ({ phase }) => phase === 'Running');
    await k.cluster.patchPod(pod, { metadata: { labels: { set: 'other' } } });
    await expect.poll(() => gone(signals, pod.uid)).toMatchObject({ confirmed: false });
    await k.cluster.patchPod(pod, { metadata: { labels: { set } } });
    const at = signals.findIndex((signal) => signal.kind === 'gone');
    await expect.poll(() => seen(signals.slice(at), pod.uid)).not.toEqual([]);
  });

  test('distinguishes a pod from another one of the same name', async () => {
    const set = freshName('set');
    const name = freshName('twin');
    const signals = await watching(k.cluster, set);
    const first = await create(set, { name });
    await k.cluster.deletePod(first, 0);
    await expect.poll(() => k.cluster.getPod(ns, name)).toBeUndefined();
    const second = await create(set, { name });
    await expect.poll(() => seen(signals, second.uid)).not.toEqual([]);
    await expect.poll(() => gone(signals, first.uid)).toMatchObject({ confirmed: true });
    expect(gone(signals, second.uid)).toBeUndefined();
  });

  test('resumes where the server ended the stream, without a list and without loss', async () => {
    const set = freshName('set');
    const cluster = k.open({ watchSeconds: [1, 1] });
    const signals = await watching(cluster, set);
    await expect.poll(() => cluster.requestCounts()['watch'], { timeout: 15_000 }).toBeGreaterThanOrEqual(2);
    const pod = await create(set, { runForSeconds: 1 });
    await expect.poll(() => seen(signals, pod.uid).at(-1)?.phase, { timeout: 30_000 }).toBe('Succeeded');
    expect(signals.filter(({ kind }) => kind === 'synced')).toHaveLength(1);
    expect(signals.filter(({ kind }) => kind === 'lagging')).toEqual([]);
    expect(cluster.requestCounts()['list']).toBeUndefined();
  });

  test('ends its request when it is unsubscribed', async () => {
    const set = freshName('set');
    const cluster = k.open({ watchSeconds: [1, 1] });
    await watching(cluster, set);
    running.pop()?.unsubscribe();
    const after = cluster.requestCounts();
    const other = await watching(cluster, freshName('set'));
    await expect
      .poll(() => cluster.requestCounts()['watch'] ?? 0, { timeout: 15_000 })
      .toBeGreaterThan((after['watch'] ?? 0) + 1);
    expect(other.length).toBeGreaterThan(0);
  });
});
