import { lastValueFrom, toArray } from 'rxjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connect } from '../../src/client/index.ts';
import type { Client } from '../../src/client/index.ts';
import { openBroker } from '../../src/nats/broker.ts';
import type { Broker } from '../../src/ports/broker.ts';
import { aNatsServer, setUp } from '../support/nats-server.ts';
import type { TestServer } from '../support/nats-server.ts';
import { startScript } from '../support/processes.ts';

let server: TestServer;
let broker: Broker;

beforeAll(async () => {
  server = await aNatsServer();
  await setUp({ servers: server.url });
  broker = await openBroker({ servers: server.url, name: 'closing-test', role: 'worker' });
  // A worker with nothing stored: a follow needs an answer.
  lastValueFrom(
    broker.services.serve$('logs', () => Promise.resolve({ ok: { chunks: [] } })),
    { defaultValue: undefined },
  ).catch(() => undefined);
});
afterAll(async () => {
  await broker[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

/** All calls with which a client can wait. */
const waits = (client: Client) => ({
  waitFor: client.waitFor('never').catch((error: unknown) => error),
  events: lastValueFrom(client.events$('never').pipe(toArray()), { defaultValue: [] }),
  allEvents: lastValueFrom(client.allEvents$().pipe(toArray()), { defaultValue: [] }),
  follow: Array.fromAsync(client.logs('never', { follow: true })),
});
async function expectEnded({ waitFor, events, allEvents, follow }: ReturnType<typeof waits>): Promise<void> {
  expect(await waitFor).toMatchObject({ code: 'NATS_UNAVAILABLE', transient: true });
  expect(await events).toEqual([]);
  expect(await allEvents).toEqual([]);
  expect(await follow).toEqual([]);
}

describe('pending calls end with the client', () => {
  test('disposed while they wait', async () => {
    const client = await connect({ servers: server.url });
    const waiting = waits(client);
    await expect(client.status('never')).rejects.toMatchObject({ code: 'UNREACHABLE' });
    await client[Symbol.asyncDispose]();
    await expectEnded(waiting);
  });

  test('disposed at once, or before the call', async () => {
    const client = await connect({ servers: server.url });
    const waiting = waits(client);
    await client[Symbol.asyncDispose]();
    await expectEnded(waiting);
    await expectEnded(waits(client));
  });

  test('disposed while the broker is down, with the same error', async () => {
    const client = await connect({ servers: server.url });
    const waiting = waits(client);
    let ended = false;
    void Promise.race(Object.values(waiting)).then(() => (ended = true));
    await server.crash();
    await expect
      .poll(() => client.status('never').catch((error: unknown) => error), { timeout: 30_000 })
      .toMatchObject({ code: 'UNREACHABLE' });
    expect(ended).toBe(false);
    await server.kill();
    await client[Symbol.asyncDispose]();
    await expectEnded(waiting);
    await server.start();
  });
});

test('nothing of a client that was disposed keeps its process alive', async () => {
  await using left = startScript(new URL('../support/left-client.ts', import.meta.url), [server.url]);
  expect(await left.ended).toBe(0);
  expect(left.stderr()).toBe('');
  // Its socket may still be closing; a timer would be waited for.
  expect(left.stdout()).toContain('NATS_UNAVAILABLE');
  expect(left.stdout()).not.toContain('Timeout');
});
