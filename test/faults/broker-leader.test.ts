/**
 * The server that leads most streams of a cluster of three dies (SIGKILL), or stands still (SIGSTOP). Raft elects another leader 4 to 9 s after the last
 * sign of the old one, which no client can shorten. What is measured is how long runs need beyond that.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { connect } from '../../src/client/index.ts';
import { connectNats } from '../../src/nats/connection.ts';
import { assetsUnder, consumers, DEFAULT_ASSET_PREFIX } from '../../src/wire/streams.ts';
import { DEFAULT_SUBJECT_ROOT, LANES, subjectsUnder } from '../../src/wire/subjects.ts';
import { TARGETS, type ClusterUnderTest } from '../support/kubernetes.ts';
import { aNatsCluster } from '../support/nats-cluster.ts';
import { startInstallation } from '../support/running-installation.ts';

const assets = assetsUnder(DEFAULT_ASSET_PREFIX);
const subjects = subjectsUnder(DEFAULT_SUBJECT_ROOT);
const EVERY_MS = 500;
/** Runs that are asked for after the election, and what none of them may take, each being 0.3 s of work. */
const FRESH = 10;
const MAX_SECONDS = 5;

let target: ClusterUnderTest;
beforeAll(async () => {
  const local = TARGETS.find(({ name }) => name === 'the local cluster');
  if (local === undefined) throw new Error('no local cluster');
  target = await local.start();
});
afterAll(() => target[Symbol.asyncDispose]());

const infoSchema = z.looseObject({ cluster: z.looseObject({ leader: z.string().optional() }).optional() });

test.each([{ fault: 'SIGKILL' as const }, { fault: 'SIGSTOP' as const }])(
  'runs asked for after the election that follows $fault of the leader take less than 5 s',
  async ({ fault }) => {
    await using nats = await aNatsCluster();
    await using installation = await startInstallation(
      target,
      { workers: 2, triggerers: 2 },
      { url: nats.url, replicas: 3 },
    );
    const api = [
      ...[assets.runs, assets.steps, assets.events, assets.requestBucket.stream, assets.stateBucket.stream],
      ...[assets.subscriptionBucket.stream, assets.ownershipBucket.stream],
    ].map((stream) => `STREAM.INFO.${stream}`);
    api.push(`CONSUMER.INFO.${assets.runs}.${consumers.intake('default')}`);
    for (const lane of LANES) api.push(`CONSUMER.INFO.${assets.steps}.${consumers.step(lane, 'default')}`);

    const leaderOf = async (from: typeof installation.connection, what: string) => {
      const reply = await from.nc.request(`$JS.API.${what}`, '', { timeout: 300 }).catch(() => undefined);
      return reply === undefined ? undefined : infoSchema.safeParse(reply.json()).data?.cluster?.leader;
    };
    const led = async (what: string) => ({ what, leader: await leaderOf(installation.connection, what) });
    await expect
      .poll(async () => (await Promise.all(api.map(led))).filter(({ leader }) => leader === undefined), {
        timeout: 60_000,
      })
      .toEqual([]);
    const victimName = await leaderOf(installation.connection, `STREAM.INFO.${assets.stateBucket.stream}`);
    const victim = nats.servers[Number(victimName?.slice(1))];
    if (victim === undefined) throw new Error(`no server ${String(victimName)}`);
    const groups = (await Promise.all(api.map(led))).filter(({ leader }) => leader === victimName).length;
    const survivors = nats.servers.filter((server) => server !== victim).map(({ url }) => url);
    await using near = await connectNats({ servers: survivors, role: 'setup', name: 'near' });

    const pod = z.record(z.string(), z.json()).parse(target.pod({ runForSeconds: 0.3 }));
    const request = {
      params: { image: 'busybox', fullPodSpec: pod, namespace: installation.namespace, getLogs: false },
    };
    await using client = await connect({ servers: survivors.join(',') });
    const endedAt = new Map<string, number>();
    const done = near.nc.subscribe(subjects.event.completedOf('default'), {
      callback: (_, { subject }) => {
        const id = subject.split('.').at(-2) ?? '';
        if (!endedAt.has(id)) endedAt.set(id, performance.now());
      },
    });
    const askedAt = new Map<string, number>();
    const submits: Promise<unknown>[] = [];
    const submitted = async (runId: string) => {
      await expect
        .poll(() => client.submit(request, { runId, checked: false }).then((receipt) => receipt.runId), {
          timeout: 90_000,
        })
        .toBe(runId);
    };
    const ask = () => {
      const runId = `probe-${String(askedAt.size)}`;
      askedAt.set(runId, performance.now());
      submits.push(submitted(runId));
    };
    // Before the fault: it works.
    ask();
    await expect.poll(() => endedAt.size, { timeout: 30_000 }).toBe(1);

    const faultAt = performance.now();
    const asking = setInterval(ask, EVERY_MS);
    if (fault === 'SIGKILL') await victim.kill();
    else process.kill(victim.current().pid, 'SIGSTOP');
    const since = (at: number) => Math.round((at - faultAt) / 100) / 10;
    const elected = Promise.all(
      api.map(async (what) => {
        await expect
          .poll(() => leaderOf(near, what), { timeout: 60_000, interval: 50 })
          .toSatisfy((leader) => leader !== undefined && leader !== victimName);
        return since(performance.now());
      }),
    );
    const electedSeconds = Math.max(...(await elected));
    // Those asked for from now on have no message that the old leader took with it.
    const afresh = () => [...askedAt].filter(([, at]) => since(at) > electedSeconds);
    await expect.poll(() => afresh().length, { timeout: 30_000 }).toBe(FRESH);
    clearInterval(asking);
    await Promise.all(submits);
    const missing = () => [...askedAt.keys()].filter((id) => !endedAt.has(id));
    await expect.poll(missing, { timeout: 60_000 }).toEqual([]);
    const endSeconds = ([id]: readonly [string, number]) => since(endedAt.get(id) ?? Infinity);
    const firstSeconds = Math.min(...[...askedAt].slice(1).map(endSeconds));
    const allSeconds = Math.max(...[...askedAt].map(endSeconds));
    const slowestSeconds = Math.max(...afresh().map(([id, at]) => endSeconds([id, at]) - since(at)));
    done.unsubscribe();
    const ends = await Promise.all([...askedAt.keys()].map((runId) => client.waitFor(runId, { timeoutMs: 10_000 })));
    const notSucceeded = ends.filter(({ state }) => state !== 'succeeded').length;
    const jsm = await near.nc.jetstreamManager({ checkAPI: false });
    const stored = await jsm.streams.info(assets.events, { subjects_filter: subjects.event.completedOf('default') });
    const counts = Object.values(stored.state.subjects ?? {});
    console.log(
      JSON.stringify({
        ...{ case: `broker-leader ${fault}`, faults: 1, runs: askedAt.size, led: groups },
        ...{
          lost: askedAt.size - counts.length,
          twice: counts.filter((n) => n > 1).length,
          false: notSucceeded,
          stuck: missing().length,
        },
        ...{
          electedSeconds,
          firstSeconds,
          allSeconds,
          slowestSeconds,
          recoverySeconds: Math.round((electedSeconds + slowestSeconds) * 10) / 10,
        },
      }),
    );
    if (fault === 'SIGSTOP') process.kill(victim.current().pid, 'SIGCONT');
    expect(counts).toEqual([...askedAt].map(() => 1));
    expect(notSucceeded).toBe(0);
    expect(slowestSeconds).toBeLessThan(MAX_SECONDS);
  },
  180_000,
);
