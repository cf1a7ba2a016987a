/** Where `reentry dev` keeps a directory's installation, and who runs it. One process at a time per folder. */
import { mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ReentryError } from '../errors.ts';
import { readDevState } from './shell.ts';
import type { DevState } from './shell.ts';

/** A folder that this process holds. Disposing it lets it go; what the broker stored stays. */
export interface DevInstallation extends AsyncDisposable {
  readonly natsFolder: string;
  readonly clusterFolder: string;
  /** Tells other commands of the directory where things are. */
  publish(state: Omit<DevState, 'pid'>): Promise<void>;
}

/**
 * Takes the folder. `fresh`: what it held is thrown away.
 * @throws ReentryError CONFIG_INVALID when another process holds it, saying where that one is
 */
export async function takeInstallation(folder: string, fresh: boolean): Promise<DevInstallation> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const lock = join(folder, 'lock');
  await takeLock(lock, folder);
  const natsFolder = join(folder, 'nats');
  const clusterFolder = join(folder, 'cluster');
  const state = join(folder, 'state.json');
  if (fresh) for (const part of [natsFolder, clusterFolder]) await rm(part, { recursive: true, force: true });
  return {
    natsFolder,
    clusterFolder,
    async publish(next) {
      await writeFile(`${state}.new`, JSON.stringify({ pid: process.pid, ...next }), { mode: 0o600 });
      await rename(`${state}.new`, state);
    },
    async [Symbol.asyncDispose]() {
      await rm(state, { force: true });
      await rm(lock, { force: true });
    },
  };
}

async function takeLock(lock: string, folder: string): Promise<void> {
  for (let tries = 0; tries < 3; tries += 1) {
    try {
      const file = await open(lock, 'wx', 0o600);
      await file.writeFile(String(process.pid));
      await file.close();
      return;
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    }
    const holder = Number(await readFile(lock, 'utf8').catch(() => '0'));
    if (isRunning(holder)) {
      const running = await readDevState(folder);
      const where = running?.natsUrl === undefined ? 'it is still starting' : `its broker is ${running.natsUrl}`;
      throw new ReentryError(
        'CONFIG_INVALID',
        `reentry dev already runs for this directory (process ${String(holder)}); ${where}. Use it, stop it, or start one in another directory.`,
        { transient: false },
      );
    }
    // Left by a process that was killed.
    await rm(lock, { force: true });
  }
  throw new ReentryError('CONFIG_INVALID', `cannot take ${lock}; another reentry dev is starting`, { transient: true });
}

function isRunning(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
