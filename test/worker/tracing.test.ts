import { once } from 'node:events';
import { createServer } from 'node:http';
import { Subject, lastValueFrom } from 'rxjs';
import { expect, onTestFinished, test } from 'vitest';
import { z } from 'zod';
import type { Log, Meter } from '../../src/ports/ambient.ts';
import { worker } from '../../src/roles/worker.ts';
import { openTracer } from '../../src/tracing.ts';
import { levelTriggers } from '../support/level-triggers.ts';
import { anInstallation, sharedNatsServer } from '../support/nats-server.ts';
import { SimulatedPods, scriptedOperator, simulatedCluster } from '../support/simulated-pods.ts';
import { DEFAULTS } from '../support/defaults.ts';

const server = sharedNatsServer();
const nothing = (): void => undefined;
const log: Log = { debug: nothing, info: nothing, warn: nothing, error: nothing, child: () => log };
const meter: Meter = { count: nothing, gauge: nothing, observeSeconds: nothing };
const POLL = { timeout: 20_000, interval: 50 };

const attribute = z.object({ key: z.string(), value: z.record(z.string(), z.unknown()) });
const bodySchema = z.object({
  resourceSpans: z.array(
    z.object({
      resource: z.object({ attributes: z.array(attribute) }),
      scopeSpans: z.array(
        z.object({
          spans: z.array(
            z.object({
              name: z.string(),
              traceId: z.string(),
              spanId: z.string(),
              parentSpanId: z.string().optional(),
              startTimeUnixNano: z.string(),
              endTimeUnixNano: z.string(),
              attributes: z.array(attribute),
            }),
          ),
        }),
      ),
    }),
  ),
});

/** A collector of OTLP over HTTP, and what it has received. */
async function aCollector() {
  const spans: {
    name: string;
    traceId: string;
    spanId: string;
    parentSpanId: string;
    process: string;
    runMs: number;
    text: string;
  }[] = [];
  const collector = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (chunk: string) => (body += chunk));
    request.on('end', () => {
      expect(request.url).toBe('/v1/traces');
      for (const { resource, scopeSpans } of bodySchema.parse(JSON.parse(body)).resourceSpans) {
        const id = resource.attributes.find(({ key }) => key === 'service.instance.id')?.value['stringValue'];
        for (const {
          name,
          traceId,
          spanId,
          parentSpanId = '',
          startTimeUnixNano,
          endTimeUnixNano,
          attributes,
        } of scopeSpans.flatMap((scope) => scope.spans)) {
          const runMs = Number((BigInt(endTimeUnixNano) - BigInt(startTimeUnixNano)) / 1_000_000n);
          spans.push({
            name,
            traceId,
            spanId,
            parentSpanId,
            process: String(id),
            runMs,
            text: JSON.stringify(attributes),
          });
        }
      }
      response.setHeader('content-type', 'application/json').end('{}');
    });
  });
  collector.listen(0, '127.0.0.1');
  await once(collector, 'listening');
  const address = collector.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  onTestFinished(async () => {
    collector.closeAllConnections();
    collector.close();
    await once(collector, 'close');
  });
  return { spans, endpoint: `http://127.0.0.1:${String(port)}` };
}

