import { describe, expect, test, vi } from 'vitest';
import { headers } from 'nats';
import { connectNats } from '../../src/nats/connection.ts';
import { layoutFrom } from '../../src/nats/link.ts';
import { ReentryError } from '../../src/errors.ts';
import type { StoredEvent } from '../../src/ports/client.ts';
import { ANSWER_WITHIN_MS, WaitingRequests } from '../../src/nats/services.ts';
import { ROLE_QUERIES } from '../../src/wire/subjects.ts';
import { anInstallation, sharedNatsServer } from '../support/nats-server.ts';

const { url } = sharedNatsServer();
const run = { tenant: 'sales', runId: 'load.1' };
const lifecycle = (step: number) => ({ ...run, attempt: 1, step, at: new Date(0).toISOString() });
const completed = (state: 'succeeded' | 'failed') => ({ ...run, state, attempt: 1, timings: {} });

describe('events', () => {
  test('completed is stored once, even if another process publishes it again', async () => {
    await using installation = await anInstallation(url());
    const [one, two, client] = [
      await installation.broker(),
      await installation.broker('worker', 'two'),
      await installation.client(),
    ];
    const received: StoredEvent[] = [];
    const subscription = client.events$(run).subscribe((event) => received.push(event));
    await one.publish.event(run, 'completed', 2, completed('succeeded'));
    await Promise.all([
      one.publish.event(run, 'completed', 2, completed('succeeded')),
      two.publish.event(run, 'completed', 3, completed('failed')),
    ]);
    expect(await client.lastEvent(run, 'completed')).toMatchObject({
      id: 'sales/load.1/2/completed',
      step: 2,
      data: { state: 'succeeded' },
    });
    await expect.poll(() => received.length).toBeGreaterThan(0);
    await using connection = await connectNats({ ...installation.options, role: 'setup', name: 'count' });
    const { assets } = layoutFrom(installation.options);
    expect((await (await connection.nc.jetstreamManager()).streams.info(assets.events)).state.messages).toBe(1);
    subscription.unsubscribe();
  });

  test('the same step event twice is stored once, another step is another event', async () => {
    await using installation = await anInstallation(url());
    const [broker, client] = [await installation.broker(), await installation.client()];
    for (const step of [1, 1, 2]) await broker.publish.event(run, 'launched', step, lifecycle(step));
    await using connection = await connectNats({ ...installation.options, role: 'setup', name: 'count' });
    const { assets } = layoutFrom(installation.options);
    expect((await (await connection.nc.jetstreamManager()).streams.info(assets.events)).state.messages).toBe(2);
    expect(await client.lastEvent(run, 'launched')).toMatchObject({ step: 2, run });
    expect(await client.lastEvent(run, 'completed')).toBeUndefined();
  });
});

describe('run requests', () => {
  test('two requests with the same id are one message', async () => {
    await using installation = await anInstallation(url());
    const client = await installation.client();
    const data = new TextEncoder().encode('{}');
    expect(await client.publishRun('default', run, data, 'run:1')).toEqual({ seq: 1, duplicate: false });
    expect(await client.publishRun('default', run, data, 'run:1')).toEqual({ seq: 1, duplicate: true });
  });

  test('an unknown queue is reported with the remedy', async () => {
    await using installation = await anInstallation(url());
    const client = await installation.client();
    await expect(client.publishRun('nope', run, new Uint8Array(2))).rejects.toMatchObject({
      code: 'NOT_FOUND',
      message: expect.stringMatching(/queue nope.*reentry setup/),
    });
  });

  test('a request over the payload limit is refused as too large', async () => {
    await using installation = await anInstallation(url());
    const client = await installation.client();
    await expect(client.publishRun('default', run, new Uint8Array(client.maxPayloadBytes + 1))).rejects.toMatchObject({
      code: 'TOO_LARGE',
      transient: false,
    });
  });
});

describe('dead letters', () => {
  test('even the largest message is stored, with the size of the original', async () => {
    await using installation = await anInstallation(url());
    const broker = await installation.broker();
    const why = { code: 'DEAD_LETTERED', category: 'infrastructure' as const, summary: 'zu oft: ü\n', evidence: [] };
    await broker.publish.deadLetter('run', run, new Uint8Array(1024 * 1024), why, { stream: 'RUNS', seq: 1 });
    await using connection = await connectNats({ ...installation.options, role: 'setup', name: 'look' });
    const { assets, subjects } = layoutFrom(installation.options);
    const message = await (
      await connection.nc.jetstreamManager()
    ).streams.getMessage(assets.deadLetters, { last_by_subj: subjects.dlq.of('run', run) });
    expect(JSON.parse(message.header.get('Reentry-Why'))).toMatchObject({ code: 'DEAD_LETTERED' });
    expect(message.header.get('Reentry-Truncated-From-Bytes')).toBe(String(1024 * 1024));
  });
});

