import { expect, test } from 'vitest';
import { ended, retrying, subscriptionOf } from '../../src/core/run/state-changes.ts';
import type { Cluster } from '../../src/ports/cluster.ts';
import { Janitor } from '../../src/worker/upkeep/janitor.ts';
import { removeRetainedPods } from '../../src/worker/upkeep/retained-pods.ts';
import { aContainer, anEndedPod, aPod } from '../support/builders.ts';
import { sharedNatsServer } from '../support/nats-server.ts';
import { anEngine, pod, run } from '../support/worker-engine.ts';

const server = sharedNatsServer();

test('the second sweep restores the missing subscription of a waiting run', async () => {
  const { engine, broker, waiting, store } = await anEngine(server.url());
  const stateRev = await store(waiting);
  const janitor = new Janitor(engine, { retentionMs: 1e9 });
  await janitor.sweep();
  expect(await broker.subscriptions.read(run)).toBeUndefined();
  await janitor.sweep();
  expect(await broker.subscriptions.read(run)).toMatchObject({ value: { stateRev, step: 1, then: 'resume', pod } });
});

test('the subscription of a retry whose owner was lost is restored, too', async () => {
  const { engine, broker, waiting, store } = await anEngine(server.url());
  const again = { userFailures: 1, infraFailures: 0, notBefore: broker.now(), untilGone: false };
  await store(retrying(waiting, { state: 'failed' }, undefined, again));
  const janitor = new Janitor(engine, { retentionMs: 1e9 });
  await janitor.sweep();
  await janitor.sweep();
  expect(await broker.subscriptions.read(run)).toMatchObject({ value: { attempt: 2, then: 'start' } });
});

test('an overdue start is published again, but not that of a run that waits for its turn', async () => {
  const { engine, broker, queued } = await anEngine(server.url());
  const overdue = { notBefore: broker.now() - 3_600_000 };
  const waits = async (runId: string, wait: NonNullable<typeof queued.await>) => {
    const state = { ...queued, await: wait, op: 'test' };
    const written = await broker.runs.write({ tenant: 't', runId }, state, 0);
    const subscription = written.kind === 'written' ? subscriptionOf(state, written.revision) : undefined;
    await broker.subscriptions.put({ tenant: 't', runId }, subscription!);
    const janitor = new Janitor(engine, { retentionMs: 1e9 });
    await janitor.sweep();
    await janitor.sweep();
    return await broker.queues.undelivered('default');
  };
  expect(await waits('for-its-turn', { ...overdue, gate: { why: 'turn', since: 0 } })).toBe(0);
  expect(await waits('for-a-time', overdue)).toBe(1);
});

test('ended runs are deleted when their retention is over, and not before', async () => {
  const { engine, broker, waiting, store } = await anEngine(server.url());
  await store(ended(waiting, { state: 'succeeded' }, broker.now() - 1_000));
  await new Janitor(engine, { retentionMs: 60_000 }).sweep();
  expect(await broker.runs.read(run)).toBeDefined();
  await new Janitor(engine, { retentionMs: 500 }).sweep();
  expect(await broker.runs.read(run)).toBeUndefined();
});

test('a sweep reads what was written since the last one, and no ended run again during its retention', async () => {
  const { engine, broker, waiting } = await anEngine(server.url());
  const put = (runId: string, state: typeof waiting) =>
    broker.runs.write({ tenant: 't', runId }, { ...state, op: runId }, 0);
  const old = ended(waiting, { state: 'succeeded' }, broker.now() - 120_000);
  const kept = ended(waiting, { state: 'succeeded' }, broker.now());
  for (let n = 0; n < 40; n += 1) await put(`kept-${String(n)}`, kept);
  let met = 0;
  const list: typeof broker.runs.list = async (options) => {
    const page = await broker.runs.list(options);
    met += page.runs.length;
    return page;
  };
  const counting = { ...engine, broker: { ...broker, runs: { ...broker.runs, list } } };
  const janitor = new Janitor(counting, { retentionMs: 60_000 });
  await janitor.sweep();
  expect(met).toBeGreaterThanOrEqual(40);
  await put('waits', waiting);
  met = 0;
  await janitor.sweep();
  expect(met).toBeLessThan(20);
  await janitor.sweep();
  expect(await broker.subscriptions.read({ tenant: 't', runId: 'waits' })).toBeDefined();

  // One that waits, and one of a clock that is ahead, are not deleted.
  const again = await anEngine(server.url());
  const runs = again.broker.runs;
  const order = { waits: waiting, old, ahead: kept, older: old } as const;
  for (const [runId, state] of Object.entries(order))
    await runs.write({ tenant: 't', runId }, { ...state, op: runId }, 0);
  const other = new Janitor(again.engine, { retentionMs: 60_000 });
  await other.sweep();
  await other.sweep();
  const left = (await runs.list({ limit: 10 })).runs.map(({ runId }) => runId);
  expect(left).toEqual(['waits', 'ahead']);
});

