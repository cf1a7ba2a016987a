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

/** A host path that is mounted into a container. */
export interface Mount {
  readonly source: string;
  readonly target: string;
  readonly readOnly: boolean;
}

/** What to run, and in which environment. */
export interface SandboxRequest {
  /** Directory of this container alone; created here, removed at the end. */
  readonly directory: string;
  readonly hostname: string;
  readonly workingDirectory: string;
  readonly readOnlyRoot: boolean;
  readonly mounts: readonly Mount[];
  readonly env: Readonly<Record<string, string>>;
  readonly command: readonly string[];
  /** Receives the container's output, both streams in the order written. */
  readonly output: (chunk: Buffer) => void;
}

/** A started container. */
export interface Sandbox {
  /** Undefined once the command runs; else why it could not be started. */
  readonly started: Promise<string | undefined>;
  /** The exit code (128 + n when ended by signal n), once all processes have ended and all output was read. */
  readonly ended: Promise<number>;
  /** Sends a signal to the container's first process; no effect when it has ended. */
  signal(name: 'SIGTERM' | 'SIGKILL'): void;
  /** Runs another command in the container; undefined when it is not running. */
  exec(
    command: readonly string[],
    streams: { readonly stdin: boolean; readonly tty: boolean },
  ): ExecProcess | undefined;
}

/** Creates containers below one directory. */
export class Sandboxes {
  readonly #script: string;

  private constructor(script: string) {
    this.#script = script;
  }

  /**
   * Ends what an earlier server of this directory left running, and tests one container.
   * @throws Error when this machine cannot run containers, with the reason
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
        `this machine cannot run containers for the local cluster: ${problem} ${lines.join('').trim()} (needed: Linux with unprivileged user namespaces, and util-linux with unshare, setpriv, mount, pivot_root; Ubuntu does not permit it to ordinary users while kernel.apparmor_restrict_unprivileged_userns is 1)`,
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
    // A named pipe: Node's own pipes are sockets, which cannot be opened as /dev/stdout.
    await run('mkfifo', ['-m', '600', fifo]);
    const reading = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
    const writing = openSync(fifo, constants.O_WRONLY);
    const mounts = request.mounts.flatMap(({ source, target, readOnly }) => [readOnly ? 'ro' : 'rw', source, target]);
    const child = spawn(
      'setpriv',
      // When this process dies, the outer script is killed, then process 1, then all others.
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
      // `close`, not `exit`: only now was everything read that the script reported.
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
        // Before process 1 has reported its pid, no handler can be installed: a signal would just kill it.
        if (pid === undefined) {
          killed = true;
          child.kill('SIGKILL');
        } else process.kill(pid, name);
      } catch {
        // It ended between the check and the signal.
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

/** Kills containers of this directory whose server has ended; they are identified by the path of their script. */
function endLeftovers(script: string): void {
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/u.test(entry) || entry === String(process.pid)) continue;
    try {
      const words = readFileSync(`/proc/${entry}/cmdline`, 'utf8').split('\0');
      if (words.includes(script)) process.kill(Number(entry), 'SIGKILL');
    } catch {
      // Ended meanwhile, or owned by another user.
    }
  }
}
