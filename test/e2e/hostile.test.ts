import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type NatsConnection } from 'nats';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { type ReentryProcess, startReentry } from '../support/processes.ts';
import { HOSTILE_ASKS } from './hostile-asks.ts';
import { POLICY } from './hostile-fenced.ts';
import { HOSTILE_RUNS } from './hostile-requests.ts';

const eventSchema = z.looseObject({
  data: z.looseObject({
    state: z.string(),
    diagnosis: z
      .looseObject({ code: z.string(), problems: z.array(z.looseObject({ path: z.string() })).optional() })
      .optional(),
  }),
});
const replySchema = z.union([
  z.object({ ok: z.unknown() }),
  z.object({ error: z.looseObject({ code: z.string(), message: z.string() }) }),
]);

let directory: string;
let dev: ReentryProcess;
let nats: NatsConnection;
let memoryBefore = 0;
/** Types of events by `<tenant>.<runId>`. */
const events = new Map<string, string[]>();
const ends = new Map<string, z.infer<typeof eventSchema>['data']>();

/** Peak memory of the process, in MiB. */
const peakMebibytes = () =>
  Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${String(dev.pid)}/status`, 'utf8'))?.[1] ?? 0) / 1024;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'reentry-hostile-'));
  await writeFile(join(directory, 'policy.yaml'), JSON.stringify(POLICY));
  const server = process.env['REENTRY_NATS_SERVER'];
  dev = startReentry(
    ['dev', '--json', '--policy', 'policy.yaml'],
    {
      REENTRY_CACHE_FOLDER: join(directory, 'cache'),
      ...(server === undefined ? {} : { REENTRY_NATS_SERVER: server }),
    },
    directory,
  );
  await vi.waitUntil(() => dev.stdout().includes('\n') || dev.child.exitCode !== null, { timeout: 110_000 });
  const { natsUrl } = z.looseObject({ natsUrl: z.string() }).parse(JSON.parse(dev.stdout()));
  nats = await connect({ servers: natsUrl });
  nats.subscribe('reentry.v1.ev.>', {
    callback: (_, { subject, data }) => {
      const [, , , tenant = '', runId = '', type = ''] = subject.split('.');
      const key = `${tenant}.${runId}`;
      events.set(key, [...(events.get(key) ?? []), type]);
      if (type === 'completed') ends.set(key, eventSchema.parse(JSON.parse(new TextDecoder().decode(data))).data);
    },
  });
  await nats.flush();
  memoryBefore = peakMebibytes();
});

afterAll(async () => {
  await nats.close();
  dev.kill('SIGTERM');
  expect(await dev.ended).toBe(0);
  await rm(directory, { recursive: true, force: true });
});

test('the table has enough rows, all different', () => {
  const bodies = HOSTILE_RUNS.map(({ tenant, body }) => `${tenant} ${Buffer.from(body).toString('base64')}`);
  expect(HOSTILE_RUNS.length + HOSTILE_ASKS.length).toBeGreaterThanOrEqual(200);
  expect(new Set(bodies).size).toBe(HOSTILE_RUNS.length);
});

describe('a hostile run request', () => {
  beforeAll(async () => {
    nats.publish('reentry.v1.run.default.fenced.victim', HOSTILE_RUNS.find(({ end }) => end === 'harmless')?.body);
    HOSTILE_RUNS.forEach(({ tenant, body }, index) => {
      nats.publish(`reentry.v1.run.default.${tenant}.h${String(index)}`, body);
    });
    await nats.flush();
  });

  test.each(HOSTILE_RUNS.map((one, index) => ({ ...one, index })))(
    '$what: $end',
    async ({ tenant, index, end, path }) => {
      const key = `${tenant}.h${String(index)}`;
      await expect.poll(() => ends.has(key), { timeout: 60_000 }).toBe(true);
      const data = ends.get(key);
      if (end === 'harmless') return;
      expect(data).toMatchObject({ state: 'failed', diagnosis: { code: end } });
      expect(events.get(key)).not.toContain('launched');
      expect(data?.diagnosis?.problems?.length).toBeGreaterThan(0);
      if (path !== undefined) expect(data?.diagnosis?.problems?.map((problem) => problem.path)).toContain(path);
    },
  );

  test.each([
    ['a run id with a blank', 'reentry.v1.run.default.default.a=b'],
    ['a lower-case escape', 'reentry.v1.run.default.default.a=2e'],
    ['an escape that need not be', 'reentry.v1.run.default.default.=41'],
    ['a tenant that is cut', 'reentry.v1.run.default.a=2.x'],
    ['a run id that is too long', `reentry.v1.run.default.default.${'x'.repeat(129)}`],
    ['bytes that are no UTF-8', 'reentry.v1.run.default.default.=FF'],
  ])('with %s in its subject is refused under that raw token', async (_, subject) => {
    nats.publish(subject, JSON.stringify({ params: { image: 'alpine' } }));
    const key = subject.split('.').slice(-2).join('.');
    const isOfIt = (ended: string) => ended === key || ended.includes('raw-');
    await expect.poll(() => [...ends.keys()].some(isOfIt), { timeout: 20_000 }).toBe(true);
    expect(events.get(key) ?? []).not.toContain('launched');
  });
});

describe('a hostile request to a service', () => {
  test.each(HOSTILE_ASKS)('%s', async (_, verb, tenant, body, code) => {
    const answer = await nats.request(`reentry.v1.svc.${tenant}.${verb}`, body, { timeout: 10_000 });
    const reply = replySchema.parse(answer.json());
    if (!('error' in reply)) throw new Error(`answered ${JSON.stringify(reply)}`);
    expect(reply.error.code).toMatch(code);
    expect(reply.error.message).not.toMatch(/\n\s+at |node_modules/);
  });

  test('is answered to an inbox only', async () => {
    const subject = 'reentry.v1.ev.default.forged.completed';
    nats.publish('reentry.v1.svc.default.list', '{}', { reply: subject });
    nats.publish('reentry.v1.svc.default.list', '{}', { reply: '$JS.API.STREAM.PURGE.REENTRY_EVENTS' });
    const after = await nats.request('reentry.v1.svc.default.list', '{"limit":1}', { timeout: 10_000 });
    expect(replySchema.parse(after.json())).toHaveProperty('ok');
    expect(events.has('default.forged')).toBe(false);
    const manager = await nats.jetstreamManager();
    expect((await manager.streams.info('REENTRY_EVENTS')).state.first_seq).toBe(1);
  });
});

test('each run has ended once', async () => {
  const manager = await nats.jetstreamManager();
  const filter = { subjects_filter: 'reentry.v1.ev.*.*.completed' };
  const { subjects } = (await manager.streams.info('REENTRY_EVENTS', filter)).state;
  expect(Object.values(subjects ?? {}).filter((count) => count !== 1)).toEqual([]);
  expect(Object.keys(subjects ?? {}).length).toBeGreaterThanOrEqual(HOSTILE_RUNS.length);
});

test('the process is ready for the next run, and its memory is bounded', async () => {
  nats.publish(
    'reentry.v1.run.default.default.afterwards',
    JSON.stringify({ params: { image: 'alpine', cmds: ['true'] } }),
  );
  await expect.poll(() => ends.get('default.afterwards')?.state, { timeout: 60_000 }).toBe('succeeded');
  expect(dev.child.exitCode).toBeNull();
  expect(peakMebibytes() - memoryBefore).toBeLessThan(400);
});
