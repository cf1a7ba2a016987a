import { describe, expect, test } from 'vitest';
import { connectNats } from '../../src/nats/connection.ts';
import { layoutFrom } from '../../src/nats/link.ts';
import type { RunState } from '../../src/wire/run-state.ts';
import { keys } from '../../src/wire/subjects.ts';
import { aNatsServer, anInstallation, sharedNatsServer } from '../support/nats-server.ts';
import { aSubscription } from '../support/builders.ts';

const { url } = sharedNatsServer();
const atStep = (step: number) => aSubscription({ step, stateRev: step });
const run = { tenant: 'sales', runId: 'load.1' };
const aState = (more: Partial<RunState> = {}): RunState => ({
  v: 1,
  phase: 'Queued',
  queue: 'default',
  operator: 'pod',
  attempt: 1,
  step: 0,
  userFailures: 0,
  infraFailures: 0,
  faults: 0,
  fence: { stream: 'RUNS', seq: 1, epoch: 0, by: 'w1' },
  op: 'op-1',
  timings: {},
  requestHash: 'h',
  ...more,
});

describe('run states', () => {
  test('a state is created once; a second writer gets the present one', async () => {
    await using installation = await anInstallation(url());
    const { runs } = await installation.broker();
    const outcome = await runs.write(run, aState(), 0);
    expect(outcome.kind).toBe('written');
    expect(await runs.write(run, aState({ op: 'op-2' }), 0)).toEqual({
      kind: 'conflict',
      current: { value: aState(), revision: outcome.kind === 'written' ? outcome.revision : 0 },
    });
  });

  test('a write that was already applied is recognized by its operation', async () => {
    await using installation = await anInstallation(url());
    const { runs } = await installation.broker();
    const first = await runs.write(run, aState(), 0);
    // As after a lost acknowledgement: the same write again, with the expectation it had.
    expect(await runs.write(run, aState(), 0)).toEqual(first);
  });

  test('of ten writers on one revision one wins', async () => {
    await using installation = await anInstallation(url());
    const { runs } = await installation.broker();
    const created = await runs.write(run, aState(), 0);
    const revision = created.kind === 'written' ? created.revision : 0;
    const outcomes = await Promise.all(
      Array.from({ length: 10 }, (_, n) => runs.write(run, aState({ op: `racer-${n}`, step: n }), revision)),
    );
    expect(outcomes.filter(({ kind }) => kind === 'written')).toHaveLength(1);
  });

  test('a write survives a kill -9 of the broker in the middle, and is applied once', async () => {
    await using server = await aNatsServer();
    await using installation = await anInstallation(server.url);
    const { runs } = await installation.broker();
    const created = await runs.write(run, aState(), 0);
    let revision = created.kind === 'written' ? created.revision : 0;
    const crash = server.crash();
    for (let step = 1; step <= 200; step += 1) {
      const outcome = await runs.write(run, aState({ op: `op-${step}`, step }), revision);
      expect(outcome.kind).toBe('written');
      if (outcome.kind === 'written') revision = outcome.revision;
    }
    await crash;
    expect((await runs.read(run, { leader: true }))?.value.step).toBe(200);
    // Every write is one revision: none was applied twice.
    expect(revision).toBe(201);
  });

  test('a deleted run can be created again, and is absent in between', async () => {
    await using installation = await anInstallation(url());
    const { runs } = await installation.broker();
    const created = await runs.write(run, aState(), 0);
    await runs.delete(run, created.kind === 'written' ? created.revision : 0);
    expect(await runs.read(run)).toBeUndefined();
    expect((await runs.write(run, aState({ op: 'again' }), 0)).kind).toBe('written');
  });

  test('a page of states ends before it exceeds maxBytes, and has one state at least', async () => {
    await using installation = await anInstallation(url());
    const { runs } = await installation.broker();
    for (let n = 0; n < 4; n += 1) await runs.write({ tenant: 'a', runId: `r${n}` }, aState(), 0);
    const bytes = Buffer.byteLength(JSON.stringify(aState()));
    const ids = async (maxBytes: number, after = 0) => {
      const page = await runs.list({ limit: 100, maxBytes, after });
      return [...page.runs.map(({ runId }) => runId), page.next];
    };
    expect(await ids(2 * bytes)).toEqual(['r0', 'r1', 2]);
    expect(await ids(2 * bytes - 1, 2)).toEqual(['r2', 3]);
    expect(await ids(1, 3)).toEqual(['r3', undefined]);
  });

  test('a sequence before the first is refused by the broker once, and not retried', async () => {
    await using installation = await anInstallation(url());
    const { runs, logs } = await installation.broker();
    const refused = { code: 'INTERNAL', transient: false, message: expect.stringMatching(/408/) };
    await expect(runs.list({ after: -5, limit: 1 })).rejects.toMatchObject(refused);
    await expect(logs.read(run, { after: -5, limit: 1 })).rejects.toMatchObject(refused);
  });

  test('lists pages in order, by tenant, without the deleted', async () => {
    await using installation = await anInstallation(url());
    const { runs } = await installation.broker();
    for (let n = 0; n < 7; n += 1) await runs.write({ tenant: n % 2 === 0 ? 'a' : 'b.c', runId: `r${n}` }, aState(), 0);
    await runs.delete({ tenant: 'a', runId: 'r2' }, 3);
    const first = await runs.list({ tenant: 'a', limit: 2 });
    expect(first.runs.map(({ runId }) => runId)).toEqual(['r0', 'r4']);
    const second = await runs.list({
      tenant: 'a',
      limit: 2,
      ...(first.next === undefined ? {} : { after: first.next }),
    });
    expect([second.runs.map(({ runId }) => runId), second.next]).toEqual([['r6'], undefined]);
    expect((await runs.list({ limit: 100 })).runs).toHaveLength(6);
  });

  test('a state that does not fit its schema is an error naming the key and the field', async () => {
    await using installation = await anInstallation(url());
    const { runs } = await installation.broker();
    await using connection = await connectNats({ ...installation.options, role: 'setup', name: 'vandal' });
    const { assets } = layoutFrom(installation.options);
    await connection.nc.jetstream().publish(assets.stateBucket.subject(keys.run(run)), '{"v":1}');
    await expect(runs.read(run)).rejects.toMatchObject({
      code: 'INTERNAL',
      message: expect.stringMatching(/sales\.load=2E1.*phase/),
    });
    // The others are listed all the same.
    await runs.write({ tenant: 'sales', runId: 'fine' }, aState(), 0);
    expect((await runs.list({ limit: 10 })).runs.map(({ runId }) => runId)).toEqual(['fine']);
  });
});

