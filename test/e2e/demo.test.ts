/** The demo, as a new user runs it: it must succeed, and leave nothing, however it ends. */
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { z } from 'zod';
import { startReentry, type ReentryProcess } from '../support/processes.ts';

const answerSchema = z.object({
  ok: z.boolean(),
  runs: z.array(z.object({ runId: z.string(), state: z.string(), wrong: z.string().optional() })),
});

async function aDemo(): Promise<{ readonly demo: ReentryProcess; readonly folder: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'reentry-demo-test-'));
  const server = process.env['REENTRY_NATS_SERVER'];
  // What it leaves in its temporary folder and which processes it started are found by this folder's name.
  const env = { TMPDIR: folder, ...(server === undefined ? {} : { REENTRY_NATS_SERVER: server }) };
  const demo = startReentry(['demo', '--json'], env, folder);
  onTestFinished(async () => {
    await demo[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });
  return { demo, folder };
}

/** Processes whose environment or command line names the folder. */
async function processesOf(folder: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    const read = (file: string) => readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '');
    if ((await read('environ')).includes(folder) || (await read('cmdline')).includes(folder))
      found.push(`${pid} ${(await read('cmdline')).replaceAll('\0', ' ')}`);
  }
  return found;
}

test('ends with 0 and every run as expected, and leaves no process', async () => {
  const { demo, folder } = await aDemo();
  expect(await demo.ended, demo.stderr()).toBe(0);
  const { ok, runs } = answerSchema.parse(JSON.parse(demo.stdout()));
  expect(runs.filter(({ wrong }) => wrong !== undefined)).toEqual([]);
  expect(ok).toBe(true);
  expect(runs.length).toBeGreaterThanOrEqual(30);
  expect(await processesOf(folder)).toEqual([]);
  expect(await readdir(folder)).toEqual([]);
});

test('killed with -9 while it runs, it leaves no process', async () => {
  const { demo, folder } = await aDemo();
  // Broker, two workers, two triggerers: all are there.
  const roles = async () => (await processesOf(folder)).filter((line) => / (?:worker|triggerer) /.test(line)).length;
  await vi.waitUntil(async () => (await roles()) >= 4, { timeout: 60_000, interval: 50 });
  demo.kill('SIGKILL');
  await demo.ended;
  await expect.poll(() => processesOf(folder), { timeout: 10_000 }).toEqual([]);
});

test('stopped by Ctrl-C while its roles start, it ends with 130 and leaves nothing', async () => {
  const { demo, folder } = await aDemo();
  const roles = async () => (await processesOf(folder)).filter((line) => / (?:worker|triggerer) /.test(line));
  await vi.waitUntil(async () => (await roles()).length > 0, { timeout: 60_000, interval: 5 });
  // The terminal's signal reaches the whole group, in any order.
  for (const line of await roles()) process.kill(Number(line.split(' ')[0]), 'SIGINT');
  demo.kill('SIGINT');
  expect(await demo.ended, demo.stderr()).toBe(130);
  expect(demo.stderr()).toContain('the demo was stopped');
  expect(await processesOf(folder)).toEqual([]);
  expect(await readdir(folder)).toEqual([]);
});
