import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, test } from 'vitest';
import { headers } from 'nats';
import { filter, firstValueFrom, tap } from 'rxjs';
import { connectNats } from '../../src/nats/connection.ts';
import { layoutFrom } from '../../src/nats/link.ts';
import type { Broker } from '../../src/ports/broker.ts';
import type { SubscriptionChange } from '../../src/ports/stores.ts';
import { aNatsServer, anInstallation, sharedNatsServer } from '../support/nats-server.ts';
import { aSubscription } from '../support/builders.ts';

const { url } = sharedNatsServer();
const atStep = (step: number) => aSubscription({ step, stateRev: step });

/** The keys as a triggerer knows them from the changes. */
function following(broker: Broker, replica: string) {
  const known = new Map<string, number>();
  let synced = 0;
  let alive = 0;
  const take = (change: SubscriptionChange) => {
    if (change.kind === 'synced') synced += 1;
    else if (change.kind === 'alive') alive += 1;
    else if (change.kind === 'put') known.set(change.run.runId, change.subscription.step);
    else known.delete(change.run.runId);
  };
  const subscribed = broker.subscriptions.changes$(replica).subscribe((change) => {
    if (change.kind !== 'queue' && change.kind !== 'concurrencySlots') take(change);
  });
  return {
    known: () => Object.fromEntries([...known].sort()),
    synced: () => synced,
    alive: () => alive,
    stop: () => {
      subscribed.unsubscribe();
    },
  };
}
const run = (runId: string) => ({ tenant: 't', runId });

