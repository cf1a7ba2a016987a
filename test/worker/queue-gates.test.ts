import { Subject, lastValueFrom } from 'rxjs';
import { expect, onTestFinished, test } from 'vitest';
import type { Log, Meter } from '../../src/ports/ambient.ts';
import type { Broker } from '../../src/ports/broker.ts';
import { triggerer } from '../../src/roles/triggerer.ts';
import { worker } from '../../src/roles/worker.ts';
import type { Work } from '../../src/run.ts';
import type { Verb } from '../../src/wire/subjects.ts';
import { anInstallation, sharedNatsServer } from '../support/nats-server.ts';
import { SimulatedPods, scriptedOperator, simulatedCluster } from '../support/simulated-pods.ts';
import { runReentry, startReentry } from '../support/processes.ts';
import { DEFAULTS } from '../support/defaults.ts';

const server = sharedNatsServer();
const nothing = (): void => undefined;
const log: Log = { debug: nothing, info: nothing, warn: nothing, error: nothing, child: () => log };
const meter: Meter = { count: nothing, gauge: nothing, observeSeconds: nothing };
const POLL = { timeout: 30_000, interval: 20 };

/** Worker and triggerer on a new installation, with simulated pods. */
async function aBench(settings: { readonly start?: number; readonly limits?: Readonly<Record<string, number>> } = {}) {
  const installation = await anInstallation(server.url(), { workerQueues: ['default', 'other'] });
  const broker = await installation.broker();
  const simulated = new SimulatedPods();
  const cluster = simulatedCluster(simulated, () => broker.now());
  const clusters = { names: ['sim'], get: () => cluster, [Symbol.asyncDispose]: () => Promise.resolve() };
  const ends: (() => Promise<void>)[] = [];
  const begin = (work$: Work) => {
    const stop$ = new Subject<void>();
    const done = lastValueFrom(work$(stop$), { defaultValue: undefined });
    let ended = false;
    const end = async () => {
      if (ended) return;
      ended = true;
      stop$.next();
      await done;
    };
    ends.push(end);
    return end;
  };
  let started = 0;
  const startWorker = async () => {
    started += 1;
    const id = `w${started}`;
    return begin(
      worker({
        broker: await installation.broker('worker', id),
        clusters,
        operators: [scriptedOperator(simulated)],
        settings: {
          ...DEFAULTS.engine,
          ...{ id, queues: ['default', 'other'], installation: 'test', concurrencyLimits: settings.limits ?? {} },
          credits: { ...DEFAULTS.engine.credits, start: settings.start ?? 64 },
        },
        log,
        meter,
      }),
    );
  };
  const startTriggerer = async () => {
    started += 1;
    const id = `t${started}`;
    const own = await installation.broker('triggerer', id);
    return begin(
      triggerer({
        ...{ broker: own, clusters, log, meter },
        settings: { ...DEFAULTS.triggerer, id, installation: 'test', defaultQueue: 'default' },
      }),
    );
  };
  const ask = async (tenant: string, verb: Verb, payload: unknown) => {
    const client = await installation.client(tenant);
    return client.request(tenant, verb, payload, 5_000);
  };
  onTestFinished(async () => {
    await Promise.all(ends.map((end) => end()));
    await installation[Symbol.asyncDispose]();
  });
  const submit = (tenant: string, runId: string, request: object = {}, queue = 'default') =>
    broker.publish.run(
      { tenant, runId },
      queue,
      new TextEncoder().encode(JSON.stringify(request)),
      `${tenant}/${runId}`,
    );
  const phase = async (tenant: string, runId: string) => (await broker.runs.read({ tenant, runId }))?.value.phase;
  const env = {
    REENTRY_NATS_URL: server.url(),
    REENTRY_SUBJECT_ROOT: installation.options.root ?? '',
    REENTRY_ASSET_PREFIX: installation.options.assetPrefix ?? '',
    REENTRY_TENANT: 't',
  };
  const cli = (...args: readonly string[]) => runReentry(args, env);
  const pause = (queue: string, paused: boolean) => setPaused(broker, queue, paused);
  const endWorker = await startWorker();
  const endTriggerer = await startTriggerer();
  await expect.poll(() => broker.queries.queues(), POLL).toBeDefined();
  return {
    broker,
    simulated,
    submit,
    phase,
    cli,
    env,
    pause,
    ask,
    startWorker,
    startTriggerer,
    endWorker,
    endTriggerer,
  };
}

