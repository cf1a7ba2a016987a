import { type ChildProcess, spawn } from 'node:child_process';
import { constants as osConstants } from 'node:os';
import type { Readable, Writable } from 'node:stream';
import { EXEC_SCRIPT } from './sandbox-script.ts';

/** The container to enter: its first process, seen from outside, and the surroundings that process was started in. */
export interface ExecTarget {
  readonly pid: number;
  readonly workingDirectory: string;
  readonly env: Readonly<Record<string, string>>;
  /** Search path of the tools that enter; the container's own is in `env`. */
  readonly hostPath: string;
}

/** A command running in a container beside what the container itself runs. */
export interface ExecProcess {
  readonly stdin: Writable | undefined;
  readonly stdout: Readable;
  /** Absent with a terminal: there both streams are one. */
  readonly stderr: Readable | undefined;
  /** Why the command could not be started; undefined once it has ended otherwise. */
  readonly problem: Promise<string | undefined>;
  /** Exit code, 128 + n when ended by signal n. */
  readonly ended: Promise<number>;
}

/** For `script -c`, which takes one text for a shell. */
const quoted = (word: string): string => `'${word.replaceAll("'", String.raw`'\''`)}'`;

/**
 * Runs `command` in the namespaces of a container, with its environment, root and working directory. The command ends with the container at the
 * latest: it is in the container's pid namespace, whose end kills it.
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
  // The pseudo-terminal is made outside; the command gets its end of it.
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

/** What the script that enters says on descriptor 3 before it gives way to the command. */
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
    const said = (): void => {
      resolve(/^error (.*)$/mu.exec(text)?.[1]);
    };
    report?.once('close', said);
    child.once('close', said);
  });
}

function never(): never {
  throw new Error('a child process came without its pipes');
}
