/** A worker's answers to clients, over the broker. */
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { diagnosisOf } from '../../src/core/run/diagnosis.ts';
import { ended, refused, retrying } from '../../src/core/run/state-changes.ts';
import { runRequestSchema } from '../../src/wire/run-request.ts';
import { VERBS } from '../../src/wire/subjects.ts';
import type { Verb } from '../../src/wire/subjects.ts';
import type { Engine } from '../../src/worker/protocol/engine.ts';
import { answer } from '../../src/worker/services/services.ts';
import { hashOf } from '../../src/worker/services/validate.ts';
import { sharedNatsServer } from '../support/nats-server.ts';
import { anEngine } from '../support/worker-engine.ts';

const server = sharedNatsServer();
const pageSchema = z.object({
  ok: z.object({ runs: z.array(z.looseObject({ runId: z.string() })), next: z.number().optional() }),
});

/** A worker's services only: no request is accepted, no step is done. */
async function aService() {
  const parts = await anEngine(server.url());
  const { engine, broker, installation } = parts;
  const serving = VERBS.map((verb) =>
    broker.services.serve$(verb, (tenant, data) => answer(engine, verb, tenant, data)).subscribe(),
  );
  const client = await installation.client('t');
  const ask = (verb: Verb, payload: unknown) => client.request('t', verb, payload, 5_000);
  await expect.poll(() => ask('render', {}).catch(() => undefined)).toBeDefined();
  const stop = () => {
    for (const one of serving) one.unsubscribe();
  };
  return { ...parts, client, ask, [Symbol.dispose]: stop };
}

test('a page of runs with large results ends before it is larger than one message may be', async () => {
  using service = await aService();
  const { broker, waiting, ask } = service;
  const over = ended(waiting, { state: 'succeeded', result: 'ü'.repeat(2_000) }, broker.now());
  const wanted = Array.from({ length: 300 }, (_, n) => `r${String(n)}`);
  for (const runId of wanted) await broker.runs.write({ tenant: 't', runId }, { ...over, op: runId }, 0);
  const found: string[] = [];
  let pages = 0;
  for (let after: number | undefined = 0; after !== undefined; pages += 1) {
    const page = pageSchema.parse(await ask('list', { limit: 500, after }));
    expect(page.ok.runs.length).toBeGreaterThan(0);
    found.push(...page.ok.runs.map(({ runId }) => runId));
    after = page.ok.next;
  }
  expect(found).toEqual(wanted);
  expect(pages).toBe(3);
});

test.each<[Verb, object, string]>([
  ['status', { runId: 'r1', runid: 'r2' }, 'runid'],
  ['result', { runId: 'r1', ofset: 1 }, 'ofset'],
  ['explain', { runId: 'r1', verbose: true }, 'verbose'],
  ['submit', { params: {}, request: {} }, 'params'],
])('%s names an unknown field', async (verb, request, path) => {
  using service = await aService();
  expect(await service.ask(verb, request)).toEqual({
    error: expect.objectContaining({ code: 'INVALID_REQUEST', problems: [{ path, message: 'unknown field' }] }),
  });
});

test.each([{ result: 1 }, { resultRef: { name: 'return_value', size: 5_000 } }])(
  'the result of a failed attempt is no result of a run that is retried: %j',
  async (left) => {
    using service = await aService();
    const { store, waiting, broker, ask } = service;
    const again = { userFailures: 1, infraFailures: 0, notBefore: broker.now() + 60_000, untilGone: false };
    await store(retrying(waiting, { state: 'failed', ...left }, undefined, again));
    expect(await ask('result', { runId: 'r1' })).toEqual({
      error: { code: 'NOT_FOUND', message: 'run r1 has not ended' },
    });
    const status = await ask('status', { runId: 'r1' });
    expect(status).toMatchObject({ ok: { phase: 'Queued', lastOutcome: { state: 'failed', ...left } } });
    expect(status).not.toHaveProperty('ok.outcome');
  },
);