async function setPaused(broker: Broker, queue: string, paused: boolean) {
  const present = await broker.gates.queue(queue);
  const record = paused ? { v: 1, paused, at: broker.now() } : undefined;
  expect(await broker.gates.setQueue(queue, record, present?.revision ?? 0)).toBe(true);
}

test('a paused queue accepts requests and starts none, across restarts; running ones and other queues continue', async () => {
  const bench = await aBench();
  const { submit, phase, cli, broker, ask, simulated } = bench;
  await submit('t', 'running', { params: { runMs: 1_500 } });
  await expect.poll(() => phase('t', 'running'), POLL).toBe('Deferred');
  expect(await cli('queue', 'pause', 'default', '--reason', 'new nodes')).toMatchObject({ code: 0 });
  await submit('t', 'first');
  await expect
    .poll(async () => (await broker.subscriptions.read({ tenant: 't', runId: 'first' }))?.value.await.gate?.why, POLL)
    .toBe('paused');
  await submit('t', 'second');
  await expect.poll(async () => (await broker.queries.queues())?.[0]?.waiting, POLL).toBe(2);

  expect(await ask('t', 'status', { runId: 'second' })).toMatchObject({
    ok: {
      phase: 'Queued',
      queuePosition: { position: 2, of: 2, why: 'paused' },
      waitingFor: 'queue default to be resumed (2 of 2)',
      blocked: { code: 'QUEUE_PAUSED', summary: 'Queue default is paused: new nodes (2 of 2)' },
    },
  });
  expect((await cli('explain', 'first')).stdout).toContain('new nodes');
  expect(await cli('queue', 'pause', 'default', '--reason', 'older nodes')).toMatchObject({
    stdout: 'default: was already paused, with another reason\n',
  });
  const listed: unknown = JSON.parse((await cli('queue', 'list', '--json')).stdout);
  expect(listed).toMatchObject({
    queues: expect.arrayContaining([
      expect.objectContaining({ queue: 'default', paused: true, reason: 'older nodes', waiting: 2 }),
      expect.objectContaining({ queue: 'other', paused: false, kind: 'worker' }),
    ]),
  });
  await submit('t', 'elsewhere', {}, 'other');
  await expect.poll(() => phase('t', 'elsewhere'), POLL).toBe('Succeeded');
  await expect.poll(() => phase('t', 'running'), POLL).toBe('Succeeded');

  await bench.endWorker();
  await bench.endTriggerer();
  await bench.startWorker();
  await bench.startTriggerer();
  await expect
    .poll(async () => (await broker.queries.queuePosition({ tenant: 't', runId: 'first' }))?.why, POLL)
    .toBe('paused');
  expect([...simulated.creations.keys()]).not.toContain('t/first/1');
  expect(await cli('queue', 'resume', 'default')).toMatchObject({ code: 0, stdout: 'default: open\n' });
  for (const runId of ['first', 'second']) await expect.poll(() => phase('t', runId), POLL).toBe('Succeeded');
  expect((await cli('queue', 'resume', 'default')).stdout).toContain('already');
  expect(await cli('queue', 'pause', 'defualt')).toMatchObject({ code: 2 });
});

test('drain waits until nothing runs, reports its progress, and leaves the queue paused', async () => {
  const { submit, phase, cli, broker, ask, env } = await aBench();
  await submit('t', 'long', { params: { exits: [null] } });
  await expect.poll(() => phase('t', 'long'), POLL).toBe('Deferred');
  const late = await cli('queue', 'drain', 'default', '--timeout', '0.1', '--json');
  expect(late.code).toBe(1);
  expect(JSON.parse(late.stdout)).toMatchObject({ drained: false, running: 1 });
  await submit('t', 'waits');
  await using drain = startReentry(['queue', 'drain', 'default', '--json'], env);
  await expect.poll(drain.stderr, POLL).toContain('"running":1');
  expect(drain.stdout()).toBe('');
  await ask('t', 'cancel', { runId: 'long' });
  expect(await drain.ended).toBe(0);
  expect(JSON.parse(drain.stdout())).toMatchObject({ drained: true, running: 0, waiting: 1 });
  expect(await phase('t', 'long')).toBe('Cancelled');
  expect((await broker.gates.queue('default'))?.value.paused).toBe(true);
  expect(await phase('t', 'waits')).toBe('Queued');
});

