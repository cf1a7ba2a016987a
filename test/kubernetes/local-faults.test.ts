import type { Subscription } from 'rxjs';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { PodProjection } from '../../src/core/pod/projection.ts';
import type { Cluster, PodSignal } from '../../src/ports/cluster.ts';
import { type ClusterUnderTest, freshName, TARGETS } from '../support/kubernetes.ts';

/** Faults of the local cluster, whose pods continue to run meanwhile. */
let k: ClusterUnderTest;
let ns: string;
const running: Subscription[] = [];
beforeAll(async () => {
  k = await TARGETS[0]!.start();
  ns = await k.namespace();
});
afterEach(() => {
  k.faults?.order({ fault: 'clear' });
  for (const one of running.splice(0)) one.unsubscribe();
});
afterAll(async () => {
  await k[Symbol.asyncDispose]();
});

const watching = async (cluster: Cluster, set: string): Promise<PodSignal[]> => {
  const signals: PodSignal[] = [];
  running.push(
    cluster.watchPods$({ namespace: ns, labelSelector: `set=${set}` }).subscribe((signal) => signals.push(signal)),
  );
  await expect.poll(() => signals.some(({ kind }) => kind === 'synced')).toBe(true);
  return signals;
};
const create = async (set: string): Promise<PodProjection> =>
  k.cluster.project((await k.cluster.createPod(ns, k.pod({ labels: { set } }))).pod);
const last = (signals: readonly PodSignal[], { uid }: PodProjection): PodSignal | undefined =>
  signals.findLast((signal) => 'pod' in signal && signal.pod.uid === uid);

test.each(['end', 'reset', 'cutLine'] as const)('no pod is missed when watches are closed by %s', async (how) => {
  const set = freshName('set');
  const signals = await watching(k.open({ backoffMs: [5, 50] }), set);
  const pods: PodProjection[] = [];
  for (let index = 0; index < 6; index += 1) {
    pods.push(await create(set));
    k.faults!.order({ fault: 'closeWatches', how });
  }
  for (const pod of pods) await expect.poll(() => last(signals, pod), { timeout: 15_000 }).toBeDefined();
});

test('a pod that was deleted during an expired history is gone after the relist', async () => {
  const set = freshName('set');
  const signals = await watching(k.open({ backoffMs: [5, 50], watchIdleMs: 300 }), set);
  const [gone, stays] = [await create(set), await create(set)];
  await expect.poll(() => last(signals, stays)).toBeDefined();
  k.faults!.order({ fault: 'freezeWatches', ms: 60_000 });
  await k.cluster.deletePod(gone, 0);
  k.faults!.order({ fault: 'expireHistory' });
  k.faults!.order({ fault: 'clear' });
  k.faults!.order({ fault: 'closeWatches', how: 'reset' });
  await expect.poll(() => last(signals, gone), { timeout: 15_000 }).toMatchObject({ kind: 'gone', confirmed: true });
  expect(last(signals, stays)).toMatchObject({ kind: 'pod' });
});

test('a creation whose reply is lost makes one pod', async () => {
  const set = freshName('set');
  k.faults!.order({ fault: 'loseReply', verb: 'create', resource: 'pods' });
  const made = await k.cluster.createPod(ns, k.pod({ labels: { set } }));
  expect(made.kind).toBe('exists');
  expect(await k.cluster.listPods(ns, `set=${set}`)).toHaveLength(1);
});

test('a deletion whose reply is lost is done', async () => {
  const pod = await create(freshName('set'));
  k.faults!.order({ fault: 'loseReply', verb: 'delete', resource: 'pods' });
  await k.cluster.deletePod(pod, 0);
  expect(await k.cluster.getPod(ns, pod.name)).toBeUndefined();
});

test('missingPermissions names what is denied', async () => {
  k.faults!.order({ fault: 'deny', verb: 'get', resource: 'pods/log' });
  const missing = await k.cluster.missingPermissions([
    { verb: 'create', resource: 'pods', namespace: ns },
    { verb: 'get', resource: 'pods', subresource: 'log', namespace: ns },
  ]);
  expect(missing).toEqual(['get pods/log']);
});

test('a closed cluster leaves no watch open', async () => {
  const cluster = k.open({ backoffMs: [5, 20] });
  const signals = await watching(cluster, freshName('set'));
  await cluster[Symbol.asyncDispose]();
  const { length } = signals;
  await create(freshName('set'));
  expect(signals).toHaveLength(length);
  await expect(cluster.getPod(ns, 'any')).rejects.toThrow();
});