const parsed = (data: Uint8Array): unknown => JSON.parse(new TextDecoder().decode(data));

describe('services', () => {
  test('one of several workers answers, for the tenant of the subject', async () => {
    await using installation = await anInstallation(url());
    const workers = [await installation.broker(), await installation.broker('worker', 'two')];
    const answer = vi.fn((tenant: string, data: Uint8Array) =>
      Promise.resolve({ ok: { tenant, asked: parsed(data) } }),
    );
    const serving = workers.map((worker) => worker.services.serve$('status', answer).subscribe());
    const client = await installation.client();
    await expect
      .poll(() => client.request('a.b', 'status', { runId: 'x' }).catch(() => undefined))
      .toEqual({ ok: { tenant: 'a.b', asked: { runId: 'x' } } });
    const before = answer.mock.calls.length;
    await client.request('a.b', 'status', { runId: 'x' });
    expect(answer.mock.calls.length).toBe(before + 1);
    for (const one of serving) one.unsubscribe();
  });

  test('problems are answered: invalid JSON, errors of reentry, bugs', async () => {
    await using installation = await anInstallation(url());
    const worker = await installation.broker();
    const failures: Record<string, () => unknown> = {
      json: () => parsed(new TextEncoder().encode('{')),
      ours: () => {
        throw new ReentryError('NOT_FOUND', 'no such run', {
          transient: false,
          problems: [{ path: 'runId', message: 'unknown' }],
        });
      },
      bug: () => {
        throw new TypeError('secret detail');
      },
    };
    const serving = worker.services
      .serve$('explain', (tenant) =>
        Promise.resolve().then(() => {
          failures[tenant]?.();
          return { ok: 'x'.repeat(2_000_000) };
        }),
      )
      .subscribe();
    const client = await installation.client();
    const code = async (tenant: string) => {
      const reply = await client.request(tenant, 'explain', {});
      return 'error' in reply ? reply.error : reply;
    };
    await expect
      .poll(() => code('json').catch(() => undefined))
      .toMatchObject({ code: 'INVALID_REQUEST', problems: [{ path: '$' }] });
    expect(await code('ours')).toMatchObject({ code: 'NOT_FOUND', problems: [{ path: 'runId' }] });
    expect(await code('bug')).toEqual({ code: 'INTERNAL', message: expect.not.stringContaining('secret') });
    expect(await code('large')).toMatchObject({ code: 'TOO_LARGE' });
    serving.unsubscribe();
  });

  test('a tenant token that is not canonical and a reply outside the inboxes are refused', async () => {
    await using installation = await anInstallation(url());
    const worker = await installation.broker();
    const handle = vi.fn(() => Promise.resolve({ ok: 1 }));
    const serving = worker.services.serve$('status', handle).subscribe();
    await using connection = await connectNats({ ...installation.options, role: 'setup', name: 'raw' });
    const { nc } = connection;
    const { root } = layoutFrom(installation.options).subjects;
    await expect
      .poll(async () => (await nc.request(`${root}.svc.=2e.status`, '{}').catch(() => undefined))?.json())
      .toMatchObject({ error: { code: 'INVALID_REQUEST' } });
    const received: unknown[] = [];
    nc.subscribe('elsewhere.>', { callback: (_error, message) => received.push(message.subject) });
    nc.publish(`${root}.svc.t.status`, '{}', { reply: 'elsewhere.x' });
    // The answer to a valid request after it shows that the invalid one was processed.
    await nc.request(`${root}.svc.t.status`, '{}');
    expect([handle.mock.calls.length, received]).toEqual([1, []]);
    serving.unsubscribe();
  });

  test('no responders and no answer in time are two errors', async () => {
    await using installation = await anInstallation(url());
    const client = await installation.client();
    await expect(client.request('t', 'render', {})).rejects.toMatchObject({ code: 'UNREACHABLE' });
    const worker = await installation.broker();
    let asked = 0;
    const serving = worker.services
      .serve$('render', () => {
        asked += 1;
        return new Promise(() => undefined);
      })
      .subscribe();
    await expect
      .poll(() =>
        client
          .request('t', 'render', {}, 100)
          .catch((error: unknown) => (error instanceof ReentryError ? error.code : undefined)),
      )
      .toBe('TIMEOUT');
    expect(asked).toBeGreaterThan(0);
    serving.unsubscribe();
  });
});

