/** The folder of a `reentry dev` installation, with its lock: one process at a time. */
import { link, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ReentryError } from '../errors.ts';
import { identityFields, livesElsewhere, thisProcess } from './process-identity.ts';
import type { ProcessIdentity } from './process-identity.ts';
import { readDevState } from './shell.ts';
import type { DevState } from './shell.ts';

/** A folder locked by this process. Disposing it releases the lock; stored data stays. */
export interface DevInstallation extends AsyncDisposable {
  readonly natsFolder: string;
  readonly clusterFolder: string;
  /** Port of the broker when this installation last ran, on loopback. */
  readonly lastNatsPort: number | undefined;
  /** Writes the state file, which other commands in the directory read. */
  publish(state: Pick<DevState, 'kubeconfig' | 'directory' | 'ready'> & { readonly natsUrl: string }): Promise<void>;
}

/**
 * Locks the folder. `fresh`: its stored data is deleted.
 * @throws ReentryError CONFIG_INVALID when another process has the lock; the message has its broker's URL
 */
export async function takeInstallation(folder: string, fresh: boolean): Promise<DevInstallation> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const lock = join(folder, 'lock');
  const me = await thisProcess();
  await takeLock(lock, folder, me);
  const natsFolder = join(folder, 'nats');
  const clusterFolder = join(folder, 'cluster');
  const state = join(folder, 'state.json');
  const port = join(folder, 'nats-port');
  if (fresh) for (const part of [natsFolder, clusterFolder]) await rm(part, { recursive: true, force: true });
  return {
    natsFolder,
    clusterFolder,
    lastNatsPort: portSchema.safeParse(await readFile(port, 'utf8').catch(() => '')).data,
    async publish(next) {
      await writeFile(`${state}.new`, JSON.stringify({ ...me, ...next }), { mode: 0o600 });
      await rename(`${state}.new`, state);
      await writeFile(port, new URL(next.natsUrl).port, { mode: 0o600 });
    },
    async [Symbol.asyncDispose]() {
      await rm(state, { force: true });
      await rm(lock, { force: true });
    },
  };
}

const portSchema = z.coerce.number().int().min(1).max(65_535);
/** The second form is that of earlier versions: only a process id. */
const holderSchema = z.union([z.object(identityFields), identityFields.pid.transform((pid) => ({ pid }))]);

async function takeLock(lock: string, folder: string, me: ProcessIdentity): Promise<void> {
  const mine = `${lock}.${String(me.pid)}`;
  await writeFile(mine, JSON.stringify(me), { mode: 0o600 });
  try {
    for (let tries = 0; tries < 3; tries += 1) {
      // A link is complete at once: a partly written lock would look abandoned.
      if (await linked(mine, lock)) return;
      const holder = await holderOf(lock);
      if (holder !== undefined && (await livesElsewhere(holder))) {
        const running = await readDevState(folder);
        const where = running?.natsUrl === undefined ? 'it is still starting' : `its broker is ${running.natsUrl}`;
        throw new ReentryError(
          'CONFIG_INVALID',
          `reentry dev is already running for this directory (process ${String(holder.pid)}); ${where}. Use it, stop it, or start one in another directory.`,
          { transient: false },
        );
      }
      // Abandoned by a process that was killed.
      await rm(lock, { force: true });
    }
  } finally {
    await rm(mine, { force: true });
  }
  throw new ReentryError('CONFIG_INVALID', `cannot lock ${lock}; another reentry dev is starting for this directory`, {
    transient: true,
  });
}

/** Creates a hard link; `false` when the name exists. */
async function linked(file: string, name: string): Promise<boolean> {
  try {
    await link(file, name);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw error;
  }
}

async function holderOf(lock: string): Promise<ProcessIdentity | undefined> {
  try {
    return holderSchema.parse(JSON.parse(await readFile(lock, 'utf8')));
  } catch {
    return undefined; // released meanwhile, or not a lock
  }
}