test('a run has one trace across processes and a restart, from its client’s traceparent', async () => {
  const { spans, endpoint } = await aCollector();
  const installation = await anInstallation(server.url(), { workerQueues: ['default'] });
  const simulated = new SimulatedPods();
  const broker = await installation.broker();
  const cluster = simulatedCluster(simulated, () => broker.now());
  const clusters = { names: ['sim'], get: () => cluster, [Symbol.asyncDispose]: () => Promise.resolve() };
  const begin = async (id: string) => {
    const stop$ = new Subject<void>();
    const tracer = openTracer({ endpoint, role: 'worker', id });
    const work$ = worker({
      ...{
        broker: await installation.broker('worker', id),
        clusters,
        operators: [scriptedOperator(simulated)],
        log,
        meter,
        tracer,
      },
      settings: { ...DEFAULTS.engine, id, queues: ['default'], installation: 'test' },
    });
    const work = lastValueFrom(work$(stop$), { defaultValue: undefined });
    return async () => {
      stop$.next();
      await work;
      await tracer[Symbol.asyncDispose]();
    };
  };
  onTestFinished(() => installation[Symbol.asyncDispose]());
  const endFirst = await begin('first');
  const client = await installation.client('t');
  const ask = (payload: unknown) => client.request('t', 'submit', payload, 5_000);
  const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
  const traceparent = `00-${traceId}-00f067aa0ba902b7-01`;
  const request = { params: { runMs: 300 }, traceparent, annotations: { secret: 'hunter2' } };
  await expect.poll(() => ask({ runId: 'r', request }).catch(() => undefined), POLL).toHaveProperty('ok');
  const state = async () => (await broker.runs.read({ tenant: 't', runId: 'r' }))?.value;
  await expect.poll(async () => (await state())?.phase, POLL).toBe('Deferred');
  await endFirst();

  const endSecond = await begin('second');
  const triggers = levelTriggers(broker, simulated, { everyMs: 20, refireMs: 1_000 });
  await expect.poll(async () => (await state())?.phase, POLL).toBe('Succeeded');
  triggers[Symbol.dispose]();
  await endSecond();

  const named = (name: string) => spans.filter((span) => span.name === name);
  expect(new Set(spans.map((span) => span.traceId))).toEqual(new Set([traceId]));
  expect(spans.map(({ name, process }) => `${process} ${name}`).sort()).toEqual([
    'first reentry.intake',
    'first reentry.launch',
    'first reentry.submit',
    'second reentry.complete',
    'second reentry.resume',
    'second reentry.wait',
  ]);
  const [submit] = named('reentry.submit');
  const [intake] = named('reentry.intake');
  expect(submit?.parentSpanId).toBe('00f067aa0ba902b7');
  expect(intake?.parentSpanId).toBe(submit?.spanId);
  for (const name of ['launch', 'wait', 'resume', 'complete'])
    expect(named(`reentry.${name}`).map(({ parentSpanId }) => parentSpanId)).toEqual([intake?.spanId]);
  expect(named('reentry.wait')[0]?.runMs).toBeGreaterThanOrEqual(300);
  expect(JSON.stringify(spans)).toContain('reentry.run_id');
  expect(JSON.stringify(spans)).not.toContain('hunter2');
});

test('a request with an invalid traceparent is refused with its path; an invalid header is ignored', async () => {
  const installation = await anInstallation(server.url(), { workerQueues: ['default'] });
  const broker = await installation.broker();
  const simulated = new SimulatedPods();
  const cluster = simulatedCluster(simulated, () => broker.now());
  const stop$ = new Subject<void>();
  const work$ = worker({
    ...{ broker, operators: [scriptedOperator(simulated)], log, meter },
    clusters: { names: ['sim'], get: () => cluster, [Symbol.asyncDispose]: () => Promise.resolve() },
    settings: { ...DEFAULTS.engine, id: 'w', queues: ['default'], installation: 'test' },
  });
  const work = lastValueFrom(work$(stop$), { defaultValue: undefined });
  onTestFinished(async () => {
    stop$.next();
    await work;
    await installation[Symbol.asyncDispose]();
  });
  const run = (runId: string) => ({ tenant: 't', runId });
  const bytes = (request: object) => new TextEncoder().encode(JSON.stringify(request));
  await broker.publish.run(run('bad'), 'default', bytes({ traceparent: '00-xyz' }), 'bad');
  await broker.publish.run(run('header'), 'default', bytes({}), 'header', '00-xyz');
  const state = async (runId: string) => (await broker.runs.read(run(runId)))?.value;
  await expect
    .poll(async () => (await state('bad'))?.outcome?.diagnosis?.problems, POLL)
    .toMatchObject([{ path: 'traceparent' }]);
  await expect.poll(async () => (await state('header'))?.phase, POLL).toBe('Deferred');
  expect(await state('header')).not.toHaveProperty('trace');
});
