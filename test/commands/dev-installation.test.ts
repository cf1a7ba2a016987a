import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { takeInstallation } from '../../src/commands/dev-installation.ts';
import { readDevState } from '../../src/commands/shell.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'reentry-installation-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Another process that lives until it is disposed. */
async function another(): Promise<AsyncDisposable & { readonly pid: number }> {
  const child = spawn('sleep', ['600'], { stdio: 'ignore' });
  await once(child, 'spawn');
  return {
    pid: child.pid ?? -1,
    async [Symbol.asyncDispose]() {
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
    },
  };
}
/** When a process began, in the kernel's ticks: field 22, and the program's name before it may have spaces. */
async function startOf(pid: number): Promise<string> {
  const stat = await readFile(`/proc/${String(pid)}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}

const url = 'nats://127.0.0.1:9';
/** A folder as a `dev` leaves it that was killed. */
async function leftBy(holder: { readonly pid: number; readonly start?: string }): Promise<void> {
  await writeFile(join(folder, 'lock'), JSON.stringify(holder));
  const state = { ...holder, natsUrl: url, directory: '/somewhere', ready: true };
  await writeFile(join(folder, 'state.json'), JSON.stringify(state));
}
const isStale = async (): Promise<void> => {
  // No client gets the address of a stopped broker, and the folder is free.
  expect(await readDevState(folder)).toBeUndefined();
  await using installation = await takeInstallation(folder, false);
  expect(existsSync(join(folder, 'lock'))).toBe(true);
  expect(installation.natsFolder).toBe(join(folder, 'nats'));
};
const isHeld = async (): Promise<void> => {
  expect(await readDevState(folder)).toMatchObject({ natsUrl: url });
  await expect(takeInstallation(folder, false)).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining(`its broker is ${url}`),
  });
};

describe('the folder of an installation', () => {
  test('is held by a process that lives', async () => {
    await using holder = await another();
    await leftBy({ pid: holder.pid, start: await startOf(holder.pid) });
    await isHeld();
  });

  test('is held by a live process whose start time is not known', async () => {
    await using holder = await another();
    await leftBy({ pid: holder.pid });
    await isHeld();
    // As locks were written once.
    await writeFile(join(folder, 'lock'), String(holder.pid));
    await isHeld();
  });

  test('is free when its holder is gone', async () => {
    const holder = await another();
    await leftBy({ pid: holder.pid, start: await startOf(holder.pid) });
    await holder[Symbol.asyncDispose]();
    await isStale();
  });

  test('is free when another process has the id of its holder by now', async () => {
    await using later = await another();
    await leftBy({ pid: later.pid, start: String(Number(await startOf(later.pid)) - 1) });
    await isStale();
  });

  test.each([{}, { start: '1' }])('is free when its holder had the id of this process: %j', async (start) => {
    await leftBy({ pid: process.pid, ...start });
    await isStale();
  });

  test.each(['', '0', '{"pid":'])('is free when its lock is none: %j', async (text) => {
    await writeFile(join(folder, 'lock'), text);
    await isStale();
  });

  test('names its holder and when that started, and nothing once released', async () => {
    const installation = await takeInstallation(folder, false);
    await installation.publish({ natsUrl: url, directory: '/somewhere', ready: true });
    const me = { pid: process.pid, start: await startOf(process.pid) };
    for (const name of ['lock', 'state.json'])
      expect(JSON.parse(await readFile(join(folder, name), 'utf8'))).toMatchObject(me);
    await installation[Symbol.asyncDispose]();
    for (const name of ['lock', 'state.json']) expect(existsSync(join(folder, name))).toBe(false);
  });
});
