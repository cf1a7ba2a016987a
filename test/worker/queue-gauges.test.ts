import { Subject, count, firstValueFrom, lastValueFrom, take } from 'rxjs';
import { expect, onTestFinished, test } from 'vitest';
import { openBroker } from '../../src/nats/broker.ts';
import { connectNats } from '../../src/nats/connection.ts';
import { layoutFrom } from '../../src/nats/link.ts';
import { setup } from '../../src/nats/setup.ts';
import { SILENT_LOG } from '../../src/airflow/defaults.ts';
import { triggerer } from '../../src/roles/triggerer.ts';
import { worker } from '../../src/roles/worker.ts';
import type { Work } from '../../src/run.ts';
import { openTelemetry } from '../../src/telemetry.ts';
import { natsUserPermissions, permissionsOf } from '../../src/wire/permissions.ts';
import { queueGauges$ } from '../../src/worker/upkeep/queue-gauges.ts';
import { aNatsServer, anInstallation, sharedNatsServer } from '../support/nats-server.ts';
import { SimulatedPods, scriptedOperator, simulatedCluster } from '../support/simulated-pods.ts';
import { DEFAULTS } from '../support/defaults.ts';

const server = sharedNatsServer();
const POLL = { timeout: 30_000, interval: 20 };
const QUEUES = ['default', 'other'];

/** An installation, and workers that serve its queues and report their gauges. */
async function aBench() {
  const installation = await anInstallation(server.url(), { workerQueues: [...QUEUES, 'foreign'] });
  const broker = await installation.broker();
  const simulated = new SimulatedPods();
  const cluster = simulatedCluster(simulated, () => broker.now());
  const clusters = { names: ['sim'], get: () => cluster, [Symbol.asyncDispose]: () => Promise.resolve() };
  const ends: (() => Promise<unknown>)[] = [];
  const begin = (work$: Work) => {
    const stop$ = new Subject<void>();
    const done = lastValueFrom(work$(stop$), { defaultValue: undefined });
    const end = () => {
      stop$.next();
      return done;
    };
    ends.push(end);
    return end;
  };
  onTestFinished(async () => {
    await Promise.all(ends.map((end) => end()));
    await installation[Symbol.asyncDispose]();
  });
  let started = 0;
  /** `intake` and `start`: how much it takes at a time. */
  const startWorker = async (credits: { readonly intake?: number; readonly start?: number } = {}) => {
    const id = `w${(started += 1)}`;
    const telemetry = openTelemetry(SILENT_LOG);
    const own = await installation.broker('worker', id);
    const settings = {
      ...DEFAULTS.engine,
      credits: { ...DEFAULTS.engine.credits, ...credits },
      id,
      queues: QUEUES,
      installation: 'test',
      queueGaugesEveryMs: 50,
    };
    const operators = [scriptedOperator(simulated)];
    const end = begin(worker({ broker: own, clusters, operators, settings, log: SILENT_LOG, meter: telemetry.meter }));
    /** The worker's queue gauges: `queue why` → number. */
    const gauges = async () => {
      const lines = (await telemetry.text()).matchAll(/^reentry_queue_waiting\{queue="(\w+)",why="(\w+)"\} (\d+)$/gm);
      return Object.fromEntries([...lines].map(([, queue, why, count]) => [`${queue} ${why}`, Number(count)]));
    };
    return { gauges, end };
  };
  const startTriggerer = async () => {
    const id = `t${(started += 1)}`;
    const own = await installation.broker('triggerer', id);
    const settings = { ...DEFAULTS.triggerer, id, installation: 'test', defaultQueue: 'default' };
    const { meter } = openTelemetry(SILENT_LOG);
    return begin(triggerer({ broker: own, clusters, log: SILENT_LOG, meter, settings }));
  };
  const submit = async (count: number, queue: string, request: object = {}) => {
    for (let n = 0; n < count; n += 1) {
      const run = { tenant: 't', runId: `${queue}-${(started += 1)}` };
      await broker.publish.run(run, queue, new TextEncoder().encode(JSON.stringify(request)), run.runId);
    }
  };
  const pause = async (queue: string, paused: boolean) => {
    const present = await broker.gates.queue(queue);
    const record = paused ? { v: 1, paused, at: broker.now() } : undefined;
    expect(await broker.gates.setQueue(queue, record, present?.revision ?? 0)).toBe(true);
  };
  return { startWorker, startTriggerer, submit, pause };
}