test('a queued run can be cancelled and can expire while its queue is paused', async () => {
  const { submit, phase, pause, ask } = await aBench();
  await pause('default', true);
  await submit('t', 'unwanted', { concurrencyKey: 'k' });
  await submit('t', 'expiring', { expireSeconds: 1 });
  await expect.poll(() => phase('t', 'unwanted'), POLL).toBe('Queued');
  await ask('t', 'cancel', { runId: 'unwanted' });
  await expect.poll(() => phase('t', 'unwanted'), POLL).toBe('Cancelled');
  await expect.poll(() => phase('t', 'expiring'), POLL).toBe('Failed');
});

test('runs with the same key run one at a time, or as many as the limit allows, and release their slots', async () => {
  const { submit, phase, broker, simulated, ask } = await aBench({ limits: { wide: 2 } });
  const runs = Array.from({ length: 6 }, (_, n) => `k${n}`);
  for (const runId of runs)
    await submit('t', runId, {
      params: { runMs: 150, exits: [1, 0] },
      retries: 1,
      retryDelaySeconds: 0.05,
      concurrencyKey: 'one',
    });
  const wide = ['x1', 'x2', 'x3'];
  // They run until they are cancelled.
  for (const runId of wide) await submit('t', runId, { params: { runMs: 600_000 }, concurrencyKey: 'wide' });
  await submit('u', 'k0', { params: { runMs: 100 }, concurrencyKey: 'one' });

  const widest: number[] = [];
  await expect
    .poll(async () => {
      widest.push((await broker.gates.concurrencySlots('t', 'wide'))?.value.holders.length ?? 0);
      return Math.max(...widest);
    }, POLL)
    .toBe(2);
  const codes = async () => {
    const answers = await Promise.all(wide.map((runId) => ask('t', 'explain', { runId })));
    return JSON.stringify(answers);
  };
  await expect.poll(codes, POLL).toContain('CONCURRENCY_LIMIT');
  await expect.poll(codes, POLL).toMatch(/"summary":"All concurrency slots of key wide are taken: position \d of \d"/);

  for (const runId of wide) await ask('t', 'cancel', { runId });
  for (const runId of wide) await expect.poll(() => phase('t', runId), POLL).toBe('Cancelled');
  for (const runId of runs) await expect.poll(() => phase('t', runId), POLL).toBe('Succeeded');
  await expect.poll(() => phase('u', 'k0'), POLL).toBe('Succeeded');
  expect(simulated.keyShared.filter((shared) => shared.startsWith('one') && !shared.includes('u/'))).toEqual([]);
  await expect.poll(() => broker.gates.concurrencySlots('t', 'one'), POLL).toBeUndefined();
  await expect.poll(() => broker.gates.concurrencySlots('t', 'wide'), POLL).toBeUndefined();
});

test('a slot whose run ended without freeing it is freed', async () => {
  const { submit, phase, broker } = await aBench();
  await broker.gates.setConcurrencySlots('t', 'lost', { v: 1, limit: 1, holders: ['missing'] }, 0);
  await submit('t', 'next', { concurrencyKey: 'lost' });
  await expect.poll(() => phase('t', 'next'), POLL).toBe('Succeeded');
});

test("a tenant's many runs do not delay another's single run, and urgent runs precede the tenant's own others", async () => {
  const flood = 400;
  const { submit, phase, broker, simulated, pause } = await aBench({ start: 8 });
  await pause('default', true);
  await Promise.all(Array.from({ length: flood }, (_, n) => submit('a', `a${n}`, { params: { runMs: 1 } })));
  await expect.poll(async () => (await broker.queries.queues())?.[0]?.waiting, POLL).toBe(flood);
  await submit('a', 'urgent', { priority: 'high' });
  await submit('b', 'only', { priority: 'low' });
  await expect.poll(async () => (await broker.queries.queues())?.[0]?.waiting, POLL).toBe(flood + 2);
  const place = (tenant: string, runId: string) => broker.queries.queuePosition({ tenant, runId });
  await expect.poll(() => place('b', 'only'), POLL).toMatchObject({ position: 2, of: flood + 2 });
  // Repeated if no triggerer answered in time.
  await expect.poll(() => place('a', 'urgent'), POLL).toMatchObject({ position: 1 });
  await pause('default', false);
  await expect.poll(() => phase('b', 'only'), POLL).toBe('Succeeded');
  const order = [...simulated.creations.keys()];
  expect(order.indexOf('a/urgent/1')).toBeLessThan(64);
  expect(order.indexOf('b/only/1')).toBeLessThan(64);
  await expect
    .poll(async () => (await broker.queries.queues())?.[0], { timeout: 50_000, interval: 200 })
    .toMatchObject({ waiting: 0, running: 0 });
  expect(simulated.creations.size).toBe(flood + 2);
});
