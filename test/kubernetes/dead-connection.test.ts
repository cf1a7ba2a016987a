import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openClusters } from '../../src/kubernetes/clusters.ts';
import type { Tuning } from '../../src/kubernetes/settings.ts';
import type { Cluster, Clusters, PodSignal } from '../../src/ports/cluster.ts';
import { type ClusterUnderTest, nameOf, TARGETS } from '../support/kubernetes.ts';
import { startApiProxy, type TcpProxy } from '../support/tcp-proxy.ts';

/** A hundredth to a tenth of the real times: what matters is their order. */
const QUICK: Partial<Tuning> = { pingMs: 100, silentMs: 500, probeMs: 300, backoffMs: [5, 50] };

let target: ClusterUnderTest;
let folder: string;
let proxy: TcpProxy;
let clusters: Clusters;
let cluster: Cluster;
let namespace: string;
const logged: { readonly message: string; readonly fields: object }[] = [];

beforeEach(async () => {
  const [local] = TARGETS;
  if (local === undefined) throw new Error('there is always a local cluster');
  target = await local.start();
  namespace = await target.namespace();
  folder = await mkdtemp(join(tmpdir(), 'reentry-dead-'));
  const kubeconfig = join(folder, 'kubeconfig');
  proxy = await startApiProxy(target.kubeconfig, kubeconfig);
  logged.length = 0;
  const note = (fields: object, message: string): void => {
    logged.push({ message, fields });
  };
  const quiet = (): void => undefined;
  const log = { debug: quiet, info: note, warn: note, error: note, child: () => log };
  clusters = openClusters({ connections: { behind: { kubeconfig } }, tuning: QUICK, log });
  cluster = clusters.get('behind');
});

afterEach(async () => {
  await clusters[Symbol.asyncDispose]();
  await proxy[Symbol.asyncDispose]();
  await target[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const podNames = async (): Promise<readonly string[]> =>
  (await cluster.listPods(namespace, '')).map(({ name }) => name);

/** Requests sent, by verb. */
const sent = (...verbs: readonly string[]): readonly number[] =>
  verbs.map((verb) => cluster.requestCounts()[verb] ?? 0);

/** Names of pods that a watch has shown. */
function watching(): {
  readonly names: readonly string[];
  readonly isSynced: () => boolean;
  readonly stop: () => void;
} {
  const signals: PodSignal[] = [];
  const subscription = cluster.watchPods$({ namespace, labelSelector: '' }).subscribe((signal) => signals.push(signal));
  return {
    get names() {
      return signals.flatMap((signal) => (signal.kind === 'pod' ? [signal.pod.name] : []));
    },
    isSynced: () => signals.some(({ kind }) => kind === 'synced'),
    stop: () => {
      subscription.unsubscribe();
    },
  };
}

describe('a dead connection without an error', () => {
  test('is replaced: calls that wait on it, and later ones, are answered over a new one', async () => {
    await podNames();
    proxy.silence();
    const pod = target.pod();
    const [created, listed] = await Promise.all([cluster.createPod(namespace, pod), podNames()]);
    expect(['created', 'exists']).toContain(created.kind);
    expect(listed.length).toBeLessThanOrEqual(1);
    expect(await podNames()).toEqual([nameOf(pod)]);
    expect(cluster.unansweredMs()).toBe(0);
  });

  test('is logged in one line', async () => {
    await podNames();
    proxy.silence();
    await Promise.all([podNames(), podNames(), podNames()]);
    expect(logged).toEqual([
      {
        message: expect.stringContaining('closed dead connections'),
        fields: { connection: 'behind', connections: 1, silentMs: 500 },
      },
    ]);
  });

  test('is replaced for a watch, which misses no event', async () => {
    const watch = watching();
    await expect.poll(watch.isSynced).toBe(true);
    proxy.silence();
    const pod = target.pod();
    await target.cluster.createPod(namespace, pod);
    await expect.poll(() => watch.names, { timeout: 5_000 }).toContain(nameOf(pod));
    watch.stop();
  });
});

describe('a living connection', () => {
  test('is not replaced while a response takes long', async () => {
    await podNames();
    target.faults?.order({ fault: 'slow', verb: 'create', resource: 'pods', ms: 2_000 });
    await cluster.createPod(namespace, target.pod());
    expect(sent('create', 'get')).toEqual([1, 0]);
    expect(logged).toEqual([]);
  });

  test('is not replaced while a watch has no events', async () => {
    const watch = watching();
    await expect.poll(watch.isSynced).toBe(true);
    const before = [proxy.accepted(), ...sent('probe', 'watch')];
    target.faults?.order({ fault: 'freezeWatches', ms: 1_500 });
    const pod = target.pod();
    await target.cluster.createPod(namespace, pod);
    await expect.poll(() => watch.names, { timeout: 5_000 }).toContain(nameOf(pod));
    expect([proxy.accepted(), ...sent('probe', 'watch')]).toEqual(before);
    watch.stop();
  });

  test('is not replaced during an outage of the server: the request is answered after it', async () => {
    await podNames();
    proxy.hold();
    const creating = cluster.createPod(namespace, target.pod());
    await expect.poll(() => cluster.unansweredMs(), { timeout: 5_000 }).toBeGreaterThan(1_500);
    proxy.release();
    expect((await creating).kind).toBe('created');
    expect(sent('create', 'get')).toEqual([1, 0]);
    expect(cluster.unansweredMs()).toBe(0);
  });
});

test('the end of an outage is noticed without a call', async () => {
  proxy.hold();
  const ended = cluster.getPod(namespace, 'any').catch(() => 'refused');
  await expect.poll(() => cluster.unansweredMs()).toBeGreaterThan(500);
  proxy.reset();
  await ended;
  expect(cluster.unansweredMs()).toBeGreaterThan(500);
  proxy.release();
  await expect.poll(() => cluster.unansweredMs(), { timeout: 5_000 }).toBe(0);
});

test('a request whose caller has aborted is not counted', async () => {
  proxy.hold();
  const left = new AbortController();
  const pod = { connection: 'behind', namespace, name: 'none', uid: 'none' };
  const lines = cluster.logs(pod, 'base', { signal: left.signal, follow: true })[Symbol.asyncIterator]();
  const next = lines.next();
  await expect.poll(() => cluster.unansweredMs()).toBeGreaterThan(100);
  left.abort();
  await next.catch(() => undefined);
  expect(cluster.unansweredMs()).toBe(0);
});
