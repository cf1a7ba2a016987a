/** A broker as in production: three servers, three replicas of every stream, one server after another killed with -9 while runs go on. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { connect } from '../../src/client/index.ts';
import { assetsUnder, DEFAULT_ASSET_PREFIX } from '../../src/wire/streams.ts';
import { DEFAULT_SUBJECT_ROOT, subjectsUnder } from '../../src/wire/subjects.ts';
import { type ClusterUnderTest, TARGETS } from '../support/kubernetes.ts';
import { aNatsCluster, type TestNatsCluster } from '../support/nats-cluster.ts';
import { startInstallation } from '../support/running-installation.ts';

const assets = assetsUnder(DEFAULT_ASSET_PREFIX);
const subjects = subjectsUnder(DEFAULT_SUBJECT_ROOT);
const RUNS_PER_WAVE = 20;

let target: ClusterUnderTest;
let nats: TestNatsCluster;
beforeAll(async () => {
  const local = TARGETS.find(({ name }) => name === 'the local cluster');
  if (local === undefined) throw new Error('no local cluster');
  [target, nats] = await Promise.all([local.start(), aNatsCluster()]);
});
afterAll(async () => {
  await Promise.all([target[Symbol.asyncDispose](), nats[Symbol.asyncDispose]()]);
});

test('runs complete once while one broker after another is killed', async () => {
  await using installation = await startInstallation(
    target,
    { workers: 2, triggerers: 2 },
    { url: nats.url, replicas: 3 },
  );
  const jsm = await installation.connection.nc.jetstreamManager();
  for (const stream of [assets.runs, assets.events, assets.stateBucket.stream, assets.ownershipBucket.stream])
    expect((await jsm.streams.info(stream)).config.num_replicas).toBe(3);

  await using client = await connect({ servers: nats.url });
  const pod = target.pod({ runForSeconds: 2 });
  const request = {
    params: {
      image: 'busybox',
      fullPodSpec: z.record(z.string(), z.json()).parse(pod),
      namespace: installation.namespace,
      getLogs: false,
    },
  };
  const submitted: string[] = [];
  const wave = async (name: string): Promise<void> => {
    const runIds = Array.from({ length: RUNS_PER_WAVE }, (_, n) => `${name}-${String(n)}`);
    // Without an answer the outcome of the request is unknown: the contract allows to repeat it under the same id.
    await Promise.all(
      runIds.map((runId) =>
        expect
          .poll(() => client.submit(request, { runId }).then(({ runId: taken }) => taken), { timeout: 60_000 })
          .toBe(runId),
      ),
    );
    submitted.push(...runIds);
  };
  for (const [n, server] of nats.servers.entries()) {
    await wave(`wave-${String(n)}`);
    await server.crash();
    // The next one is killed when this one has caught up: with two of three lost there is no quorum.
    await expect
      .poll(
        async () => {
          const { cluster } = await jsm.streams.info(assets.stateBucket.stream);
          return cluster?.replicas?.filter(({ current, offline }) => current && !offline).length;
        },
        { timeout: 60_000 },
      )
      .toBe(2);
  }
  const done = await Promise.all(submitted.map((runId) => client.waitFor(runId, { timeoutMs: 90_000 })));
  expect(done.filter(({ state }) => state !== 'succeeded')).toEqual([]);
  // An event is received as soon as it is sent; it may be stored a moment later.
  const stored = async (): Promise<readonly number[]> => {
    const info = await jsm.streams.info(assets.events, { subjects_filter: subjects.event.completedOf('default') });
    return Object.values(info.state.subjects ?? {});
  };
  await expect.poll(stored, { timeout: 30_000 }).toEqual(submitted.map(() => 1));
  await expect.poll(async () => (await jsm.streams.info(assets.steps)).state.messages, { timeout: 60_000 }).toBe(0);
});