describe('requests that wait', () => {
  test('are bounded: in age, in number and in bytes', () => {
    const room = new WaitingRequests<string>();
    expect(room.put('a', 10, 0)).toBe(true);
    expect(room.put('b', 10, ANSWER_WITHIN_MS - 1)).toBe(true);
    expect(room.expired(ANSWER_WITHIN_MS - 1)).toEqual([]);
    expect(room.expired(ANSWER_WITHIN_MS)).toEqual(['a']);
    expect([room.next(), room.next(), room.size]).toEqual(['b', undefined, 0]);
    let taken = 0;
    while (room.put('large', 1024 * 1024, 0)) taken += 1;
    expect(taken).toBe(16);
    expect(room.next()).toBe('large');
    expect(room.put('large', 1024 * 1024, 0)).toBe(true);
    expect(room.expired(ANSWER_WITHIN_MS)).toHaveLength(16);
    for (taken = 0; room.put('small', 1, 0);) taken += 1;
    expect(taken).toBe(4_096);
  });

  test('behind requests that hang are not carried out once the client has repeated them', async () => {
    await using installation = await anInstallation(url());
    const worker = await installation.broker();
    const hanging: (() => void)[] = [];
    const carriedOut = vi.fn();
    const serving = worker.services
      .serve$('cancel', async (tenant) => {
        if (tenant === 'stuck') await new Promise<void>((resolve) => hanging.push(resolve));
        else carriedOut();
        return { ok: tenant };
      })
      .subscribe();
    await using connection = await connectNats({ ...installation.options, role: 'setup', name: 'raw' });
    const { nc } = connection;
    const { subjects } = layoutFrom(installation.options);
    const asked: string[] = [];
    nc.subscribe(subjects.service.of('fine', 'cancel'), { callback: (_error, { reply }) => asked.push(reply ?? '') });
    const fill = (count: number) => {
      for (let n = 0; n < count; n += 1)
        nc.publish(subjects.service.of('stuck', 'cancel'), '{}', { reply: '_INBOX.unused' });
    };
    // The request that shows that the worker listens may be repeated.
    await expect
      .poll(() => {
        if (hanging.length === 0) fill(1);
        return hanging.length;
      })
      .toBeGreaterThan(0);
    fill(64);
    await expect.poll(() => hanging.length).toBe(64);
    const waiting = nc.request(subjects.service.of('fine', 'cancel'), '{}', { timeout: 20_000 });
    const answer = (await installation.client()).request('fine', 'cancel', {});
    await expect.poll(() => asked.length).toBe(2);
    const lateAt = performance.now() + ANSWER_WITHIN_MS;
    // The client's second try, when it has given up its first.
    await expect.poll(() => asked.length === 3 && performance.now() > lateAt, { timeout: 10_000 }).toBe(true);
    for (const release of hanging) release();
    expect(await answer).toEqual({ ok: 'fine' });
    expect((await waiting).json()).toMatchObject({ error: { code: 'BUSY' } });
    expect(carriedOut).toHaveBeenCalledTimes(1);
    serving.unsubscribe();
  });
});

