/** Requests without a run are deleted, and never one whose run is being created. */
import { expect, test } from 'vitest';
import { ended } from '../../src/core/run/state-changes.ts';
import type { Delivery } from '../../src/ports/broker.ts';
import type { RequestStore } from '../../src/ports/stores.ts';
import { runRequestSchema } from '../../src/wire/run-request.ts';
import type { Engine } from '../../src/worker/protocol/engine.ts';
import { intakeHandler } from '../../src/worker/protocol/intake.ts';
import { Janitor } from '../../src/worker/upkeep/janitor.ts';
import { dropUnclaimed } from '../../src/worker/upkeep/unclaimed-requests.ts';
import { sharedNatsServer } from '../support/nats-server.ts';
import { anEngine, run } from '../support/worker-engine.ts';

const server = sharedNatsServer();
const HOUR_MS = 3_600_000;
const request = runRequestSchema.parse({ operator: 'pod', params: {} });
const lost = (n: number) => ({ tenant: 't', runId: `lost-${String(n)}` });

/** A janitor with a clock that the test sets, and what it read of the requests. */
async function aJanitor() {
  const parts = await anEngine(server.url());
  const { engine, broker } = parts;
  let aheadMs = 0;
  const read = { entries: 0, bodies: 0 };
  const requests: RequestStore = {
    ...broker.requests,
    next: (after) => {
      read.entries += 1;
      return broker.requests.next(after);
    },
    read: (of) => {
      read.bodies += 1;
      return broker.requests.read(of);
    },
  };
  const slow: Engine = { ...engine, broker: { ...broker, requests, now: () => broker.now() + aheadMs } };
  const janitor = new Janitor(slow, { retentionMs: 1e12 });
  /** A sweep so much later than the last one; answers what it read. */
  const sweepAfter = async (ms: number) => {
    aheadMs += ms;
    read.entries = read.bodies = 0;
    await janitor.sweep();
    return { ...read };
  };
  return { ...parts, sweepAfter };
}

/** The message that asks for `run`, acknowledged or not. */
const asked = (): Delivery => ({
  ...{ stream: 'RUNS', seq: 1, deliveries: 1, subject: 's', tenantToken: 't', runIdToken: 'r1', publishedAt: 0 },
  data: new TextEncoder().encode(JSON.stringify(request)),
  ack: () => Promise.resolve(),
  nak: () => Promise.reject(new Error('not taken in')),
  abandon: () => undefined,
});

/** Takes the request of `run` in; `meanwhile` happens after its request is stored and before its state is. */
async function takeIn({ engine, broker }: Awaited<ReturnType<typeof anEngine>>, meanwhile: () => Promise<unknown>) {
  let done = false;
  const write: Engine['broker']['runs']['write'] = async (of, state, revision) => {
    if (!done) await meanwhile();
    done = true;
    return broker.runs.write(of, state, revision);
  };
  await broker.publish.run(run, 'default', asked().data, 'r1');
  const stalled: Engine = { ...engine, broker: { ...broker, runs: { ...broker.runs, write } } };
  await intakeHandler(stalled, 'default')(asked());
  expect(await broker.runs.read(run, { leader: true })).toMatchObject({ value: { phase: 'Queued' } });
}

test('is deleted after an hour, when two sweeps found no run; that of a run is not', async () => {
  const { broker, waiting, store, sweepAfter } = await aJanitor();
  await store(waiting);
  await broker.requests.claim(lost(0), request);
  await sweepAfter(HOUR_MS - 60_000);
  await sweepAfter(60_000 + 5_000);
  expect(await broker.requests.read(lost(0))).toEqual(request);
  await sweepAfter(60_000);
  expect(await broker.requests.read(lost(0))).toEqual(request);
  // Only deleted ones are read with content.
  expect(await sweepAfter(60_000)).toMatchObject({ bodies: 1 });
  expect(await broker.requests.read(lost(0))).toBeUndefined();
  expect(await broker.requests.read(run)).toBeDefined();
});

test('is searched in parts, from the end of the last sweep, and from the beginning once an hour', async () => {
  const { broker, waiting, sweepAfter } = await aJanitor();
  // Large ones, of which a sweep reads 32 MiB; all have runs.
  const large = { ...request, annotations: { filler: 'x'.repeat(250 * 1024) } };
  const over = ended(waiting, { state: 'succeeded' }, broker.now());
  for (let n = 0; n < 152; n += 1) {
    await broker.requests.claim(lost(n), n < 2 ? request : large);
    await broker.runs.write(lost(n), { ...over, op: String(n) }, 0);
  }
  const first = await sweepAfter(2 * HOUR_MS);
  expect(first.entries).toBeLessThan(140);
  expect(first.bodies).toBe(0);
  const second = await sweepAfter(60_000);
  expect(second.entries + first.entries).toBe(152 + 1);
  // Nothing new: one read of what follows.
  expect((await sweepAfter(60_000)).entries).toBe(1);
  expect((await sweepAfter(60_000)).entries).toBe(1);
  await broker.runs.delete(lost(0), 1);
  await sweepAfter(HOUR_MS);
  expect(await sweepAfter(60_000)).toEqual({ entries: first.entries, bodies: 0 });
  expect(await sweepAfter(120_000)).toMatchObject({ bodies: 1 });
  expect(await broker.requests.read(lost(0))).toBeUndefined();
  expect(await broker.requests.read(lost(1))).toEqual(request);
});

test('is not deleted while its run is being created: the janitor checks before, between and after', async () => {
  const parts = await aJanitor();
  const { broker, sweepAfter } = parts;
  await broker.requests.claim(run, request);
  await sweepAfter(2 * HOUR_MS);
  await takeIn(parts, () => sweepAfter(10 * 60_000));
  await sweepAfter(10 * 60_000);
  expect(await broker.requests.read(run)).toEqual(request);
});

test('that is deleted right before its run is created is stored again', async () => {
  const parts = await aJanitor();
  const { broker, sweepAfter } = parts;
  await broker.requests.claim(run, request);
  await sweepAfter(2 * HOUR_MS);
  await sweepAfter(10 * 60_000);
  expect(await broker.requests.read(run)).toBeUndefined();
  await takeIn(parts, () => Promise.resolve());
  expect(await broker.requests.read(run)).toEqual(request);
});

test('that is being deleted stays where an intake has met it meanwhile', async () => {
  const parts = await anEngine(server.url());
  const { engine, broker } = parts;
  await broker.requests.claim(run, request);
  const revision = (await broker.requests.next(0))?.revision ?? 0;
  await takeIn(parts, () => dropUnclaimed(engine, run, { request, revision }));
  expect(await broker.requests.read(run)).toEqual(request);
});
