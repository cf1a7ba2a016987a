/** Workers and triggerers of the demo, as child processes so that they can be killed. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Config } from '../config.ts';
import { ReentryError } from '../errors.ts';
import type { Role } from '../process/roles.ts';
import type { Shell } from './shell.ts';

/** How long a role may take to start on a slow machine. */
const START_WITHIN_MS = 30_000;
const KEPT_LINES = 30;

/** A child process that runs a role. Disposing it stops it. */
export interface RoleChild extends AsyncDisposable {
  readonly pid: number;
  /** Sends SIGKILL; resolves when the process has ended. */
  kill(): Promise<void>;
}

/** Starts a role and waits until it has started. @throws ReentryError INTERNAL with the end of its log */
export async function startRole(shell: Shell, role: Role, config: Config): Promise<RoleChild> {
  const [program, ...leading] = shell.self;
  const flags = [
    ['--nats-url', config.natsUrl],
    ['--installation', config.installation],
    ...(config.kubeconfig === undefined ? [] : [['--kubeconfig', config.kubeconfig]]),
    ['--http-host', '127.0.0.1'],
    ['--http-port', '0'],
    ['--log-level', 'info'],
    ['--log-format', 'json'],
  ].flat();
  // The caller's own installation must not affect the demo.
  const env = Object.fromEntries(Object.entries(shell.env).filter(([name]) => !name.startsWith('REENTRY_')));
  const { tied } = await import('../local/tied-command.ts');
  const [command, args] = await tied([program, ...leading, role, ...flags]);
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'], env });
  const gone = once(child, 'close').then(() => undefined);
  const lines: string[] = [];
  const started = new Promise<void>((resolve, reject) => {
    const fail = (why: string): void => {
      reject(
        new ReentryError('INTERNAL', `the ${role} of the demo ${why}; its log ends with:\n${lines.join('\n')}`, {
          transient: false,
        }),
      );
    };
    const late = setTimeout(fail, START_WITHIN_MS, 'has not started');
    late.unref();
    createInterface(child.stderr).on('line', (line) => {
      lines.push(line);
      if (lines.length > KEPT_LINES) lines.shift();
      if (line.includes(`"msg":"${role} started"`)) {
        clearTimeout(late);
        resolve();
      }
    });
    void gone.then(() => {
      clearTimeout(late);
      fail('has ended');
    });
  });
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    await gone;
  };
  try {
    await started;
  } catch (error) {
    await end('SIGKILL');
    throw error;
  }
  // SIGTERM starts a drain; its siblings take over, so disposing need not take long.
  return { pid: child.pid ?? -1, kill: () => end('SIGKILL'), [Symbol.asyncDispose]: () => end('SIGTERM') };
}
