/** What a bench observes of an installation from outside: steps, duplicate completions, heartbeats, shard claims, memory and CPU. */
import { readdir, readFile } from 'node:fs/promises';
import { DeliverPolicy } from 'nats';
import { runStateSchema } from '../../src/wire/run-state.ts';
import { heartbeatSchema } from '../../src/wire/presence.ts';
import type { Heartbeat } from '../../src/wire/presence.ts';
import type { RunningInstallation } from '../support/running-installation.ts';
import { subjects } from './runs.ts';
import { assets } from './waiting-runs.ts';

/** Clock ticks per second in /proc, the same on every Linux that Node runs on. */
const TICKS = 100;

/** User and system time of a process so far, in seconds. */
export async function cpuSeconds(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${String(pid)}/stat`, 'utf8');
  // The program's name stands in parentheses and may contain spaces; user and system time are fields 14 and 15.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
}

/** Resident memory of a process, in megabytes: now (`VmRSS`), or its peak (`VmHWM`). */
export async function memoryMb(pid: number, which: 'VmRSS' | 'VmHWM' = 'VmRSS'): Promise<number> {
  const status = await readFile(`/proc/${String(pid)}/status`, 'utf8');
  return (Number(new RegExp(`^${which}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * 1024) / 1e6;
}

/** Private memory of a process, in megabytes: without the program's text, which all Node processes share. */
export async function privateMb(pid: number): Promise<number> {
  const rollup = await readFile(`/proc/${String(pid)}/smaps_rollup`, 'utf8');
  const kb = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(rollup)?.[1]);
  return ((kb('Private_Dirty') + kb('Private_Clean')) * 1024) / 1e6;
}

/** Open file descriptors of a process. */
export async function handleCount(pid: number): Promise<number> {
  return (await readdir(`/proc/${String(pid)}/fd`)).length;
}

/** Each step of each run that a worker took, from the history of the states: rejected writes are not in it. */
export interface Steps extends AsyncDisposable {
  /** Steps that two messages took: each is a run resumed twice. */
  twice(): readonly string[];
  readonly taken: number;
}

/** Follows the states from now on. */
export async function stepsTaken(installation: RunningInstallation): Promise<Steps> {
  const js = installation.connection.nc.jetstream();
  const consumer = await js.consumers.get(assets.stateBucket.stream, { deliver_policy: DeliverPolicy.New });
  const owners = new Map<string, Set<string>>();
  const messages = await consumer.consume({
    callback: (message) => {
      const state = runStateSchema.safeParse(message.data.length === 0 ? undefined : message.json());
      if (!state.success || state.data.phase !== 'Resuming') return;
      const { step, fence } = state.data;
      const key = `${message.subject}/${String(step)}`;
      const known = owners.get(key) ?? new Set();
      owners.set(key, known.add(`${fence.stream}/${String(fence.seq)}`));
    },
  });
  return {
    get taken() {
      return owners.size;
    },
    twice: () => [...owners].flatMap(([key, by]) => (by.size > 1 ? [key] : [])),
    async [Symbol.asyncDispose]() {
      await messages.close();
    },
  };
}

/** Subjects of runs with more than one stored `completed` event. */
export async function completedTwice(installation: RunningInstallation): Promise<readonly string[]> {
  const jsm = await installation.connection.nc.jetstreamManager();
  const { state } = await jsm.streams.info(assets.events, { subjects_filter: subjects.event.completedOf('default') });
  return Object.entries(state.subjects ?? {}).flatMap(([subject, count]) => (count > 1 ? [subject] : []));
}

/** The newest heartbeat of each triggerer. */
export interface Heartbeats extends Disposable {
  readonly latest: ReadonlyMap<string, Heartbeat>;
  /** The longest event loop delay reported since the last call, in milliseconds. */
  worstLoopDelayMs(): number;
}

/** Receives the triggerers' heartbeats from now on. */
export function heartbeatsOf(installation: RunningInstallation): Heartbeats {
  const latest = new Map<string, Heartbeat>();
  let worst = 0;
  const subscription = installation.connection.nc.subscribe(subjects.heartbeat.all, {
    callback: (_, message) => {
      const heartbeat = heartbeatSchema.parse(message.json());
      latest.set(heartbeat.replica, heartbeat);
      worst = Math.max(worst, heartbeat.loopDelayMs ?? 0);
    },
  });
  return {
    latest,
    worstLoopDelayMs() {
      const reported = worst;
      worst = 0;
      return reported;
    },
    [Symbol.dispose]() {
      subscription.unsubscribe();
    },
  };
}

/** Follows claims of shards from now on: their number, and when the last one was stored (epoch milliseconds of the broker). */
export async function claimsOf(
  installation: RunningInstallation,
): Promise<AsyncDisposable & { readonly lastAt: number; readonly count: number }> {
  const js = installation.connection.nc.jetstream();
  const consumer = await js.consumers.get(assets.ownershipBucket.stream, { deliver_policy: DeliverPolicy.New });
  let lastAt = 0;
  let count = 0;
  const messages = await consumer.consume({
    callback: (message) => {
      if (!/\.s\.[0-9a-f]{2}$/.test(message.subject)) return;
      count += 1;
      lastAt = Math.round(message.info.timestampNanos / 1e6);
    },
  });
  return {
    get lastAt() {
      return lastAt;
    },
    get count() {
      return count;
    },
    async [Symbol.asyncDispose]() {
      await messages.close();
    },
  };
}
