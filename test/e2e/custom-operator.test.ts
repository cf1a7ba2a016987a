import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { type Client, connect } from '../../src/client/index.ts';
import { type ReentryProcess, runReentry, startReentry } from '../support/processes.ts';

const OPERATORS = fileURLToPath(new URL('../support/example-operators.ts', import.meta.url));
let directory: string;
let dev: ReentryProcess;
let client: Client;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'reentry-operators-'));
  const server = process.env['REENTRY_NATS_SERVER'];
  const env = {
    REENTRY_CACHE_FOLDER: join(directory, 'cache'),
    ...(server === undefined ? {} : { REENTRY_NATS_SERVER: server }),
  };
  dev = startReentry(['dev', '--json', '--operators', OPERATORS], env, directory);
  await vi.waitUntil(() => dev.stdout().includes('\n') || dev.child.exitCode !== null, { timeout: 110_000 });
  expect(dev.stderr()).toBe('');
  const { natsUrl } = z.object({ natsUrl: z.string() }).parse(JSON.parse(dev.stdout()));
  client = await connect({ servers: natsUrl });
}, 120_000);

afterAll(async () => {
  await client[Symbol.asyncDispose]();
  await dev[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

test('a custom operator runs its pod, waits for a time, and returns its own result', async () => {
  const { runId } = await client.submit({ operator: 'count-and-settle', params: { to: 5 } });
  const types: string[] = [];
  const watched = client.events$(runId).forEach(({ type }) => types.push(type));
  const done = await client.waitFor(runId, { timeoutMs: 30_000 });
  expect(done).toMatchObject({ state: 'succeeded', result: { counted: 5, attempt: 1 } });
  await watched;
  expect(types).toEqual(['accepted', 'launched', 'deferred', 'resumed', 'completed']);
  const lines: string[] = [];
  for await (const { text } of client.logs(runId)) lines.push(text);
  expect(lines).toEqual(['1', '2', '3', '4', '5']);
});

test('an operator without a pod waits, fails, is retried, and skips', async () => {
  const { runId } = await client.submit({
    operator: 'wait-then-fail',
    params: { seconds: 0.2, succeedsAt: 2 },
    retries: 1,
    retryDelaySeconds: 0.1,
  });
  const done = await client.waitFor(runId, { timeoutMs: 30_000 });
  expect(done).toMatchObject({ state: 'skipped', attempt: 2, diagnosis: { code: 'OPERATOR_SKIPPED' } });
  const once = await client.submit({ operator: 'wait-then-fail', params: { seconds: 0.1, succeedsAt: 9 } });
  expect(await client.waitFor(once.runId, { timeoutMs: 30_000 })).toMatchObject({
    state: 'failed',
    diagnosis: { code: 'OPERATOR_FAILED', category: 'user', summary: expect.stringContaining('attempt 1') },
  });
});

test('a wait for a time can be cancelled, and times out', async () => {
  const long = { operator: 'wait-then-fail', params: { seconds: 600 } };
  const { runId } = await client.submit(long);
  await expect.poll(async () => (await client.status(runId)).phase, { timeout: 10_000 }).toBe('Deferred');
  await client.cancel(runId);
  expect(await client.waitFor(runId, { timeoutMs: 30_000 })).toMatchObject({ state: 'cancelled' });
  const late = await client.submit({ ...long, executionTimeoutSeconds: 0.5 });
  expect(await client.waitFor(late.runId, { timeoutMs: 30_000 })).toMatchObject({
    state: 'failed',
    diagnosis: { code: 'EXECUTION_TIMEOUT' },
  });
});

test('a problem of a request is reported with its path, that of a file with its name', async () => {
  await expect(client.submit({ operator: 'count-and-settle', params: { to: 0, two: 1 } })).rejects.toMatchObject({
    code: 'INVALID_REQUEST',
    problems: expect.arrayContaining([
      expect.objectContaining({ path: 'params.to' }),
      expect.objectContaining({ path: 'params.two' }),
    ]),
  });
  const none = await runReentry(['worker', '--operators', '/nowhere/x.ts', '--nats-url', 'nats://127.0.0.1:1']);
  expect(none).toMatchObject({ code: 2, stderr: expect.stringContaining('cannot load module /nowhere/x.ts') });
});
