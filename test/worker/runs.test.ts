import { Subject, lastValueFrom } from 'rxjs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { RETRY_POLICY } from '../../src/core/run/retry.ts';
import type { Meter } from '../../src/ports/ambient.ts';
import type { Broker } from '../../src/ports/broker.ts';
import type { ClientBroker } from '../../src/ports/client.ts';
import { worker } from '../../src/roles/worker.ts';
import { completedDataSchema } from '../../src/wire/events.ts';
import type { CompletedData } from '../../src/wire/events.ts';
import type { ServiceReply } from '../../src/wire/services.ts';
import { keys } from '../../src/wire/subjects.ts';
import type { Verb } from '../../src/wire/subjects.ts';
import { anInstallation, aNatsServer, sharedNatsServer } from '../support/nats-server.ts';
import { connectNats } from '../../src/nats/connection.ts';
import { levelTriggers } from '../support/level-triggers.ts';
import { SimulatedPods, scriptedOperator, simulatedCluster } from '../support/simulated-pods.ts';
import { SILENT_LOG } from '../../src/airflow/defaults.ts';
import { DEFAULTS } from '../support/defaults.ts';

const server = sharedNatsServer();
const meter: Meter = { count: () => undefined, gauge: () => undefined, observeSeconds: () => undefined };
const encoder = new TextEncoder();

interface Bench {
  readonly broker: Broker;
  readonly client: ClientBroker;
  readonly simulated: SimulatedPods;
  readonly root: string;
  ask(verb: Verb, payload: unknown): Promise<ServiceReply>;
  publish(runId: string, data: string | Uint8Array, msgID?: string): Promise<void>;
  completed(runId: string, tenant?: string): Promise<CompletedData>;
}