describe('submit', () => {
  const run = { tenant: 't', runId: 'r1' };
  const asked = (retries: number, queue = 'default') => ({ runId: 'r1', queue, request: { params: {}, retries } });
  const taken = { error: { code: 'RUN_ID_TAKEN' } };
  /** The request that waits for a worker. */
  const waiting = async (broker: Engine['broker']): Promise<unknown> => {
    const first = await broker.queues.firstRequest(run);
    return first === undefined ? undefined : JSON.parse(new TextDecoder().decode(first.data));
  };

  test('to a missing queue stores nothing, and leaves the id free for the right one', async () => {
    using service = await aService();
    const { broker, ask } = service;
    expect(await ask('submit', asked(0, 'missing'))).toMatchObject({ error: { code: 'NOT_FOUND' } });
    expect(await broker.requests.read(run)).toBeUndefined();
    expect(await waiting(broker)).toBeUndefined();
    expect(await ask('submit', asked(3))).toEqual({ ok: { runId: 'r1', queue: 'default', duplicate: false } });
    expect(await waiting(broker)).toMatchObject({ retries: 3 });
    // Its id is used while it waits for a worker.
    expect(await ask('submit', asked(4))).toMatchObject(taken);
    expect(await ask('submit', asked(4, 'missing'))).toMatchObject(taken);
    expect(await waiting(broker)).toMatchObject({ retries: 3 });
  });

  test('to a missing queue deletes nothing of a run that was created meanwhile', async () => {
    using service = await aService();
    const { engine, broker, queued } = service;
    // Right before it publishes.
    const publish: Engine['broker']['publish'] = {
      ...broker.publish,
      run: async (...args) => {
        await broker.requests.claim(run, { params: {}, retries: 7 });
        await broker.runs.write(run, { ...queued, op: 'made by an intake' }, 0);
        return broker.publish.run(...args);
      },
    };
    const data = new TextEncoder().encode(JSON.stringify(asked(0, 'missing')));
    const reply = await answer({ ...engine, broker: { ...broker, publish } }, 'submit', 't', data);
    expect(reply).toMatchObject({ error: { code: 'NOT_FOUND' } });
    expect(await broker.requests.read(run)).toMatchObject({ retries: 7 });
    expect(await broker.runs.read(run)).toMatchObject({ value: { phase: 'Queued', op: 'made by an intake' } });
  });

  test('under the id of a request that was refused is no duplicate of it', async () => {
    using service = await aService();
    const { broker, ask, queued } = service;
    const facts = { queue: 'default', fence: queued.fence, now: broker.now(), operator: 'unknown', requestHash: '' };
    const state = refused(diagnosisOf('INVALID_REQUEST', {}), facts);
    await broker.runs.write(run, { ...state, op: 'refused' }, 0);
    expect(await ask('submit', asked(0))).toMatchObject(taken);
    expect(await broker.requests.read(run)).toBeUndefined();
  });

  test('again with the same content is a duplicate, even without the stored request', async () => {
    using service = await aService();
    const { broker, ask, queued } = service;
    await ask('submit', asked(2));
    const request = runRequestSchema.parse(await waiting(broker));
    await broker.requests.claim(run, request);
    const requestHash = hashOf(request);
    await broker.runs.write(run, { ...queued, requestHash, op: 'taken in' }, 0);
    const duplicate = { ok: { runId: 'r1', queue: 'default', duplicate: true } };
    expect(await ask('submit', asked(2))).toEqual(duplicate);
    expect(await ask('submit', asked(1))).toMatchObject(taken);
    await broker.requests.delete(run);
    expect(await ask('submit', asked(2, 'other'))).toEqual(duplicate);
    expect(await ask('submit', asked(1))).toMatchObject(taken);
    expect(await broker.requests.read(run)).toBeUndefined();
  });
});