describe('requests', () => {
  test('are written once; the same content is no conflict', async () => {
    await using installation = await anInstallation(url());
    const { requests } = await installation.broker();
    expect(await requests.claim(run, { a: 1 })).toEqual({ kind: 'created' });
    expect(await requests.claim(run, { a: 1 })).toEqual({ kind: 'created' });
    expect(await requests.claim(run, { a: 2 })).toEqual({ kind: 'exists', request: { a: 1 } });
    expect(await requests.read(run)).toEqual({ a: 1 });
    await requests.delete(run, 2);
    expect(await requests.read(run)).toEqual({ a: 1 });
    await requests.delete(run, 3);
    expect(await requests.read(run)).toBeUndefined();
  });
});

describe('requests in their order', () => {
  test('are listed one by one with age and size, without content; deleted and unreadable ones too', async () => {
    await using installation = await anInstallation(url());
    const { requests, now } = await installation.broker();
    for (let n = 0; n < 3; n += 1) await requests.claim({ tenant: 'b.c', runId: `r${n}` }, { n });
    expect(await requests.delete({ tenant: 'b.c', runId: 'r1' }, 3)).toBe(false);
    expect(await requests.delete({ tenant: 'b.c', runId: 'r1' }, 2)).toBe(true);
    await using connection = await connectNats({ ...installation.options, role: 'setup', name: 'raw' });
    const { assets } = layoutFrom(installation.options);
    await connection.nc.jetstream().publish(assets.requestBucket.subject('b=2Ec.odd'), '{');
    const found: unknown[] = [];
    for (let past = 0; ;) {
      const entry = await requests.next(past);
      if (entry === undefined) break;
      past = entry.revision;
      expect(Math.abs(entry.at - now())).toBeLessThan(60_000);
      found.push([entry.run.tenant, entry.run.runId, entry.revision, entry.bytes, entry.deleted]);
    }
    expect(found).toEqual([
      ['b.c', 'r0', 1, 7, false],
      ['b.c', 'r2', 3, 7, false],
      ['b.c', 'r1', 4, 0, true],
      ['b.c', 'odd', 5, 1, false],
    ]);
  });
});

