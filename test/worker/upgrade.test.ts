import { Subject, lastValueFrom } from 'rxjs';
import { expect, onTestFinished, test } from 'vitest';
import { RETRY_POLICY } from '../../src/core/run/retry.ts';
import { isTerminal } from '../../src/core/run/transitions.ts';
import { subscriptionOf } from '../../src/core/run/state-changes.ts';
import { layoutFrom } from '../../src/nats/link.ts';
import { connectNats } from '../../src/nats/connection.ts';
import type { Log, Meter } from '../../src/ports/ambient.ts';
import type { Broker } from '../../src/ports/broker.ts';
import { worker } from '../../src/roles/worker.ts';
import { runStateSchema } from '../../src/wire/run-state.ts';
import { corpus } from '../support/corpus.ts';
import { levelTriggers } from '../support/level-triggers.ts';
import { anInstallation, sharedNatsServer } from '../support/nats-server.ts';
import { SimulatedPods, scriptedOperator, simulatedCluster } from '../support/simulated-pods.ts';
import { DEFAULTS } from '../support/defaults.ts';

const server = sharedNatsServer();
const nothing = (): void => undefined;
const log: Log = { debug: nothing, info: nothing, warn: nothing, error: nothing, child: () => log };
const meter: Meter = { count: nothing, gauge: nothing, observeSeconds: nothing };
const POLL = { timeout: 30_000, interval: 50 };
const NEXT = 2;

/** A broker of a worker of the next version, which writes that version and further fields. */
function ofNextVersion(broker: Broker): Broker {
  const next = <T extends object>(value: T) => ({ ...value, v: NEXT, fromTheNextVersion: { a: [1] } });
  const { runs, subscriptions, publish } = broker;
  return {
    ...broker,
    runs: { ...runs, write: (run, state, revision) => runs.write(run, next(state), revision) },
    subscriptions: { ...subscriptions, put: (run, value, revision) => subscriptions.put(run, next(value), revision) },
    publish: {
      ...publish,
      start: (run, queue, message, id) => publish.start(run, queue, next(message), id),
      resume: (run, queue, message, id) => publish.resume(run, queue, next(message), id),
    },
    [Symbol.asyncDispose]: () => broker[Symbol.asyncDispose](),
  };
}

async function anUpgrade() {
  const installation = await anInstallation(server.url(), { workerQueues: ['default'] });
  const simulated = new SimulatedPods();
  const broker = await installation.broker();
  const cluster = simulatedCluster(simulated, () => broker.now());
  const clusters = { names: ['sim'], get: () => cluster, [Symbol.asyncDispose]: () => Promise.resolve() };
  const stop$ = new Subject<void>();
  const works: Promise<unknown>[] = [];
  const begin = async (id: string, seen: (broker: Broker) => Broker = (one) => one) => {
    const own = seen(await installation.broker('worker', id));
    const retryPolicy = { ...RETRY_POLICY, infrastructureBaseMs: 20, infrastructureMaxMs: 50 };
    const work$ = worker({
      ...{ broker: own, clusters, operators: [scriptedOperator(simulated)], log, meter },
      settings: { ...DEFAULTS.engine, id, queues: ['default'], installation: 'test', retryPolicy },
    });
    works.push(lastValueFrom(work$(stop$), { defaultValue: undefined }));
  };
  const triggers = levelTriggers(broker, simulated, { everyMs: 20, refireMs: 1_000 });
  onTestFinished(async () => {
    triggers[Symbol.dispose]();
    stop$.next();
    await Promise.all(works);
    await installation[Symbol.asyncDispose]();
  });
  const completions = async (tenant: string) => {
    await using connection = await connectNats({ ...installation.options, role: 'setup', name: 'connection' });
    const { assets, subjects } = layoutFrom(installation.options);
    const manager = await connection.nc.jetstreamManager();
    const { state } = await manager.streams.info(assets.events, {
      subjects_filter: subjects.event.completedOf(tenant),
    });
    return Object.values(state.subjects ?? {});
  };
  return { broker, simulated, begin, completions, layout: layoutFrom(installation.options) };
}

const states = corpus().filter(({ kind }) => kind === 'state');

test.each(states)('$name continues to exactly one end', async ({ json }) => {
  const { broker, begin, completions, layout } = await anUpgrade();
  const run = { tenant: 't', runId: 'r' };
  const before = runStateSchema.parse(json);
  await broker.requests.claim(run, { operator: 'pod', params: {}, retries: 2, retryDelaySeconds: 0 });
  // The owning message is the first of its stream; the worker that held it is gone.
  const owned = before.fence.stream === 'REENTRY_STEPS';
  const fence = { ...before.fence, stream: owned ? layout.assets.steps : layout.assets.runs };
  const written = await broker.runs.write(run, { ...before, fence }, 0);
  if (written.kind !== 'written') throw new Error('not stored');
  const { attempt, step } = before;
  const stateRev = written.revision;
  const waits = subscriptionOf(before, stateRev);
  if (waits !== undefined)
    await broker.subscriptions.put(run, { ...waits, await: { ...waits.await, notBefore: 0 } }, 0);
  else if (before.phase === 'Resuming') {
    const event = { kind: 'success' as const, at: broker.now() };
    await broker.publish.resume(run, 'default', { v: 1, attempt, step, stateRev, subRev: 1, event }, 'owner');
  } else await broker.publish.start(run, 'default', { v: 1, attempt, stateRev }, 'owner');
  await begin('w1');
  const ended = async () => (await broker.runs.read(run))?.value;
  await expect.poll(async () => isTerminal((await ended())?.phase ?? 'Queued'), POLL).toBe(true);
  if (isTerminal(before.phase)) expect((await ended())?.outcome).toEqual(before.outcome);
  else if (before.cancel !== undefined) expect((await ended())?.phase).toBe('Cancelled');
  else {
    expect((await ended())?.phase).toBe('Succeeded');
    await expect.poll(() => completions('t'), POLL).toEqual([1]);
  }
});

test('this version and the next work on the same streams at the same time', async () => {
  const { broker, begin, completions, simulated } = await anUpgrade();
  await begin('now');
  await begin('next', ofNextVersion);
  const runs = Array.from({ length: 60 }, (_, n) => ({ tenant: 't', runId: `r${n}` }));
  const params = { runMs: 30, exits: [1, 0] };
  const request = JSON.stringify({ params, retries: 1, retryDelaySeconds: 0.02 });
  for (const run of runs) await broker.publish.run(run, 'default', new TextEncoder().encode(request), run.runId);
  await expect.poll(() => completions('t'), POLL).toEqual(runs.map(() => 1));
  const ended = await Promise.all(runs.map((run) => broker.runs.read(run, { leader: true })));
  expect(ended.map((seen) => seen?.value.phase)).toEqual(runs.map(() => 'Succeeded'));
  expect([...simulated.creations.values()]).toEqual(runs.flatMap(() => [1, 1]));
  // Both took steps, and fields that only the next version knows passed through this one unchanged.
  const marked = ended.filter((seen) => seen?.value['fromTheNextVersion'] !== undefined);
  expect(marked.length).toBeGreaterThan(runs.length / 4);
});
