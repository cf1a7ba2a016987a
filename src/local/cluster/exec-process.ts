import { type ChildProcess, spawn } from 'node:child_process';
import { constants as osConstants } from 'node:os';
import type { Readable, Writable } from 'node:stream';
import { EXEC_SCRIPT } from './sandbox-script.ts';

/** The container to enter: the pid of its first process, as seen from outside, and the environment that process was started in. */
export interface ExecTarget {
  readonly pid: number;
  readonly workingDirectory: string;
  readonly env: Readonly<Record<string, string>>;
  /** Search path of the tools that enter the container; the container's own is in `env`. */
  readonly hostPath: string;
}

/** A command running in a container beside the container's own. */
export interface ExecProcess {
  readonly stdin: Writable | undefined;
  readonly stdout: Readable;
  /** Absent with a terminal, where both streams are one. */
  readonly stderr: Readable | undefined;
  /** Why the command could not be started; undefined once it was started. */
  readonly problem: Promise<string | undefined>;
  /** Exit code; 128 + n when ended by signal n. */
  readonly ended: Promise<number>;
}

/** For `script -c`, which takes one string for a shell. */
const quoted = (argument: string): string => `'${argument.replaceAll("'", String.raw`'\''`)}'`;

/**
 * Runs `command` in the namespaces of a container, with its environment, root and working directory. It ends with the container at the
 * latest, because it is in the container's pid namespace.
 */
export function execInContainer(
  target: ExecTarget,
  command: readonly string[],
  streams: { readonly stdin: boolean; readonly tty: boolean },
): ExecProcess {
  const enter = [
    ...[
      'nsenter',
      '--target',
      String(target.pid),
      '--user',
      '--preserve-credentials',
      '--mount',
      '--pid',
      '--uts',
      '--ipc',
    ],
    ...['sh', '-c', EXEC_SCRIPT, 'sh', target.workingDirectory, target.env['PATH'] ?? target.hostPath, ...command],
  ];
  // The pseudo-terminal is created outside; the command gets its end of it.
  const words = streams.tty ? ['script', '-q', '-e', '-f', '-c', enter.map(quoted).join(' '), '/dev/null'] : enter;
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', ...words], {
    stdio: [streams.stdin ? 'pipe' : 'ignore', 'pipe', 'pipe', 'pipe'],
    env: { ...target.env, PATH: target.hostPath },
    cwd: '/',
  });
  const ended = new Promise<number>((resolve) => {
    child.once('error', () => {
      resolve(128);
    });
    child.once('exit', (code, signal) => {
      resolve(code ?? 128 + osConstants.signals[signal ?? 'SIGKILL']);
    });
  });
  child.stdin?.on('error', () => undefined);
  return {
    stdin: child.stdin ?? undefined,
    stdout: child.stdout ?? never(),
    stderr: streams.tty ? undefined : (child.stderr ?? never()),
    problem: problemOf(child),
    ended,
  };
}

/** What the entering script reports on descriptor 3 before it executes the command. */
function problemOf(child: ChildProcess): Promise<string | undefined> {
  return new Promise((resolve) => {
    const report = child.stdio[3];
    let text = '';
    report?.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    report?.on('error', () => undefined);
    child.once('error', (error) => {
      resolve(error.message);
    });
    const reported = (): void => {
      resolve(/^error (.*)$/mu.exec(text)?.[1]);
    };
    report?.once('close', reported);
    child.once('close', reported);
  });
}

function never(): never {
  throw new Error('a child process came without its pipes');
}