describe('a request whose run is being created', () => {
  test.each([{ a: 1 }, { a: 2 }])(
    'is stored again unchanged, so that a deletion of the old revision fails: %o',
    async (own) => {
      await using installation = await anInstallation(url());
      const { requests } = await installation.broker();
      await requests.claim(run, { a: 1 });
      const same = own.a === 1;
      expect(await requests.claim(run, own)).toEqual(
        same ? { kind: 'created' } : { kind: 'exists', request: { a: 1 } },
      );
      expect(await requests.delete(run, 1)).toBe(false);
      expect(await requests.read(run)).toEqual({ a: 1 });
      expect(await requests.next(0)).toMatchObject({ revision: 2 });
    },
  );

  test('is created if it is missing or deleted', async () => {
    await using installation = await anInstallation(url());
    const { requests } = await installation.broker();
    expect(await requests.claim(run, { a: 1 })).toEqual({ kind: 'created' });
    await requests.delete(run);
    expect(await requests.claim(run, { a: 2 })).toEqual({ kind: 'created' });
    expect(await requests.read(run)).toEqual({ a: 2 });
  });

  test('has one revision in the end, with many claims and deletions at the same time', async () => {
    await using installation = await anInstallation(url());
    const { requests } = await installation.broker();
    await requests.claim(run, { a: 1 });
    const deletes = Array.from({ length: 40 }, (_, n) => requests.delete(run, n + 1));
    await Promise.all([...Array.from({ length: 8 }, () => requests.claim(run, { a: 1 })), ...deletes]);
    // The last claim is after every deletion of earlier revisions.
    await requests.claim(run, { a: 1 });
    expect(await requests.read(run)).toEqual({ a: 1 });
  });
});

describe('subscriptions', () => {
  test('a stale writer is refused', async () => {
    await using installation = await anInstallation(url());
    const { subscriptions } = await installation.broker();
    const first = await subscriptions.put(run, atStep(1));
    const stale = first.kind === 'written' ? first.revision : 0;
    expect((await subscriptions.put(run, atStep(2))).kind).toBe('written');
    expect(await subscriptions.put(run, atStep(1), stale)).toMatchObject({
      kind: 'conflict',
      current: { value: { step: 2 } },
    });
    await subscriptions.delete(run);
    expect(await subscriptions.read(run)).toBeUndefined();
  });
});

describe('claims', () => {
  test('of two claimers one gets the shard', async () => {
    await using installation = await anInstallation(url());
    const { membership } = await installation.broker();
    const got = await Promise.all(['a', 'b'].map((owner) => membership.claim('s.00', { owner, epoch: 1 }, 0)));
    expect(got.filter((revision) => revision !== undefined)).toHaveLength(1);
    expect((await membership.readClaim('s.00'))?.value.epoch).toBe(1);
  });
});

