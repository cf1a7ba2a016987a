import { execFile, spawn } from 'node:child_process';
import { closeSync, constants, openSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { constants as osConstants } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { execInContainer, type ExecProcess } from './exec-process.ts';
import { OUTER_SCRIPT, SANDBOX_SCRIPT } from './sandbox-script.ts';

const run = promisify(execFile);

/** A path of the host that a container sees. */
export interface Mount {
  readonly source: string;
  readonly target: string;
  readonly readOnly: boolean;
}

/** What to run, and in what surroundings. */
export interface SandboxRequest {
  /** A directory of this container alone; made here, removed at the end. */
  readonly directory: string;
  readonly hostname: string;
  readonly workingDirectory: string;
  readonly readOnlyRoot: boolean;
  readonly mounts: readonly Mount[];
  readonly env: Readonly<Record<string, string>>;
  readonly command: readonly string[];
  /** Gets what the container writes, both streams in the order written. */
  readonly output: (chunk: Buffer) => void;
}

/** A container on its way. */
export interface Sandbox {
  /** Undefined when the command runs; else why it could not be started. */
  readonly started: Promise<string | undefined>;
  /** The exit code (128 + n when ended by signal n), once the processes are gone and all output is read. */
  readonly ended: Promise<number>;
  /** Sends a signal to the container's first process; without effect when that is over. */
  signal(name: 'SIGTERM' | 'SIGKILL'): void;
  /** Runs a further command in the container; undefined where that does not run. */
  exec(
    command: readonly string[],
    streams: { readonly stdin: boolean; readonly tty: boolean },
  ): ExecProcess | undefined;
}

/** Makes containers below one directory. */
export class Sandboxes {
  readonly #script: string;

  private constructor(script: string) {
    this.#script = script;
  }

  /**
   * Ends what an earlier server of this directory left behind, and tries one container.
   * @throws Error when this machine cannot make containers, with the reason
   */
  static async open(directory: string): Promise<Sandboxes> {
    const script = join(directory, 'container.sh');
    endLeftovers(script);
    await writeFile(script, SANDBOX_SCRIPT);
    await writeFile(`${script}.outer`, OUTER_SCRIPT);
    const sandboxes = new Sandboxes(script);
    const lines: string[] = [];
    const trial = await sandboxes.start({
      directory: join(directory, 'trial'),
      hostname: 'trial',
      workingDirectory: '/',
      readOnlyRoot: false,
      mounts: [],
      env: {},
      command: ['true'],
      output: (chunk) => lines.push(chunk.toString()),
    });
    const problem = await trial.started;
    await trial.ended;
    if (problem !== undefined) {
      throw new Error(
        `this machine cannot make containers for the local cluster: ${problem} ${lines.join('').trim()} (needed: Linux with unprivileged user namespaces, and util-linux with unshare, setpriv, mount, pivot_root; Ubuntu forbids it to ordinary users while kernel.apparmor_restrict_unprivileged_userns is 1)`,
      );
    }
    return sandboxes;
  }

  /** Starts a container. It ends with this process, however that ends. */
  async start(request: SandboxRequest): Promise<Sandbox> {
    const { directory } = request;
    const root = join(directory, 'root');
    const fifo = join(directory, 'output');
    await mkdir(root, { recursive: true });
    // A named pipe, since Node's own pipes are sockets, and those cannot be opened as /dev/stdout.
    await run('mkfifo', ['-m', '600', fifo]);
    const reading = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
    const writing = openSync(fifo, constants.O_WRONLY);
    const mounts = request.mounts.flatMap(({ source, target, readOnly }) => [readOnly ? 'ro' : 'rw', source, target]);
    const child = spawn(
      'setpriv',
      // The death of this process kills the outer script, whose death kills process 1, whose death kills all others.
      ['--pdeathsig', 'KILL', 'unshare', '--user', '--map-root-user', '--mount', '--pid', '--uts', '--ipc']
        .concat([
          'sh',
          `${this.#script}.outer`,
          this.#script,
          root,
          request.hostname,
          request.workingDirectory,
          request.readOnlyRoot ? 'ro' : 'rw',
          request.env['PATH'] ?? DEFAULT_PATH,
        ])
        .concat(mounts, ['--'], request.command),
      { stdio: ['ignore', writing, writing, 'pipe'], env: { ...request.env, PATH: DEFAULT_PATH }, cwd: '/' },
    );
    closeSync(writing);
    const output = new Socket({ fd: reading, readable: true, writable: false });
    output.on('data', request.output);
    const drained = new Promise<void>((resolve) => {
      output.once('close', () => {
        resolve();
      });
      output.on('error', () => output.destroy());
    });
    const exited = new Promise<number>((resolve) => {
      child.once('error', () => {
        resolve(128);
      });
      // Not `exit`: only now is all that the script reported read.
      child.once('close', (code, signal) => {
        resolve(code ?? 128 + osConstants.signals[signal ?? 'SIGKILL']);
      });
    });
    const ended = exited.then(async (code) => {
      await drained;
      await rm(directory, { recursive: true, force: true });
      return code;
    });

    let pid: number | undefined;
    let running = false;
    let killed = false;
    const started = new Promise<string | undefined>((resolve) => {
      let text = '';
      const report = child.stdio[3];
      if (report instanceof Socket) {
        report.on('data', (chunk: Buffer) => {
          text += chunk.toString();
          const number = /^pid (\d+)$/mu.exec(text)?.[1];
          if (number !== undefined) pid ??= Number(number);
          running = /^started$/mu.test(text);
          if (running) resolve(undefined);
          const error = /^error (.*)$/mu.exec(text)?.[1];
          if (error !== undefined) resolve(error);
        });
        report.on('error', () => undefined);
      }
      void exited.then((code) => {
        resolve(killed || running ? undefined : `the sandbox ended with ${String(code)} before the command`);
      });
    });
    const signal = (name: 'SIGTERM' | 'SIGKILL'): void => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      if (name === 'SIGKILL') killed = true;
      try {
        // Before process 1 has told its number there is nothing yet that could act on a signal but die of it.
        if (pid === undefined) {
          killed = true;
          child.kill('SIGKILL');
        } else process.kill(pid, name);
      } catch {
        // It ended between the look and the signal.
      }
    };
    const exec: Sandbox['exec'] = (command, streams) => {
      if (pid === undefined || !running || child.exitCode !== null || child.signalCode !== null) return undefined;
      const { env, workingDirectory } = request;
      return execInContainer({ pid, env, workingDirectory, hostPath: DEFAULT_PATH }, command, streams);
    };
    return { started, ended, signal, exec };
  }
}

/** The search path of a container that sets none. */
export const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Kills containers of this directory whose server is gone; they are known by the path of their script. */
function endLeftovers(script: string): void {
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/u.test(entry) || entry === String(process.pid)) continue;
    try {
      const words = readFileSync(`/proc/${entry}/cmdline`, 'utf8').split('\0');
      if (words.includes(script)) process.kill(Number(entry), 'SIGKILL');
    } catch {
      // Gone meanwhile, or another user's.
    }
  }
}