test('a worker whose NATS user may not count continues, and logs that once for each queue', async () => {
  const layout = layoutFrom({});
  const { publish, ...rest } = permissionsOf(['worker'], layout, { queues: QUEUES });
  const older = publish.filter((subject) => !/^\$JS\.API\.CONSUMER\.INFO\.REENTRY_(RUNS|STEPS)\./.test(subject));
  expect(older.length).toBeLessThan(publish.length);
  const users = [
    { user: 'god', password: 'god' },
    { user: 'old', password: 'old', permissions: natsUserPermissions({ publish: older, ...rest }) },
  ];
  await using limited = await aNatsServer({ config: `authorization { users: ${JSON.stringify(users)} }` });
  const as = (user: string) => ({ servers: limited.url, user, pass: user, name: user, role: 'worker' as const });
  {
    await using connection = await connectNats(as('god'));
    await setup(connection.nc, layout, { ...DEFAULTS.streams, workerQueues: QUEUES, storageBytes: 512 * 1024 ** 2 });
  }
  await using broker = await openBroker(as('old'));
  const warned: string[] = [];
  const log = { ...SILENT_LOG, warn: (fields: object) => void warned.push(JSON.stringify(fields)) };
  const looks$ = new Subject<void>();
  const meter = {
    count: () => undefined,
    gauge: () => {
      looks$.next();
    },
    observeSeconds: () => undefined,
  };
  const looked = firstValueFrom(looks$.pipe(take(8 * 5), count()), { defaultValue: 0 });
  const asking = queueGauges$({ broker, log, meter }, QUEUES, 20).subscribe();
  await looked;
  asking.unsubscribe();
  expect(warned.sort()).toEqual(QUEUES.map((queue) => JSON.stringify({ queue })));
});

/** The gauges when nothing else waits. */
const only = (waiting: Readonly<Record<string, number>>, whys = ['worker', 'turn', 'key', 'paused']) => ({
  ...Object.fromEntries(QUEUES.flatMap((queue) => whys.map((why) => [`${queue} ${why}`, 0]))),
  ...waiting,
});

test('requests that no worker takes are reported, the same by every worker of the queue, until one takes them', async () => {
  const { startWorker, startTriggerer, submit } = await aBench();
  await startTriggerer();
  const workers = [await startWorker({ intake: 0 }), await startWorker({ intake: 0 })];
  await submit(7, 'default');
  await submit(2, 'other');
  // They report no queue that they do not serve.
  await submit(4, 'foreign');
  for (const { gauges } of workers)
    await expect.poll(gauges, POLL).toEqual(only({ 'default worker': 7, 'other worker': 2 }));
  workers.push(await startWorker());
  for (const { gauges } of workers) await expect.poll(gauges, POLL).toEqual(only({}));
});

test('starts that a busy worker has not taken count as waiting, those that it holds do not', async () => {
  const { startWorker, startTriggerer, submit } = await aBench();
  await startTriggerer();
  const { gauges } = await startWorker({ start: 1 });
  await submit(6, 'default', { params: { blocking: true, exits: [null] } });
  await expect.poll(gauges, POLL).toEqual(only({ 'default worker': 5 }));
});

test('runs of a paused queue, and of a concurrency key without a slot, are counted apart from what a further worker would take', async () => {
  const { startWorker, startTriggerer, submit, pause } = await aBench();
  await startTriggerer();
  const { gauges } = await startWorker();
  await pause('default', true);
  await submit(5, 'default');
  await submit(4, 'other', { concurrencyKey: 'db', params: { exits: [null] } });
  await expect.poll(gauges, POLL).toEqual(only({ 'default paused': 5, 'other key': 3 }));
  await pause('default', false);
  await expect.poll(gauges, POLL).toEqual(only({ 'other key': 3 }));
});

test('what is unknown is left out: gates without a triggerer, everything once the worker stops', async () => {
  const { startWorker, startTriggerer, submit } = await aBench();
  const endTriggerer = await startTriggerer();
  const { gauges, end } = await startWorker({ intake: 0 });
  await submit(3, 'default');
  await expect.poll(gauges, POLL).toEqual(only({ 'default worker': 3 }));
  await endTriggerer();
  await expect.poll(gauges, POLL).toEqual(only({ 'default worker': 3 }, ['worker']));
  await end();
  expect(await gauges()).toEqual({});
});