describe('logs', () => {
  const chunk = (text: string, nanos: bigint) => ({ text, to: { nanos, lines: 1 } });

  test('the last chunk is the cursor, and a second writer is refused', async () => {
    await using installation = await anInstallation(url());
    const { logs } = await installation.broker();
    expect(await logs.end(run, 1, 'base')).toEqual({ cursor: undefined, sequence: 0 });
    expect(await logs.append(run, 1, 'base', chunk('one', 1_700_000_000_000_000_001n), 0)).toEqual({
      kind: 'stored',
      sequence: 1,
    });
    expect(await logs.append(run, 1, 'base', chunk('one', 5n), 0)).toEqual({ kind: 'wrongSequence' });
    expect(await logs.append(run, 1, 'side.car', chunk('other', 5n), 0)).toEqual({ kind: 'stored', sequence: 2 });
    expect(await logs.append(run, 1, 'base', chunk('two', 1_700_000_000_000_000_002n), 1)).toEqual({
      kind: 'stored',
      sequence: 3,
    });
    expect(await logs.end(run, 1, 'base')).toEqual({
      cursor: { nanos: 1_700_000_000_000_000_002n, lines: 1 },
      sequence: 3,
    });
  });

  test('history is read in order, by attempt and container, in pages', async () => {
    await using installation = await anInstallation(url());
    const { logs } = await installation.broker();
    let sequence = 0;
    for (const text of ['a', 'b', 'c']) {
      const stored = await logs.append(run, 1, 'base', chunk(text, 1n), sequence);
      if (stored.kind === 'stored') sequence = stored.sequence;
    }
    await logs.append(run, 2, 'base', chunk('retry', 1n), 0);
    const first = await logs.read(run, { attempt: 1, limit: 2 });
    expect(first.chunks.map(({ text }) => text)).toEqual(['a', 'b']);
    const rest = await logs.read(run, { limit: 10, ...(first.next === undefined ? {} : { after: first.next }) });
    expect(rest.chunks.map(({ text, attempt, container }) => [text, attempt, container])).toEqual([
      ['c', 1, 'base'],
      ['retry', 2, 'base'],
    ]);
  });

  test('a page ends before it is larger than one message may be, counted as JSON', async () => {
    await using installation = await anInstallation(url());
    const { logs } = await installation.broker();
    // Each of these characters takes six bytes in JSON.
    const texts = ['a', 'b', 'c'].map((letter) => letter + '\u0001'.repeat(1000));
    let sequence = 0;
    for (const text of texts) {
      const stored = await logs.append(run, 1, 'base', chunk(text, 1n), sequence);
      if (stored.kind === 'stored') sequence = stored.sequence;
    }
    const sizes: number[] = [];
    const seen: string[] = [];
    let after: number | undefined;
    do {
      const page = await logs.read(run, { limit: 10, maxBytes: 13_000, ...(after === undefined ? {} : { after }) });
      sizes.push(page.chunks.length);
      seen.push(...page.chunks.map(({ text }) => text));
      after = page.next;
    } while (after !== undefined);
    expect(sizes).toEqual([2, 1]);
    expect(seen).toEqual(texts);
    expect((await logs.read(run, { limit: 10, maxBytes: 1 })).chunks).toHaveLength(1);
  });
});

describe('results', () => {
  test('are read back unchanged, replaced when put again, absent if there is none', async () => {
    await using installation = await anInstallation(url());
    const { results } = await installation.broker();
    const data = Uint8Array.from({ length: 400_000 }, (_, n) => n % 251);
    const ref = await results.put(run, 1, 'return.json', data);
    expect(ref).toMatchObject({ name: 'return.json', size: 400_000, digest: expect.stringMatching(/^SHA-256=/) });
    expect(Buffer.compare(Buffer.from((await results.get(run, 1, 'return.json')) ?? []), Buffer.from(data))).toBe(0);
    await results.put(run, 1, 'return.json', new Uint8Array([1]));
    expect([...((await results.get(run, 1, 'return.json')) ?? [])]).toEqual([1]);
    expect(await results.get(run, 2, 'return.json')).toBeUndefined();
  });
});

describe('broker', () => {
  test('its clock is close to that of a server on this machine, and the fill is a fraction', async () => {
    await using installation = await anInstallation(url());
    const broker = await installation.broker();
    expect(Math.abs(broker.clockOffsetMs())).toBeLessThan(250);
    const before = await broker.fill();
    expect(before).toBeGreaterThanOrEqual(0);
    expect(before).toBeLessThan(0.1);
  });
});
