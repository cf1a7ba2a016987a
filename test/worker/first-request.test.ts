/** Several requests under one run id: the first in the stream creates the run, regardless of the others' content and of the order in which workers accept them. */
import { Subject, lastValueFrom, merge } from 'rxjs';
import { expect, onTestFinished, test } from 'vitest';
import { SILENT_LOG } from '../../src/airflow/defaults.ts';
import { connectNats } from '../../src/nats/connection.ts';
import { layoutFrom } from '../../src/nats/link.ts';
import type { Broker } from '../../src/ports/broker.ts';
import { worker } from '../../src/roles/worker.ts';
import { completedDataSchema } from '../../src/wire/events.ts';
import { DEFAULTS } from '../support/defaults.ts';
import { levelTriggers } from '../support/level-triggers.ts';
import { anInstallation, sharedNatsServer } from '../support/nats-server.ts';
import { scriptedOperator, simulatedCluster, SimulatedPods } from '../support/simulated-pods.ts';

const server = sharedNatsServer();
const bytes = (request: unknown) => new TextEncoder().encode(JSON.stringify(request));
const GOOD = { params: { runMs: 50 } };
const OTHER = { params: { runMs: 50, exits: [9] } };
const NONSENSE = { retires: 'many' };

/** An installation with two queues, without workers until they are started. */
async function anInbox() {
  const queues = ['default', 'gpu'];
  const installation = await anInstallation(server.url(), { workerQueues: queues });
  onTestFinished(() => installation[Symbol.asyncDispose]());
  const client = await installation.client('t');
  const brokers: Broker[] = [];
  const simulated = new SimulatedPods();
  /** Starts three workers and their triggers. */
  const startWorkers = async () => {
    const stop$ = new Subject<void>();
    for (let n = 0; n < 3; n += 1) brokers.push(await installation.broker());
    const works = brokers.map((broker, n) => {
      const cluster = simulatedCluster(simulated, () => broker.now());
      const clusters = { names: ['sim'], get: () => cluster, [Symbol.asyncDispose]: () => Promise.resolve() };
      const settings = { ...DEFAULTS.engine, id: `w${String(n)}`, queues, installation: 'test' };
      const operators = [scriptedOperator(simulated)];
      const meter = { count: () => undefined, gauge: () => undefined, observeSeconds: () => undefined };
      return worker({ broker, clusters, operators, settings, log: SILENT_LOG, meter })(stop$);
    });
    const work = lastValueFrom(merge(...works), { defaultValue: undefined });
    const triggers = brokers
      .slice(0, 1)
      .map((broker) => levelTriggers(broker, simulated, { everyMs: 20, refireMs: 1_000 }));
    onTestFinished(async () => {
      for (const one of triggers) one[Symbol.dispose]();
      stop$.next();
      await work;
    });
  };
  const publish = (runId: string, request: unknown, queue = 'default') =>
    client.publishRun(queue, { tenant: 't', runId }, bytes(request));
  const submit = (runId: string, request: unknown, queue = 'default') =>
    client.request('t', 'submit', { runId, queue, request }, 15_000);
  /** How the run ended: its state, and the exit code or the diagnosis code. */
  const ended = async (runId: string) => {
    const end = await client.lastEvent({ tenant: 't', runId }, 'completed');
    if (end === undefined) return undefined;
    const { state, exitCode, diagnosis } = completedDataSchema.parse(end.data);
    return `${state} ${exitCode === undefined ? String(diagnosis?.code) : String(exitCode)}`;
  };
  const allEnded = async (ids: readonly string[]) => {
    await expect
      .poll(async () => (await Promise.all(ids.map(ended))).filter((one) => one === undefined), { timeout: 60_000 })
      .toEqual([]);
    return Promise.all(ids.map(ended));
  };
  /** Every request was settled: none is left in the stream. */
  const settled = async () => {
    await using raw = await connectNats({ ...installation.options, role: 'setup', name: 'raw' });
    const jsm = await raw.nc.jetstreamManager();
    const { assets } = layoutFrom(installation.options);
    const left = async () => (await jsm.streams.info(assets.runs)).state.messages;
    await expect.poll(left, { timeout: 30_000 }).toBe(0);
  };
  return { installation, client, simulated, startWorkers, publish, submit, ended, allEnded, settled };
}

const ids = (count: number) => Array.from({ length: count }, (_, n) => `r${String(n)}`);

