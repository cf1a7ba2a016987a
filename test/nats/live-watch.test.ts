import { describe, expect, test } from 'vitest';
import { connectNats } from '../../src/nats/connection.ts';
import { layoutFrom } from '../../src/nats/options.ts';
import type { Broker, SubscriptionChange } from '../../src/ports.ts';
import type { Subscription } from '../../src/wire/messages.ts';
import { aNatsServer, anInstallation, sharedNatsServer } from '../support/nats-server.ts';

const { url } = sharedNatsServer();
const subscription = (step: number): Subscription => ({
  v: 1,
  queue: 'default',
  attempt: 1,
  step,
  stateRev: step,
  await: { terminal: true },
  then: 'resume',
});

/** What a triggerer would know from the changes. */
function following(broker: Broker, replica: string) {
  const known = new Map<string, number>();
  let synced = 0;
  const take = (change: SubscriptionChange) => {
    if (change.kind === 'synced') synced += 1;
    else if (change.kind === 'put') known.set(change.run.runId, change.subscription.step);
    else known.delete(change.run.runId);
  };
  const subscribed = broker.subscriptions.changes$(replica).subscribe((change) => {
    if (change.kind !== 'queue' && change.kind !== 'slots') take(change);
  });
  return {
    known: () => Object.fromEntries([...known].sort()),
    synced: () => synced,
    stop: () => {
      subscribed.unsubscribe();
    },
  };
}
const run = (runId: string) => ({ tenant: 't', runId });

describe('LiveWatch', () => {
  test('says what is there, then that it is all, then each change', async () => {
    await using installation = await anInstallation(url());
    const broker = await installation.broker('triggerer');
    await broker.subscriptions.put(run('a'), subscription(1));
    const view = following(broker, 'r1');
    await expect.poll(view.synced).toBe(1);
    expect(view.known()).toEqual({ a: 1 });
    await broker.subscriptions.put(run('b'), subscription(1));
    await broker.subscriptions.put(run('a'), subscription(2));
    await broker.subscriptions.delete(run('b'));
    await expect.poll(view.known).toEqual({ a: 2 });
    view.stop();
  });

  test('an empty bucket is synced too', async () => {
    await using installation = await anInstallation(url());
    const view = following(await installation.broker('triggerer'), 'r1');
    await expect.poll(view.synced).toBe(1);
    view.stop();
  });

  test('two replicas see the same, and neither sees a beacon', async () => {
    await using installation = await anInstallation(url());
    const broker = await installation.broker('triggerer');
    const views = [following(broker, 'r1'), following(await installation.broker('triggerer', 'two'), 'r2')];
    await broker.subscriptions.put(run('a'), subscription(1));
    for (const view of views) await expect.poll(view.known).toEqual({ a: 1 });
    for (const view of views) view.stop();
  });

  test('after a kill -9 of the broker it knows what changed, put and deleted, and goes on', async () => {
    await using server = await aNatsServer();
    await using installation = await anInstallation(server.url);
    const broker = await installation.broker('triggerer');
    for (const id of ['a', 'b', 'c']) await broker.subscriptions.put(run(id), subscription(1));
    const view = following(broker, 'r1');
    await expect.poll(view.synced).toBe(1);
    await server.kill();
    // Written while the watch is certainly down: these wait for the broker.
    const writes = Promise.all([
      broker.subscriptions.delete(run('b')),
      broker.subscriptions.put(run('d'), subscription(7)),
    ]);
    await server.start();
    await writes;
    await broker.subscriptions.put(run('a'), subscription(2));
    await expect.poll(view.known, { timeout: 10_000 }).toEqual({ a: 2, c: 1, d: 7 });
    expect(view.synced()).toBeGreaterThan(1);
    view.stop();
  });

  test('a watch whose consumer is taken away starts again when its beacon stays away', async () => {
    await using installation = await anInstallation(url());
    const broker = await installation.broker('triggerer');
    const view = following(broker, 'r1');
    await expect.poll(view.synced).toBe(1);
    await using connection = await connectNats({ ...installation.options, role: 'setup', name: 'vandal' });
    const jsm = await connection.nc.jetstreamManager();
    const { stream } = layoutFrom(installation.options).assets.subscriptionBucket;
    for await (const { name } of jsm.consumers.list(stream)) await jsm.consumers.delete(stream, name);
    await broker.subscriptions.put(run('a'), subscription(1));
    await expect.poll(view.known, { timeout: 10_000 }).toEqual({ a: 1 });
    view.stop();
  });

  test('a bucket made anew is read anew: what is gone is said', async () => {
    await using installation = await anInstallation(url());
    const broker = await installation.broker('triggerer');
    for (const id of ['a', 'b', 'c']) await broker.subscriptions.put(run(id), subscription(1));
    const view = following(broker, 'r1');
    await expect.poll(view.known).toEqual({ a: 1, b: 1, c: 1 });
    await using connection = await connectNats({ ...installation.options, role: 'setup', name: 'vandal' });
    const jsm = await connection.nc.jetstreamManager();
    const { stream } = layoutFrom(installation.options).assets.subscriptionBucket;
    const { config } = await jsm.streams.info(stream);
    await jsm.streams.delete(stream);
    await jsm.streams.add(config);
    await broker.subscriptions.put(run('b'), subscription(5));
    await expect.poll(view.known, { timeout: 15_000 }).toEqual({ b: 5 });
    view.stop();
  });

  test('brokers of workers write no beacon, and a watch that ended leaves none', async () => {
    await using installation = await anInstallation(url());
    const worker = await installation.broker('worker');
    await worker.subscriptions.put(run('a'), subscription(1));
    const triggerer = await installation.broker('triggerer');
    const view = following(triggerer, 'r1');
    await using connection = await connectNats({ ...installation.options, role: 'setup', name: 'look' });
    const jsm = await connection.nc.jetstreamManager();
    const { subscriptionBucket } = layoutFrom(installation.options).assets;
    const beacons = async () => {
      const { state } = await jsm.streams.info(subscriptionBucket.stream, {
        subjects_filter: subscriptionBucket.subject('beacon.>'),
      });
      return Object.keys(state.subjects ?? {});
    };
    await expect.poll(beacons, { timeout: 5_000 }).toEqual([subscriptionBucket.subject('beacon.r1')]);
    view.stop();
    await expect
      .poll(async () =>
        (
          await jsm.streams.getMessage(subscriptionBucket.stream, {
            last_by_subj: subscriptionBucket.subject('beacon.r1'),
          })
        ).header.get('KV-Operation'),
      )
      .toBe('DEL');
  });
});
