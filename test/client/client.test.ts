import { lastValueFrom, toArray } from 'rxjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connect } from '../../src/client/index.ts';
import type { Client } from '../../src/client/index.ts';
import { openBroker } from '../../src/nats/broker.ts';
import { connectNats } from '../../src/nats/connection.ts';
import { layoutFrom } from '../../src/nats/link.ts';
import { setup } from '../../src/nats/setup.ts';
import type { Broker } from '../../src/ports/broker.ts';
import { aNatsServer } from '../support/nats-server.ts';
import type { TestServer } from '../support/nats-server.ts';
import { DEFAULTS } from '../support/defaults.ts';

let server: TestServer;
let broker: Broker;
let client: Client;

beforeAll(async () => {
  server = await aNatsServer();
  const options = { servers: server.url, name: 'client-test', role: 'setup' as const };
  await using connection = await connectNats(options);
  await setup(connection.nc, layoutFrom({}), DEFAULTS.streams);
  broker = await openBroker({ ...options, role: 'worker' });
  client = await connect({ servers: server.url });
});
afterAll(async () => {
  await client[Symbol.asyncDispose]();
  await broker[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

const at = new Date(0).toISOString();
const published = (runId: string, type: 'accepted' | 'launched') =>
  broker.publish.event({ tenant: 'default', runId }, type, 0, { tenant: 'default', runId, attempt: 1, step: 0, at });
const completed = (runId: string) =>
  broker.publish.event({ tenant: 'default', runId }, 'completed', 1, {
    ...{ tenant: 'default', runId, state: 'succeeded', attempt: 1, timings: {} },
  });

describe('submit', () => {
  test('without a worker’s check, the stream stores the request once', async () => {
    const request = { params: { image: 'alpine' } };
    expect(await client.submit(request, { runId: 'lonely' })).toEqual({
      runId: 'lonely',
      queue: 'default',
      duplicate: false,
    });
    expect(await client.submit(request, { runId: 'lonely' })).toMatchObject({ duplicate: true });
  });

  test('creates a run id if none is given', async () => {
    const { runId } = await client.submit({ params: {} }, { checked: false });
    expect(runId).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7/);
  });

  test('an unknown queue and an invalid run id are errors', async () => {
    await expect(client.submit({}, { queue: 'nowhere', checked: false })).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(client.submit({}, { runId: '' })).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  });
});

describe('waitFor', () => {
  test('resolves for a run that completed before the call, and for one that completes later', async () => {
    await completed('before');
    expect(await client.waitFor('before')).toMatchObject({ runId: 'before', state: 'succeeded' });
    const later = client.waitFor('later');
    await completed('later');
    expect(await later).toMatchObject({ runId: 'later' });
  });

  test('gives up after its time-out', async () => {
    await expect(client.waitFor('never', { timeoutMs: 50 })).rejects.toMatchObject({
      code: 'TIMEOUT',
      transient: true,
    });
  });

  test('survives a restart of the broker', async () => {
    const waiting = client.waitFor('restarted');
    await server.crash();
    await completed('restarted');
    expect(await waiting).toMatchObject({ runId: 'restarted' });
  });
});

describe('events$', () => {
  test('each event once, stored ones included, complete after completed', async () => {
    await published('both', 'accepted');
    const events = lastValueFrom(client.events$('both').pipe(toArray()), { defaultValue: [] });
    await published('both', 'launched');
    await completed('both');
    const types = (await events).map(({ type }) => type);
    expect([...types].sort()).toEqual(['accepted', 'completed', 'launched']);
    expect(types.at(-1)).toBe('completed');
  });
});

test('without a worker, services are UNREACHABLE', async () => {
  await expect(client.status('lonely')).rejects.toMatchObject({ code: 'UNREACHABLE' });
});