test.each([
  { second: 'nonsense', body: NONSENSE },
  { second: 'another body', body: OTHER },
])('the first wins over $second that was published while no worker ran', async ({ body }) => {
  const { startWorkers, publish, allEnded, settled, simulated } = await anInbox();
  const runs = ids(60);
  await Promise.all(runs.map((runId) => publish(runId, GOOD)));
  await Promise.all(runs.map((runId) => publish(runId, body)));
  await startWorkers();
  expect(await allEnded(runs)).toEqual(runs.map(() => 'succeeded 0'));
  await settled();
  expect([...simulated.creations.values()]).toEqual(runs.map(() => 1));
});

test('an invalid first request wins, too', async () => {
  const { startWorkers, publish, submit, allEnded, settled } = await anInbox();
  const runs = ids(30);
  await Promise.all(runs.map((runId) => publish(runId, NONSENSE)));
  await Promise.all(runs.map((runId) => publish(runId, GOOD)));
  await startWorkers();
  expect(await allEnded(runs)).toEqual(runs.map(() => 'failed INVALID_REQUEST'));
  await settled();
  expect(await submit('r0', GOOD)).toMatchObject({ error: { code: 'RUN_ID_TAKEN' } });
});

test('of a hundred shuffled requests under one id the first in the stream wins', async () => {
  const { client, startWorkers, publish, allEnded, settled, simulated } = await anInbox();
  const runs = ids(8);
  const bodies = Array.from({ length: 100 }, (_, n) =>
    n % 7 === 0 ? NONSENSE : { params: { runMs: 20, exits: [n] } },
  );
  // Each id has a different first request; the others are published in any order.
  const first = (n: number) => ({ params: { runMs: 20, exits: [100 + n] } });
  await Promise.all(runs.map((runId, n) => publish(runId, first(n))));
  await Promise.all(runs.flatMap((runId) => bodies.map((body) => publish(runId, body))));
  await startWorkers();
  expect(await allEnded(runs)).toEqual(runs.map((_, n) => `failed ${String(100 + n)}`));
  await settled();
  expect([...simulated.creations.values()]).toEqual(runs.map(() => 1));
  expect(await client.lastEvent({ tenant: 't', runId: 'r0' }, 'accepted')).toBeDefined();
});

test('a second request on another queue changes nothing, either', async () => {
  const { startWorkers, publish, allEnded, settled } = await anInbox();
  const runs = ids(30);
  await Promise.all(runs.map((runId) => publish(runId, GOOD, 'gpu')));
  await Promise.all(runs.map((runId) => publish(runId, OTHER, 'default')));
  await startWorkers();
  expect(await allEnded(runs)).toEqual(runs.map(() => 'succeeded 0'));
  await settled();
});

test('while workers run, a plain second changes nothing and a submitted one is refused', async () => {
  const { startWorkers, publish, submit, allEnded, settled } = await anInbox();
  await startWorkers();
  await expect.poll(() => submit('probe', GOOD).catch(() => undefined), { timeout: 10_000 }).toHaveProperty('ok');
  const runs = ids(60);
  const answers = await Promise.all(
    runs.map(async (runId, n) => {
      await publish(runId, GOOD);
      if (n % 2 === 0) return publish(runId, NONSENSE).then(() => undefined);
      return submit(runId, OTHER);
    }),
  );
  for (const answer of answers.filter((one) => one !== undefined))
    expect(answer).toMatchObject({ error: { code: 'RUN_ID_TAKEN' } });
  expect(await allEnded(runs)).toEqual(runs.map(() => 'succeeded 0'));
  await settled();
});

test('of requests submitted at once under one id exactly one body wins, and only its clients get a receipt', async () => {
  const { startWorkers, publish, submit, allEnded, settled } = await anInbox();
  await startWorkers();
  await expect.poll(() => submit('probe', GOOD).catch(() => undefined), { timeout: 10_000 }).toHaveProperty('ok');
  const runs = ids(20);
  const exits = [1, 2, 3, 4];
  const answers = await Promise.all(
    runs.map((runId) =>
      Promise.all([
        publish(runId, { params: { runMs: 20, exits: [5] } }).then(() => undefined),
        ...exits.map((exit) => submit(runId, { params: { runMs: 20, exits: [exit] } })),
      ]),
    ),
  );
  const ends = await allEnded(runs);
  for (const [n, [, ...replies]] of answers.entries()) {
    const receipts = exits.filter((_, m) => replies[m] !== undefined && 'ok' in replies[m]);
    expect(receipts.map((exit) => `failed ${String(exit)}`)).toEqual(ends[n] === 'failed 5' ? [] : [ends[n]]);
    for (const reply of replies) if ('error' in reply) expect(reply).toMatchObject({ error: { code: 'RUN_ID_TAKEN' } });
  }
  await settled();
});
