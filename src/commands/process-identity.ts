/** Identity of the process that wrote a file. Its id alone is not enough: ids are reused. */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';

/** Schema fields. `start`: start time in kernel ticks; absent where the system does not report it. */
export const identityFields = { pid: z.number().int().positive(), start: z.string().optional() } as const;

/** A process; on Linux, the start time distinguishes it from a later one with the same id. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly start?: string | undefined;
}

/** This process. */
export async function thisProcess(): Promise<ProcessIdentity> {
  const start = (await statOf(process.pid))?.start;
  return { pid: process.pid, ...(start === undefined ? {} : { start }) };
}

/**
 * Whether that process is alive and is not this one. A record with the id of this process is from an earlier one: in a container, the
 * program has the id 1 at every start.
 */
export async function livesElsewhere({ pid, start }: ProcessIdentity): Promise<boolean> {
  if (pid === process.pid || !hasProcess(pid)) return false;
  const now = await statOf(pid);
  if (now === undefined) return true; // not Linux, or no permission
  // Z and X: it has ended, and its parent has not reaped it yet.
  return !['Z', 'X'].includes(now.state) && (start === undefined || now.start === undefined || start === now.start);
}

function hasProcess(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'; // another user's
  }
}

/**
 * State and start time of a process on Linux: fields 3 and 22, counted from the end of field 2, the program's name, which may contain
 * anything.
 * @see https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
 */
async function statOf(
  pid: number,
): Promise<{ readonly state: string; readonly start: string | undefined } | undefined> {
  try {
    const stat = await readFile(`/proc/${String(pid)}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0] ?? '', start: fields[22 - 3] };
  } catch {
    return undefined;
  }
}