describe('core messages', () => {
  test('nudges and heartbeats are received; clients receive live text and stored chunks', async () => {
    await using installation = await anInstallation(url());
    const [worker, triggerer, client] = [
      await installation.broker(),
      await installation.broker('triggerer'),
      await installation.client(),
    ];
    const received: unknown[] = [];
    const subscriptions = [
      worker.nudges$('w.1').subscribe((nudge) => received.push(nudge)),
      triggerer.membership.heartbeats$.subscribe(({ replica }) => received.push(replica)),
      client.logChunks$(run).subscribe(({ text, container, attempt }) => received.push([text, container, attempt])),
    ];
    await expect
      .poll(async () => {
        await worker.publish.nudge('w.1', run);
        triggerer.membership.publishHeartbeat({ v: 1, replica: 'r1', draining: false, at: 0, shards: 0 });
        await worker.logs.append(
          run,
          1,
          'base',
          { text: 'line', to: { nanos: 1n, lines: 1 } },
          (await worker.logs.end(run, 1, 'base')).sequence,
        );
        return received;
      })
      .toEqual(expect.arrayContaining([run, 'r1', ['line', 'base', 1]]));
    for (const one of subscriptions) one.unsubscribe();
  });

  test('invalid messages are ignored: everything after them is received', async () => {
    await using installation = await anInstallation(url());
    const [worker, triggerer, client] = [
      await installation.broker(),
      await installation.broker('triggerer'),
      await installation.client(),
    ];
    await using connection = await connectNats({ ...installation.options, role: 'setup', name: 'raw' });
    const { nc } = connection;
    const { subjects } = layoutFrom(installation.options);
    const received: string[] = [];
    const receive = (what: string) => (): void => void received.push(what);
    const failures: unknown[] = [];
    const note = (what: string) => ({
      next: receive(what),
      error: (error: unknown) => void failures.push([what, error]),
    });
    const listening = [
      worker.nudges$('w.1').subscribe(note('nudge')),
      triggerer.membership.heartbeats$.subscribe(note('heartbeat')),
      worker.executors.heartbeats$.subscribe(note('beat')),
      client.events$(run).subscribe(note('event')),
      client.live$(run).subscribe(note('live')),
      client.logChunks$(run).subscribe(note('log')),
      triggerer.queries
        .answer$('queuePosition', () => ({ position: 1, of: 1, why: 'turn' }))
        .subscribe(note('queuePosition')),
      triggerer.queries.answer$('queues', () => []).subscribe(note('queues')),
      worker.services.serve$('status', () => Promise.resolve({ ok: 'received' })).subscribe(note('status')),
    ];
    const follow = worker.live.onFollowRequest(run, receive('follow'));
    const ALL = new Set(['nudge', 'heartbeat', 'beat', 'event', 'live', 'follow', 'log']);
    let step = 0;
    const publishAll = async () => {
      step += 1;
      await worker.publish.nudge('w.1', run);
      triggerer.membership.publishHeartbeat({ v: 1, replica: 'r1', draining: false, at: 0, shards: 0 });
      worker.executors.publishHeartbeat({
        ...{ v: 1, executor: 'e1', queue: 'executor', draining: false },
        ...{ parallelism: 1, running: 0, launching: 0 },
      });
      await worker.publish.event(run, 'launched', step, lifecycle(step));
      await worker.live.publish(run, { attempt: 1, container: 'base', text: 'x', after: undefined });
      await worker.live.requestFollow(run, { kind: 'renew', join: true });
      const { sequence } = await worker.logs.end(run, 1, 'base');
      await worker.logs.append(run, 1, 'base', { text: 'l', to: { nanos: BigInt(step), lines: 1 } }, sequence);
      return new Set(received);
    };
    await expect.poll(publishAll).toEqual(ALL);
    const odd = ['', '{', '17', 'null', '[]', '{"tenant":1}', '{"v":99}', new Uint8Array([0xff, 0xfe])];
    for (const subject of [
      subjects.nudge.of('w.1'),
      subjects.heartbeat.of('r1'),
      subjects.executorHeartbeat.of('executor', 'e1'),
      subjects.event.of(run, 'launched'),
      subjects.follow.of(run),
      subjects.query.of('queuePosition'),
      subjects.query.of('queues'),
      subjects.service.of('t', 'status'),
    ])
      for (const data of odd) {
        nc.publish(subject, data);
        nc.publish(subject, data, { reply: '_INBOX.unused' });
      }
    const header = headers();
    header.set('Reentry-Attempt', 'x');
    header.set('Reentry-After', '1:2:3');
    nc.publish(subjects.live.of(run, 'base'), odd.at(-1), { headers: header });
    nc.publish(`${subjects.live.ofRun(run).slice(0, -1)}=zz`, '');
    await nc.flush();
    // Valid messages after it are received on the same subscriptions.
    received.length = 0;
    await publishAll();
    await expect.poll(() => new Set(received)).toEqual(ALL);
    expect(await worker.queries.queuePosition(run)).toMatchObject({ position: 1 });
    expect(await worker.queries.queues()).toEqual([]);
    expect(await client.request('t', 'status', {})).toEqual({ ok: 'received' });
    expect(failures).toEqual([]);
    follow[Symbol.dispose]();
    for (const one of listening) one.unsubscribe();
  });

  test('an invalid answer between roles counts as none', async () => {
    await using installation = await anInstallation(url());
    const worker = await installation.broker();
    await using connection = await connectNats({ ...installation.options, role: 'setup', name: 'raw' });
    const { nc } = connection;
    const { subjects } = layoutFrom(installation.options);
    let asked = 0;
    for (const question of ROLE_QUERIES)
      nc.subscribe(subjects.query.of(question), {
        callback: (_error, message) => {
          asked += 1;
          message.respond('{');
          message.respond('{"position":"first"}');
        },
      });
    await nc.flush();
    expect(await worker.queries.queuePosition(run)).toBeUndefined();
    expect(await worker.queries.queues()).toBeUndefined();
    expect(await worker.queries.roles(200)).toEqual([]);
    expect(asked).toBe(3);
  });
});
