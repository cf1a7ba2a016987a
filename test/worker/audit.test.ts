import { Subject, lastValueFrom } from 'rxjs';
import { expect, onTestFinished, test } from 'vitest';
import { z } from 'zod';
import { worker } from '../../src/roles/worker.ts';
import { openLog } from '../../src/telemetry.ts';
import { levelTriggers } from '../support/level-triggers.ts';
import { anInstallation, sharedNatsServer } from '../support/nats-server.ts';
import { SimulatedPods, scriptedOperator, simulatedCluster } from '../support/simulated-pods.ts';
import { DEFAULTS } from '../support/defaults.ts';

const server = sharedNatsServer();
const lineSchema = z.looseObject({ msg: z.string(), audit: z.string().optional(), runId: z.string().optional() });

test('every submit, retry and cancel is logged with tenant, verb, time and outcome, and without a value of the request', async () => {
  const installation = await anInstallation(server.url(), { workerQueues: ['default'] });
  const broker = await installation.broker();
  const client = await installation.client('sales');
  const simulated = new SimulatedPods();
  const cluster = simulatedCluster(simulated, () => broker.now());
  const written: string[] = [];
  const log = openLog({ logLevel: 'info', logFormat: 'json' }, 'worker', { write: (line) => void written.push(line) });
  const stop$ = new Subject<void>();
  const work$ = worker({
    broker,
    clusters: { names: ['sim'], get: () => cluster, [Symbol.asyncDispose]: () => Promise.resolve() },
    operators: [scriptedOperator(simulated)],
    settings: { ...DEFAULTS.engine, id: 'w1', queues: ['default'], installation: 'test' },
    log,
    meter: { count: () => undefined, gauge: () => undefined, observeSeconds: () => undefined },
  });
  const work = lastValueFrom(work$(stop$), { defaultValue: undefined });
  const triggers = levelTriggers(broker, simulated, { everyMs: 20, refireMs: 1_000 });
  onTestFinished(async () => {
    triggers[Symbol.dispose]();
    stop$.next();
    await work;
    await installation[Symbol.asyncDispose]();
  });
  const ask = (verb: 'submit' | 'cancel' | 'retry' | 'list', payload: unknown) =>
    client.request('sales', verb, payload, 5_000);
  await expect.poll(() => ask('list', {}).catch(() => undefined)).toHaveProperty('ok');
  const lines = (runId: string) =>
    written
      .map((line) => lineSchema.parse(JSON.parse(line)))
      .filter((line) => line.audit !== undefined && line.runId === runId)
      .map(({ audit, via, outcome, tenant, ...rest }) => ({
        line: `${String(tenant)} ${audit ?? ''} ${String(via)} ${String(outcome)}`,
        ...rest,
      }));

  const forever = { params: { exits: [null] }, annotations: { password: 'hunter2' } };
  await ask('submit', { runId: 'r', request: forever });
  await expect
    .poll(() => lines('r').map(({ line }) => line))
    .toEqual(['sales submit service asked', 'sales submit subject accepted']);
  await ask('submit', { runId: 'r', request: forever });
  await ask('submit', { runId: 'dry', request: forever, dryRun: true });
  await ask('cancel', { runId: 'r', reason: 'wrong day' });
  await ask('cancel', { runId: 'missing' });
  await client.publishRun('default', { tenant: 'sales', runId: 'bad' }, new TextEncoder().encode('{"retrys": 1}'));
  await expect
    .poll(() => lines('r').map(({ line }) => line))
    .toEqual([
      'sales submit service asked',
      'sales submit subject accepted',
      'sales submit service duplicate',
      'sales cancel service asked',
      'sales cancel subject stopping',
    ]);
  expect(lines('r').at(-1)).toMatchObject({
    reason: 'wrong day',
    queue: 'default',
    role: 'worker',
    time: expect.any(Number),
  });
  expect(lines('missing')).toMatchObject([{ line: 'sales cancel service NOT_FOUND' }]);
  expect(lines('dry')).toEqual([]);
  await expect.poll(() => lines('bad')).toMatchObject([{ line: 'sales submit subject refused', problems: ['retrys'] }]);
  expect(written.join('')).not.toContain('hunter2');

  // A line is short, however long the refused request is; so is the answer.
  const before = written.length;
  const huge = 'x'.repeat(250_000);
  const answers = [
    await ask('cancel', { runId: huge, reason: huge }),
    await ask('cancel', { runId: huge }),
    await ask('submit', { runId: huge, queue: huge, request: {} }),
    await ask('submit', { request: { [huge]: 1 } }),
  ];
  await client.publishRun('default', { tenant: 'sales', runId: 'long' }, new TextEncoder().encode(`{"${huge}": 1}`));
  await expect.poll(() => lines('long')).toMatchObject([{ line: 'sales submit subject refused' }]);
  expect(written.slice(before).filter((line) => line.includes('"audit"')).length).toBeGreaterThanOrEqual(5);
  for (const text of [...written, ...answers.map((one) => JSON.stringify(one))])
    expect(text.length).toBeLessThan(6_000);
  const stored = await broker.runs.read({ tenant: 'sales', runId: 'long' }, { leader: true });
  expect(JSON.stringify(stored?.value).length).toBeLessThan(6_000);
});
