import { NEVER } from 'rxjs';
import { expect, onTestFinished, test } from 'vitest';
import { accepted, deferred, ended, retrying, taken } from '../../src/core/run-transitions.ts';
import { RETRY_POLICY } from '../../src/core/retry.ts';
import type { Cluster, Log } from '../../src/ports.ts';
import type { RunState } from '../../src/wire/messages.ts';
import { Follows } from '../../src/worker/follows.ts';
import { HeldPods } from '../../src/worker/held-pods.ts';
import { KnownRequests } from '../../src/worker/known-requests.ts';
import type { Engine } from '../../src/worker/engine.ts';
import { NO_TRACER } from '../../src/worker/tracing.ts';
import { Janitor } from '../../src/worker/janitor.ts';
import { removeKeptPods } from '../../src/worker/kept-pods.ts';
import { aContainer, anEndedPod, aPod } from '../support/builders.ts';
import { anInstallation, sharedNatsServer } from '../support/nats-server.ts';
import { PodWorld, scriptedOperator, worldCluster } from '../support/pod-world.ts';

const server = sharedNatsServer();
const silent: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silent,
};
const run = { tenant: 't', runId: 'r1' };
const pod = { connection: 'sim', namespace: 'sim', name: 'p', uid: 'u' };

async function anEngine(id = 'w1') {
  const installation = await anInstallation(server.url(), { workerQueues: ['default'] });
  onTestFinished(() => installation[Symbol.asyncDispose]());
  const broker = await installation.broker();
  const world = new PodWorld();
  const cluster = worldCluster(world, () => broker.now());
  const engine: Engine = {
    broker,
    clusters: { names: ['sim'], get: () => cluster, [Symbol.asyncDispose]: () => Promise.resolve() },
    operators: new Map([['pod', scriptedOperator(world)]]),
    foreign: new Map(),
    queues: ['default'],
    foreignQueues: [],
    id,
    installation: 'test',
    namespaces: undefined,
    policy: RETRY_POLICY,
    concurrencyLimits: {},
    known: new KnownRequests(),
    tracer: NO_TRACER,
    held: new HeldPods('test', NEVER, NEVER),
    follows: new Follows({
      ...{ live: broker.live, runs: broker.runs, id, log: silent },
      meter: { count: () => undefined, gauge: () => undefined, observeMs: () => undefined },
      follow: () => Promise.resolve(),
    }),
    log: silent,
    meter: { count: () => undefined, gauge: () => undefined, observeMs: () => undefined },
  };
  const fence = { stream: 'RUNS', seq: 1, epoch: 1, by: 'gone' };
  const queued = accepted({ operator: 'pod' }, { queue: 'default', fence, requestHash: 'h', now: broker.now() });
  const starting = taken(queued, 'Starting', { stream: 'STEPS', seq: 1, by: 'gone' });
  const waiting = deferred(starting, { pod, await: { terminal: true } }, { now: broker.now() });
  const store = async (state: RunState) => {
    await broker.requests.create(run, { operator: 'pod', params: {} });
    const outcome = await broker.runs.write(run, { ...state, op: 'test' }, 0);
    if (outcome.kind !== 'written') throw new Error('not stored');
    return outcome.revision;
  };
  return { engine, broker, queued, waiting, store };
}

test('a waiting run that stays without subscription gets it back, at the second look', async () => {
  const { engine, broker, waiting, store } = await anEngine();
  const stateRev = await store(waiting);
  const janitor = new Janitor(engine, { retentionMs: 1e9 });
  await janitor.sweep();
  expect(await broker.subscriptions.read(run)).toBeUndefined();
  await janitor.sweep();
  expect(await broker.subscriptions.read(run)).toMatchObject({ value: { stateRev, step: 1, then: 'resume', pod } });
});

test('a retry whose owner was lost gets its subscription back as well', async () => {
  const { engine, broker, waiting, store } = await anEngine();
  const again = { userFailures: 1, infraFailures: 0, notBefore: broker.now(), untilGone: false };
  await store(retrying(waiting, { state: 'failed' }, undefined, again));
  const janitor = new Janitor(engine, { retentionMs: 1e9 });
  await janitor.sweep();
  await janitor.sweep();
  expect(await broker.subscriptions.read(run)).toMatchObject({ value: { attempt: 2, then: 'start' } });
});

test('ended runs go when their retention is over, and not before', async () => {
  const { engine, broker, waiting, store } = await anEngine();
  await store(ended(waiting, { state: 'succeeded' }, broker.now() - 1_000));
  await new Janitor(engine, { retentionMs: 60_000 }).sweep();
  expect(await broker.runs.read(run)).toBeDefined();
  await new Janitor(engine, { retentionMs: 500 }).sweep();
  expect(await broker.runs.read(run)).toBeUndefined();
});

test('one janitor at a time: the lease is free when it was not renewed for 15 s', async () => {
  const { engine, broker } = await anEngine();
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

test('a pod that was kept goes when its time is over, and no sooner', async () => {
  const { engine, broker } = await anEngine();
  const kept = (name: string, finishedAt: number) =>
    anEndedPod(0, { name, uid: name, containers: [aContainer({ state: 'terminated', exitCode: 0, finishedAt })] });
  const deleted: string[] = [];
  const cluster: Cluster = {
    ...engine.clusters.get('sim'),
    listPods: () =>
      Promise.resolve([
        kept('old', broker.now() - 3_000),
        kept('young', broker.now() - 1_000),
        aPod({ name: 'of-a-run-that-goes-on' }),
      ]),
    deletePod: ({ name }) => {
      deleted.push(name);
      return Promise.resolve('asked');
    },
  };
  await broker.runs.write({ tenant: 'default', runId: 'r1' }, { ...(await anEngine()).waiting, op: 'test' }, 0);
  expect(await removeKeptPods({ ...engine, clusters: { ...engine.clusters, get: () => cluster } }, 2_000)).toBe(1);
  expect(deleted).toEqual(['old']);
});