describe('LiveWatch', () => {
  test('emits every key, then synced, then each change', async () => {
    await using installation = await anInstallation(url());
    const broker = await installation.broker('triggerer');
    await broker.subscriptions.put(run('a'), atStep(1));
    const view = following(broker, 'r1');
    await expect.poll(view.synced).toBe(1);
    expect(view.known()).toEqual({ a: 1 });
    await broker.subscriptions.put(run('b'), atStep(1));
    await broker.subscriptions.put(run('a'), atStep(2));
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

  test('two replicas see the same keys, and no heartbeat', async () => {
    await using installation = await anInstallation(url());
    const broker = await installation.broker('triggerer');
    const views = [following(broker, 'r1'), following(await installation.broker('triggerer', 'two'), 'r2')];
    await broker.subscriptions.put(run('a'), atStep(1));
    for (const view of views) await expect.poll(view.known).toEqual({ a: 1 });
    for (const view of views) view.stop();
  });

  test('after a kill -9 of the broker it emits what was put and deleted, and continues', async () => {
    await using server = await aNatsServer();
    await using installation = await anInstallation(server.url);
    const broker = await installation.broker('triggerer');
    for (const id of ['a', 'b', 'c']) await broker.subscriptions.put(run(id), atStep(1));
    const view = following(broker, 'r1');
    await expect.poll(view.synced).toBe(1);
    await server.kill();
    // Written while the watch is certainly down: these wait for the broker.
    const writes = Promise.all([broker.subscriptions.delete(run('b')), broker.subscriptions.put(run('d'), atStep(7))]);
    await server.start();
    await writes;
    await broker.subscriptions.put(run('a'), atStep(2));
    await expect.poll(view.known, { timeout: 10_000 }).toEqual({ a: 2, c: 1, d: 7 });
    expect(view.synced()).toBeGreaterThan(1);
    view.stop();
  });

  test('a watch whose consumer is deleted starts again when its heartbeat is missing', async () => {
    await using installation = await anInstallation(url());
    const broker = await installation.broker('triggerer');
    const view = following(broker, 'r1');
    await expect.poll(view.synced).toBe(1);
    await using connection = await connectNats({ ...installation.options, role: 'setup', name: 'vandal' });
    const jsm = await connection.nc.jetstreamManager();
    const { stream } = layoutFrom(installation.options).assets.subscriptionBucket;
    for await (const { name } of jsm.consumers.list(stream)) await jsm.consumers.delete(stream, name);
    await broker.subscriptions.put(run('a'), atStep(1));
    await expect.poll(view.known, { timeout: 10_000 }).toEqual({ a: 1 });
    view.stop();
  });

  test('a recreated bucket is read again, and missing keys are emitted as deleted', async () => {
    await using installation = await anInstallation(url());
    const broker = await installation.broker('triggerer');
    for (const id of ['a', 'b', 'c']) await broker.subscriptions.put(run(id), atStep(1));
    const view = following(broker, 'r1');
    await expect.poll(view.known).toEqual({ a: 1, b: 1, c: 1 });
    await using connection = await connectNats({ ...installation.options, role: 'setup', name: 'vandal' });
    const jsm = await connection.nc.jetstreamManager();
    const { stream } = layoutFrom(installation.options).assets.subscriptionBucket;
    const { config } = await jsm.streams.info(stream);
    await jsm.streams.delete(stream);
    await jsm.streams.add(config);
    await broker.subscriptions.put(run('b'), atStep(5));
    await expect.poll(view.known, { timeout: 15_000 }).toEqual({ b: 5 });
    view.stop();
  });

  test('has no memory of deleted keys', async () => {
    await using installation = await anInstallation(url());
    const view = following(await installation.broker('triggerer'), 'r1');
    await expect.poll(view.synced).toBe(1);
    await using connection = await connectNats({ ...installation.options, role: 'setup', name: 'mass' });
    const { nc } = connection;
    const { subscriptionBucket } = layoutFrom(installation.options).assets;
    const marker = headers();
    marker.set('KV-Operation', 'DEL');
    const comeAndGo = async (count: number, round: string) => {
      for (let n = 0; n < count; n += 1) {
        const subject = subscriptionBucket.subject(`00.t.${`${round}-${String(n)}-`.padEnd(120, 'x')}`);
        nc.publish(subject, JSON.stringify(atStep(1)));
        nc.publish(subject, new Uint8Array(), { headers: marker });
      }
      nc.publish(subscriptionBucket.subject(`00.t.${round}`), JSON.stringify(atStep(1)));
      await expect.poll(() => Object.keys(view.known()), { timeout: 20_000 }).toContain(round);
    };
    setFlagsFromString('--expose-gc');
    const inUse = (): number => {
      for (let n = 0; n < 2; n += 1) runInNewContext('gc()');
      return process.memoryUsage().heapUsed;
    };
    await comeAndGo(1_000, 'first');
    const before = inUse();
    const count = 10_000;
    await comeAndGo(count, 'second');
    await expect.poll(() => inUse() - before, { timeout: 10_000 }).toBeLessThan(60 * count);
    view.stop();
  });

  test('emits alive for each of its heartbeats', async () => {
    await using installation = await anInstallation(url());
    const view = following(await installation.broker('triggerer'), 'r1');
    await expect.poll(view.alive, { timeout: 5_000 }).toBeGreaterThan(1);
    view.stop();
  });

  test('emits synced only after every key, also during writes', async () => {
    await using installation = await anInstallation(url());
    const broker = await installation.broker('triggerer');
    const ids = Array.from({ length: 5 }, (_, n) => `a${String(n)}`);
    for (const id of ids) await broker.subscriptions.put(run(id), atStep(1));
    await using connection = await connectNats({ ...installation.options, role: 'setup', name: 'busy' });
    const { subscriptionBucket } = layoutFrom(installation.options).assets;
    const writing = setInterval(() => {
      for (let n = 0; n < 200; n += 1)
        connection.nc.publish(subscriptionBucket.subject('00.t.busy'), JSON.stringify(atStep(n)));
    }, 1);
    try {
      for (let round = 0; round < 100; round += 1) {
        const seen: string[] = [];
        const synced = firstValueFrom(
          broker.subscriptions.changes$(`r${String(round)}`).pipe(
            tap((change) => {
              if (change.kind === 'put') seen.push(change.run.runId);
            }),
            filter(({ kind }) => kind === 'synced'),
          ),
          { defaultValue: undefined },
        );
        await synced;
        expect(seen).toEqual(expect.arrayContaining(ids));
      }
    } finally {
      clearInterval(writing);
    }
  });

  test('brokers of workers write no heartbeat, and an ended watch leaves none', async () => {
    await using installation = await anInstallation(url());
    const worker = await installation.broker('worker');
    await worker.subscriptions.put(run('a'), atStep(1));
    const triggerer = await installation.broker('triggerer');
    const view = following(triggerer, 'r1');
    await using connection = await connectNats({ ...installation.options, role: 'setup', name: 'look' });
    const jsm = await connection.nc.jetstreamManager();
    const { subscriptionBucket } = layoutFrom(installation.options).assets;
    const heartbeats = async () => {
      const { state } = await jsm.streams.info(subscriptionBucket.stream, {
        subjects_filter: subscriptionBucket.subject('heartbeat.>'),
      });
      return Object.keys(state.subjects ?? {});
    };
    await expect.poll(heartbeats, { timeout: 5_000 }).toEqual([subscriptionBucket.subject('heartbeat.r1')]);
    view.stop();
    await expect
      .poll(async () =>
        (
          await jsm.streams.getMessage(subscriptionBucket.stream, {
            last_by_subj: subscriptionBucket.subject('heartbeat.r1'),
          })
        ).header.get('KV-Operation'),
      )
      .toBe('DEL');
  });
});