/** One worker, triggers, and a client of tenant `t` on a new installation. */
async function aBench(
  queues: readonly string[] = ['default'],
  before: (parts: Pick<Bench, 'broker' | 'client'>) => Promise<void> = () => Promise.resolve(),
): Promise<Bench> {
  const installation = await anInstallation(server.url(), { workerQueues: queues });
  const broker = await installation.broker();
  const client = await installation.client('t');
  await before({ broker, client });
  const simulated = new SimulatedPods();
  const cluster = simulatedCluster(simulated, () => broker.now());
  const clusters = {
    names: ['sim'],
    get: () => cluster,
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  const stop$ = new Subject<void>();
  const retryPolicy = { ...RETRY_POLICY, faultBaseMs: 5, faultMaxMs: 20 };
  const settings = { ...DEFAULTS.engine, id: 'w1', queues, installation: 'test', retryPolicy };
  const work = lastValueFrom(
    worker({ broker, clusters, operators: [scriptedOperator(simulated)], settings, log: SILENT_LOG, meter })(stop$),
    { defaultValue: undefined },
  );
  const triggers = levelTriggers(broker, simulated, { everyMs: 20, refireMs: 1_000 });
  onTestFinished(async () => {
    triggers[Symbol.dispose]();
    stop$.next();
    await work;
    await installation[Symbol.asyncDispose]();
  });
  const bench: Bench = {
    broker,
    client,
    simulated,
    root: installation.options.root ?? '',
    ask: (verb, payload) => client.request('t', verb, payload, 5_000),
    publish: async (runId, data, msgID) => {
      await client.publishRun(
        'default',
        { tenant: 't', runId },
        typeof data === 'string' ? encoder.encode(data) : data,
        msgID,
      );
    },
    completed: (runId, tenant = 't') =>
      expect
        .poll(async () => (await client.lastEvent({ tenant, runId }, 'completed'))?.data, { timeout: 10_000 })
        .toBeDefined()
        .then(async () => {
          const event = await client.lastEvent({ tenant, runId }, 'completed');
          if (event === undefined || !('state' in event.data)) throw new Error('no completed event');
          return completedOf(event.data);
        }),
  };
  // The first answer shows that the services are ready.
  await expect.poll(() => bench.ask('list', {}).catch(() => undefined), { timeout: 10_000 }).toHaveProperty('ok');
  return bench;
}

function completedOf(data: unknown): CompletedData {
  return completedDataSchema.parse(data);
}

describe('a worker', () => {
  test('takes a run from its request to its end, and deletes its subscription', async () => {
    const { publish, completed, broker, simulated } = await aBench();
    await publish('r1', '{}');
    expect(await completed('r1')).toMatchObject({
      state: 'succeeded',
      attempt: 1,
      exitCode: 0,
      pod: { namespace: 'sim' },
    });
    await expect.poll(() => broker.subscriptions.read({ tenant: 't', runId: 'r1' })).toBeUndefined();
    await expect.poll(() => simulated.alive(broker.now())).toEqual([]);
  });

  test('repeats a failed attempt by policy, with a new pod', async () => {
    const { publish, completed, simulated } = await aBench();
    await publish('r1', JSON.stringify({ params: { exits: [1, 0] }, retries: 1, retryDelaySeconds: 0.05 }));
    expect(await completed('r1')).toMatchObject({ state: 'succeeded', attempt: 2 });
    expect([...simulated.creations]).toEqual([
      ['t/r1/1', 1],
      ['t/r1/2', 1],
    ]);
  });

  test('publishes cancelled only when the pod is gone', async () => {
    const { publish, completed, ask, broker, simulated } = await aBench();
    await publish('r1', JSON.stringify({ params: { exits: [null], goneMs: 300 } }));
    await expect.poll(() => simulated.creations.size).toBe(1);
    expect(await ask('cancel', { runId: 'r1', reason: 'enough' })).toMatchObject({ ok: { cancelRequested: true } });
    expect(await completed('r1')).toMatchObject({ state: 'cancelled', diagnosis: { code: 'CANCELLED' } });
    expect(simulated.alive(broker.now())).toEqual([]);
  });

  test('cleans up the pod of a failed attempt as failed when the run is cancelled before the next', async () => {
    const { publish, completed, ask, simulated } = await aBench();
    await publish('r1', JSON.stringify({ params: { exits: [1] }, retries: 1, retryDelaySeconds: 600 }));
    await expect.poll(() => ask('status', { runId: 'r1' })).toMatchObject({ ok: { attempt: 2, phase: 'Queued' } });
    await ask('cancel', { runId: 'r1' });
    const end = await completed('r1');
    expect(end).toMatchObject({ state: 'cancelled', attempt: 2 });
    expect(end).not.toHaveProperty('pod');
    await expect.poll(() => simulated.cleanUps.length).toBe(2);
    expect(new Set(simulated.cleanUps)).toEqual(new Set(['r1/1: failed']));
  });

  test('reports when a stopped pod started and ended', async () => {
    const { publish, completed, ask, simulated } = await aBench();
    await publish('r1', JSON.stringify({ params: { runMs: 400, goneMs: 1_000 } }));
    await expect.poll(() => simulated.creations.size).toBe(1);
    await ask('cancel', { runId: 'r1' });
    const { state, timings } = await completed('r1');
    expect(state).toBe('cancelled');
    expect(timings).toHaveProperty('finishedAt');
  });

  test('publishes accepted once for clients that listen without a stream', async () => {
    const { publish, completed, ask, root, broker } = await aBench();
    await using connection = await connectNats({ servers: server.url(), role: 'setup', name: 'listener' });
    const received: string[] = [];
    connection.nc.subscribe(`${root}.ev.t.*.accepted`, {
      callback: (_, { subject }) => received.push(subject.split('.').at(-2) ?? ''),
    });
    await connection.nc.flush();
    const later = new Date(broker.now() + 600_000).toISOString();
    await publish('held', JSON.stringify({ params: { blocking: true } }));
    await publish('later', JSON.stringify({ startAfter: later }));
    await publish('expired', JSON.stringify({ params: { refusals: 1_000 }, expireSeconds: 0.2 }));
    await expect.poll(() => broker.subscriptions.read({ tenant: 't', runId: 'later' })).toBeDefined();
    await ask('cancel', { runId: 'later' });
    for (const runId of ['held', 'later', 'expired']) await completed(runId);
    expect(received.toSorted()).toEqual(['expired', 'held', 'later']);
  });

  test('explains why a run waits: a postponed start, a pod that is not gone', async () => {
    const { publish, ask, simulated, completed, broker } = await aBench();
    await publish('refused', JSON.stringify({ params: { refusals: 1_000 } }));
    const status = (runId: string) => ask('status', { runId });
    await expect
      .poll(() => status('refused'), { timeout: 5_000 })
      .toMatchObject({ ok: { blocked: { code: 'API_THROTTLED' } } });
    await ask('cancel', { runId: 'refused' });
    expect(await completed('refused')).toMatchObject({ state: 'cancelled' });
    expect(await status('refused')).not.toHaveProperty('ok.blocked');

    const stuck = { exits: [null], goneMs: 2_000, deletedAgoMs: 600_000 };
    await publish('stuck', JSON.stringify({ params: stuck }));
    await expect.poll(() => simulated.creations.get('t/stuck/1')).toBe(1);
    await ask('cancel', { runId: 'stuck' });
    await expect
      .poll(() => status('stuck'))
      .toMatchObject({ ok: { phase: 'Deferred', blocked: { code: 'POD_STUCK_TERMINATING' } } });
    expect(await completed('stuck')).toMatchObject({ state: 'cancelled' });
    expect(simulated.alive(broker.now())).toEqual([]);
  });

  test('starts at startAfter, expires at expireSeconds, and stops at executionTimeoutSeconds', async () => {
    const { publish, completed, broker, simulated } = await aBench();
    const startAfter = broker.now() + 700;
    await publish('later', JSON.stringify({ startAfter: new Date(startAfter).toISOString() }));
    await publish('slow', JSON.stringify({ params: { exits: [null] }, executionTimeoutSeconds: 0.3 }));
    await publish('never', JSON.stringify({ params: { refusals: 1_000 }, expireSeconds: 0.5 }));
    expect(Date.parse((await completed('later')).timings['launchedAt'] ?? '')).toBeGreaterThanOrEqual(startAfter);
    expect(await completed('slow')).toMatchObject({ state: 'failed', diagnosis: { code: 'EXECUTION_TIMEOUT' } });
    expect(await completed('never')).toMatchObject({ state: 'failed', diagnosis: { code: 'EXPIRED' } });
    await expect.poll(() => simulated.alive(broker.now())).toEqual([]);
  });

  test('a duplicate of a request, even an invalid one, changes nothing', async () => {
    const { publish, completed, ask } = await aBench();
    await publish('r1', '{}', 'one');
    const before = await completed('r1');
    await publish('r1', 'not json', 'two');
    await publish('r2', '{}');
    await completed('r2');
    expect(await ask('status', { runId: 'r1' })).toMatchObject({ ok: { phase: 'Succeeded', attempt: before.attempt } });
  });
});

test('a worker without its broker is not ready until the broker is back', async () => {
  await using own = await aNatsServer();
  await using installation = await anInstallation(own.url);
  const broker = await installation.broker();
  const simulated = new SimulatedPods();
  const clusters = {
    names: ['sim'],
    get: () => simulatedCluster(simulated, () => broker.now()),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  const settings = { ...DEFAULTS.engine, id: 'w1', queues: ['default'], installation: 'test' };
  const work$ = worker({
    broker,
    clusters,
    operators: [scriptedOperator(simulated)],
    settings,
    log: SILENT_LOG,
    meter,
  });
  const stop$ = new Subject<void>();
  const work = lastValueFrom(work$(stop$), { defaultValue: undefined });
  await expect.poll(work$.problems).toEqual([]);
  await own.kill();
  await expect.poll(work$.problems).toEqual(['is not connected to NATS']);
  await own.start();
  await expect.poll(work$.problems, { timeout: 10_000 }).toEqual([]);
  stop$.next();
  await work;
});

describe('a request that was delivered often', () => {
  /** Submits `r1` and requeues it `times` times, as a worker does that cannot accept it now, or crashes. */
  let counted = '';
  const oftenSeen = (times: number, died: number) => async (parts: Pick<Bench, 'broker' | 'client'>) => {
    await parts.client.publishRun('default', { tenant: 't', runId: 'r1' }, encoder.encode('{}'));
    const enough$ = new Subject<void>();
    const requeue$ = parts.broker.queues.intake$(
      'default',
      1,
      async (delivery) => {
        counted = keys.crashes(delivery.stream, delivery.seq);
        if (delivery.deliveries === times && died > 0)
          await parts.broker.membership.claim(counted, { owner: 'dead', epoch: died }, 0);
        await delivery.nak(0);
        if (delivery.deliveries >= times) enough$.next();
      },
      enough$,
    );
    await lastValueFrom(requeue$, { defaultValue: undefined });
  };

  test('is accepted if it was only requeued', async () => {
    const { completed } = await aBench(['default'], oftenSeen(40, 0));
    expect(await completed('r1')).toMatchObject({ state: 'succeeded' });
  });

  test('is given up if its workers crashed', async () => {
    const { completed } = await aBench(['default'], oftenSeen(30, 24));
    expect(await completed('r1')).toMatchObject({ state: 'failed', diagnosis: { code: 'DEAD_LETTERED' } });
  });

  test.each([0, 3])('leaves no count (%i crashes)', async (died) => {
    const { completed, broker } = await aBench(['default'], oftenSeen(10, died));
    expect(await completed('r1')).toMatchObject({ state: 'succeeded' });
    await expect.poll(() => broker.membership.readClaim(counted)).toBeUndefined();
  });
});

describe('faults', () => {
  test('ten unclassified exceptions end a run as DEAD_LETTERED; nine do not', async () => {
    const { publish, completed } = await aBench();
    await publish('ten', JSON.stringify({ params: { throws: 10 }, retries: 3 }));
    await publish('nine', JSON.stringify({ params: { throws: 9 } }));
    expect(await completed('ten')).toMatchObject({ state: 'failed', diagnosis: { code: 'DEAD_LETTERED' } });
    expect(await completed('nine')).toMatchObject({ state: 'succeeded' });
  });

  test('a transient fault is no crash and never dead-letters a run', async () => {
    const { publish, completed } = await aBench();
    await publish('r1', JSON.stringify({ params: { throws: 40, throwsTransient: true } }));
    expect(await completed('r1')).toMatchObject({ state: 'succeeded', attempt: 1 });
  });
});

describe('a blocking run', () => {
  test('ends without a subscription, with the same verdict', async () => {
    const { publish, completed, broker } = await aBench();
    await publish('r1', JSON.stringify({ params: { blocking: true, loggingEveryMs: 50, runMs: 300 } }));
    await expect
      .poll(() => broker.runs.read({ tenant: 't', runId: 'r1' }))
      .toMatchObject({ value: { phase: 'Starting', pod: {} } });
    expect(await broker.subscriptions.read({ tenant: 't', runId: 'r1' })).toBeUndefined();
    expect(await completed('r1')).toMatchObject({ state: 'succeeded', attempt: 1 });
  });

  test('is ended by a cancel and by its execution time-out, and repeats by policy', async () => {
    const { publish, completed, ask, simulated, broker } = await aBench();
    const endless = { blocking: true, exits: [null] };
    await publish('cancelled', JSON.stringify({ params: endless }));
    await publish('slow', JSON.stringify({ params: endless, executionTimeoutSeconds: 0.3 }));
    await publish(
      'again',
      JSON.stringify({ params: { blocking: true, exits: [1, 0] }, retries: 1, retryDelaySeconds: 0 }),
    );
    await expect
      .poll(() => broker.runs.read({ tenant: 't', runId: 'cancelled' }))
      .toMatchObject({ value: { pod: {} } });
    await ask('cancel', { runId: 'cancelled' });
    expect(await completed('cancelled')).toMatchObject({ state: 'cancelled' });
    expect(await completed('slow')).toMatchObject({ state: 'failed', diagnosis: { code: 'EXECUTION_TIMEOUT' } });
    expect(await completed('again')).toMatchObject({ state: 'succeeded', attempt: 2 });
    await expect.poll(() => simulated.alive(broker.now())).toEqual([]);
  });
});

describe('hostile requests end as INVALID_REQUEST with their paths', () => {
  const deep = `${'{"params":{"a":'.repeat(1)}${'['.repeat(20_000)}${']'.repeat(20_000)}}}`;
  test.each<[name: string, data: string | Uint8Array, problem: object]>([
    ['no JSON', '{"params":', { path: '$' }],
    ['invalid UTF-8', Uint8Array.of(0x7b, 0xff, 0xfe, 0x7d), { path: '$' }],
    ['an empty message', '', { path: '$' }],
    ['a list', '[]', { path: '$' }],
    ['deep nesting', deep, { message: expect.stringContaining('nested') }],
    ['a prototype', '{"params":{"__proto__":{"x":1}}}', { path: 'params.__proto__' }],
    ['an unknown field', '{"retrys":1}', { path: 'retrys', message: 'unknown field; did you mean retries?' }],
    [
      'an unknown parameter',
      '{"params":{"run_ms":1}}',
      { path: 'params.run_ms', message: 'unknown field; did you mean runMs?' },
    ],
    ['a wrong type', '{"params":{"exits":"0"}}', { path: 'params.exits' }],
    [
      'an unknown operator',
      '{"operator":"pdo"}',
      { path: 'operator', message: expect.stringContaining('did you mean pod') },
    ],
    ['a kind of another queue', '{"operator":"command"}', { message: expect.stringContaining('executor') }],
    ['300 KiB', JSON.stringify({ annotations: { a: 'x'.repeat(300 * 1024) } }), { path: '$' }],
  ])('%s', async (_, data, problem) => {
    const { publish, completed } = await aBench();
    const runId = 'bad';
    await publish(runId, data);
    const { state, diagnosis } = await completed(runId);
    expect(state).toBe('failed');
    expect(diagnosis).toMatchObject({ code: 'INVALID_REQUEST', category: 'request' });
    expect(diagnosis?.problems).toContainEqual(expect.objectContaining(problem));
    // The same worker takes the next one.
    await publish('good', '{}');
    expect(await completed('good')).toMatchObject({ state: 'succeeded' });
  });

  test('a run with a token that is not canonical ends under that raw token', async () => {
    const { root } = await aBench();
    await using connection = await connectNats({ servers: server.url(), role: 'setup', name: 'raw' });
    const subject = `${root}.ev.t.a=2d.completed`;
    const received = connection.nc.subscribe(subject, { max: 1 });
    await connection.nc.flush();
    await connection.nc.jetstream().publish(`${root}.run.default.t.a=2d`, '{}');
    for await (const message of received) {
      expect(message.json()).toMatchObject({
        data: { runId: 'a=2d', state: 'failed', diagnosis: { code: 'INVALID_REQUEST' } },
      });
    }
  });
});

test('a service names the problem of a request that is nested too deeply', async () => {
  const { client } = await aBench();
  const deep: unknown = JSON.parse(`${'['.repeat(3_000)}${']'.repeat(3_000)}`);
  const problems = [{ message: expect.stringContaining('nested deeper') }];
  for (const verb of ['submit', 'render'] as const)
    expect(await client.request('t', verb, { request: { params: { a: deep } } }, 5_000)).toMatchObject({
      error: { code: 'INVALID_REQUEST', problems },
    });
});

describe('runs with names of any characters', () => {
  test.each([
    ['a line end', 'a\nb'],
    ['a carriage return', 'a\rb'],
    ['spaces at its ends', ' a '],
    ['other scripts', 'rün🎉'],
  ])('a run id with %s runs', async (_, runId) => {
    const { publish, completed } = await aBench();
    await publish(runId, '{}');
    expect(await completed(runId)).toMatchObject({ state: 'succeeded', runId });
  });

  test('runs of two tenants whose names join to the same text are two runs', async () => {
    const { broker, completed } = await aBench();
    const runs = [
      { tenant: 'a/b', runId: 'c' },
      { tenant: 'a', runId: 'b/c' },
    ];
    for (const [n, run] of runs.entries())
      await broker.publish.run(run, 'default', encoder.encode('{}'), `request ${String(n)}`);
    for (const run of runs)
      expect(await completed(run.runId, run.tenant)).toMatchObject({ ...run, state: 'succeeded' });
  });
});

describe('a creation whose response was lost', () => {
  test('counts: the run has its pod and cannot expire any more', async () => {
    const { publish, completed, simulated } = await aBench();
    // So many responses are lost that the run would expire meanwhile.
    await publish('r1', JSON.stringify({ params: { lostReplies: 40, runMs: 1_500 }, expireSeconds: 0.3 }));
    expect(await completed('r1')).toMatchObject({ state: 'succeeded', attempt: 1 });
    expect([...simulated.creations]).toEqual([['t/r1/1', 1]]);
  });

  test('is stopped by a cancel, which is published when the pod is gone', async () => {
    const { publish, completed, ask, broker, simulated } = await aBench();
    await publish('r1', JSON.stringify({ params: { lostReplies: 1, exits: [null] } }));
    await expect.poll(() => simulated.creations.size).toBe(1);
    expect(await ask('cancel', { runId: 'r1' })).toMatchObject({ ok: { cancelRequested: true } });
    expect(await completed('r1')).toMatchObject({ state: 'cancelled' });
    expect(simulated.alive(broker.now())).toEqual([]);
  });
});

describe('services', () => {
  test('submit answers with every problem, or accepts the run', async () => {
    const { ask, completed } = await aBench();
    expect(await ask('submit', { runId: 'r1', request: { retires: 1 } })).toMatchObject({
      error: {
        code: 'INVALID_REQUEST',
        problems: [{ path: 'retires', message: 'unknown field; did you mean retries?' }],
      },
    });
    expect(await ask('submit', { runId: 'r1', request: {} })).toEqual({
      ok: { runId: 'r1', queue: 'default', duplicate: false },
    });
    expect(await completed('r1')).toMatchObject({ state: 'succeeded' });
    expect(await ask('submit', { runId: 'r1', request: {} })).toMatchObject({ ok: { duplicate: true } });
    expect(await ask('submit', { runId: 'r1', request: { retries: 1 } })).toMatchObject({
      error: { code: 'RUN_ID_TAKEN' },
    });
  });

  test('submit reports a queue that does not exist', async () => {
    const { ask } = await aBench();
    expect(await ask('submit', { runId: 'r1', queue: 'missing', request: {} })).toMatchObject({
      error: { code: 'NOT_FOUND', message: expect.stringContaining('queue missing') },
    });
  });

  test('status, explain, list, result and cancel report runs that exist, and NOT_FOUND for others', async () => {
    const { ask, publish, completed } = await aBench();
    await publish('r1', '{}');
    await completed('r1');
    expect(await ask('status', { runId: 'r1' })).toMatchObject({
      ok: { phase: 'Succeeded', outcome: { state: 'succeeded' } },
    });
    expect(await ask('explain', { runId: 'r1' })).toMatchObject({ ok: { runId: 'r1', owner: 'w1', faults: 0 } });
    expect(await ask('list', { phase: 'Succeeded' })).toMatchObject({ ok: { runs: [{ runId: 'r1' }] } });
    expect(await ask('cancel', { runId: 'r1' })).toMatchObject({ ok: { phase: 'Succeeded', cancelRequested: false } });
    expect(await ask('render', { request: {} })).toMatchObject({ ok: { kind: 'Pod' } });
    expect(await ask('logs', { runId: 'r1' })).toMatchObject({ ok: { chunks: [] } });
    for (const verb of ['status', 'explain', 'result', 'cancel', 'logs'] as const)
      expect(await ask(verb, { runId: 'missing' })).toMatchObject({ error: { code: 'NOT_FOUND' } });
    expect(await ask('status', { runId: 7 })).toMatchObject({
      error: { code: 'INVALID_REQUEST', problems: [{ path: 'runId' }] },
    });
  });
});