test('one janitor at a time: the lease is free when it was not renewed for 15 s', async () => {
  const { engine, broker } = await anEngine(server.url());
  const first = new Janitor(engine, { retentionMs: 1e9 });
  const second = new Janitor({ ...engine, id: 'w2' }, { retentionMs: 1e9 });
  const owner = async () => (await broker.membership.readClaim('janitor'))?.value.owner;
  await first.tick(0);
  await second.tick(0);
  expect(await owner()).toBe('w1');
  await first.tick(10_000);
  await second.tick(15_000);
  expect(await owner()).toBe('w1');
  await second.tick(29_000);
  expect(await owner()).toBe('w1');
  await second.tick(30_000);
  expect(await owner()).toBe('w2');
});

test('a retained pod is deleted when its time is over, and not before', async () => {
  const { engine, broker } = await anEngine(server.url());
  const [long, short] = [broker.now() - 3_000, broker.now() - 1_000];
  const ended = (finishedAt: number, name = 'base') =>
    aContainer({ name, state: 'terminated', exitCode: 0, finishedAt });
  const kept = (name: string, finishedAt: number) =>
    anEndedPod(0, { name, uid: name, containers: [ended(finishedAt)] });
  const prepared = { ...ended(long, 'prepare'), kind: 'init' } as const;
  const deleted: string[] = [];
  const cluster: Cluster = {
    ...engine.clusters.get('sim'),
    listPods: () =>
      Promise.resolve([
        kept('old', long),
        kept('young', short),
        anEndedPod(1, { name: 'of-a-run-that-goes-on', containers: [aContainer({ state: 'waiting' })] }),
        aPod({ name: 'runs-after-its-init-container', containers: [prepared, aContainer()] }),
        aPod({ name: 'still-prepares', phase: 'Pending', containers: [prepared, aContainer({ state: 'waiting' })] }),
        aPod({ name: 'only-a-sidecar-ended', containers: [aContainer(), ended(long, 'proxy')] }),
        aPod({ name: 'unknown', phase: 'Unknown', containers: [prepared, aContainer()] }),
        aPod({ name: 'a-sidecar-lingers', containers: [ended(long), aContainer({ name: 'proxy' })] }),
        aPod({ name: 'a-sidecar-lingers-young', containers: [ended(short), aContainer({ name: 'proxy' })] }),
      ]),
    deletePod: ({ name }) => {
      deleted.push(name);
      return Promise.resolve('asked');
    },
  };
  await broker.runs.write(
    { tenant: 'default', runId: 'r1' },
    { ...(await anEngine(server.url())).waiting, op: 'test' },
    0,
  );
  expect(await removeRetainedPods({ ...engine, clusters: { ...engine.clusters, get: () => cluster } }, 2_000)).toBe(2);
  expect(deleted).toEqual(['old', 'a-sidecar-lingers']);
});

test('a retained pod that never started is deleted by the end of its run; one whose base container runs is not', async () => {
  const { engine, broker, waiting } = await anEngine(server.url());
  const endedAgo = { old: 3_000, young: 1_000, going: undefined };
  for (const [runId, ms] of Object.entries(endedAgo)) {
    const state = ms === undefined ? waiting : ended(waiting, { state: 'cancelled' }, broker.now() - ms);
    await broker.runs.write({ tenant: 't', runId }, { ...state, op: runId }, 0);
  }
  // Created, and prepared, long before: its retention begins at the end of the run.
  const prepared = aContainer({ name: 'prepare', kind: 'init', state: 'terminated', exitCode: 0, finishedAt: 1 });
  const waits = aContainer({ state: 'waiting', reason: 'ImagePullBackOff' });
  const pending = (runId: string, name: string, containers = [prepared, waits]) =>
    aPod({ name, uid: name, tenant: 't', runId, phase: 'Pending', alreadyChecked: true, containers });
  const deleted: string[] = [];
  const cluster: Cluster = {
    ...engine.clusters.get('sim'),
    listPods: () =>
      Promise.resolve([
        pending('old', 'never-pulled'),
        pending('old', 'never-scheduled', []),
        pending('old', 'works-beside-one-that-waits', [aContainer(), aContainer({ name: 'proxy', state: 'waiting' })]),
        pending('young', 'ended-lately'),
        pending('going', 'of-an-attempt-before'),
        pending('forgotten', 'of-a-forgotten-run'),
      ]),
    deletePod: ({ name }) => {
      deleted.push(name);
      return Promise.resolve('asked');
    },
  };
  expect(await removeRetainedPods({ ...engine, clusters: { ...engine.clusters, get: () => cluster } }, 2_000)).toBe(3);
  expect(deleted).toEqual(['never-pulled', 'never-scheduled', 'of-a-forgotten-run']);
});
