import { describe, expect, test } from 'vitest';
import { connectNats } from '../../src/nats/connection.ts';
import { layoutFrom } from '../../src/nats/link.ts';
import { anInstallation, sharedNatsServer } from '../support/nats-server.ts';
import { aSubscription } from '../support/builders.ts';

const { url } = sharedNatsServer();
const atStep = (step: number) => aSubscription({ step, stateRev: step });
const run = { tenant: 'sales', runId: 'load.1' };

describe('sweeping', () => {
  test('deletes deletion markers only', async () => {
    await using installation = await anInstallation(url());
    const broker = await installation.broker();
    await broker.subscriptions.put(run, atStep(1));
    await broker.subscriptions.put({ ...run, runId: 'stays' }, atStep(1));
    await broker.subscriptions.delete(run);
    expect(await broker.sweep({ olderThanMs: 3_600_000, limit: 100 })).toBe(0);
    expect(await broker.sweep({ olderThanMs: 0, limit: 100 })).toBe(1);
    expect(await broker.subscriptions.read({ ...run, runId: 'stays' })).toBeDefined();
    // Without its marker the key is as if it had never existed.
    expect((await broker.subscriptions.put(run, atStep(1), 0)).kind).toBe('written');
  });

  test('reads each message once, and again only those that may have become markers', async () => {
    await using installation = await anInstallation(url());
    const broker = await installation.broker();
    const runs = Array.from({ length: 20 }, (_, n) => ({ ...run, runId: `r${String(n)}` }));
    for (const one of runs) await broker.subscriptions.put(one, atStep(1));
    await using connection = await connectNats({ ...installation.options, role: 'setup', name: 'bystander' });
    const { subscriptionBucket } = layoutFrom(installation.options).assets;
    let reads = 0;
    connection.nc.subscribe(`$JS.API.DIRECT.GET.${subscriptionBucket.stream}`, { callback: () => (reads += 1) });
    await connection.nc.flush();
    const readsOf = async (sweep: () => Promise<unknown>): Promise<number> => {
      reads = 0;
      await sweep();
      await connection.nc.flush();
      return reads;
    };
    expect(await readsOf(() => broker.sweep({ olderThanMs: 0, limit: 100 }))).toBe(21);
    expect(await readsOf(() => broker.sweep({ olderThanMs: 0, limit: 100 }))).toBe(1);
    await broker.subscriptions.delete(runs[3] ?? run);
    expect(await readsOf(() => broker.sweep({ olderThanMs: 3_600_000, limit: 100 }))).toBe(1);
    expect(
      await readsOf(async () => {
        expect(await broker.sweep({ olderThanMs: 0, limit: 100 })).toBe(1);
      }),
    ).toBe(2);
  });

  test('starts again with a recreated bucket, and deletes heartbeats of dead watches', async () => {
    await using installation = await anInstallation(url());
    const broker = await installation.broker();
    for (let n = 0; n < 5; n += 1) await broker.subscriptions.put({ ...run, runId: `r${String(n)}` }, atStep(1));
    await broker.sweep({ olderThanMs: 0, limit: 100 });
    await using connection = await connectNats({ ...installation.options, role: 'setup', name: 'vandal' });
    const { stream, subject } = layoutFrom(installation.options).assets.subscriptionBucket;
    const jsm = await connection.nc.jetstreamManager();
    const { config } = await jsm.streams.info(stream);
    await jsm.streams.delete(stream);
    await jsm.streams.add(config);
    await broker.subscriptions.put(run, atStep(1));
    await broker.subscriptions.delete(run);
    await connection.nc.jetstream().publish(subject('heartbeat.dead'), '{}');
    expect(await broker.sweep({ olderThanMs: 0, limit: 100 })).toBe(2);
    expect((await jsm.streams.info(stream)).state.messages).toBe(0);
  });
});
