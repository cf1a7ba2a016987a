import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** Node's flags, as in the image and the scripts of package.json. */
const FLAGS = ['--max-semi-space-size=2'];
const CLI = fileURLToPath(new URL('../../src/cli.ts', import.meta.url));

/** One `reentry …` process of a test: its output is recorded, and it is killed at the end of the test. */
export interface ReentryProcess extends AsyncDisposable {
  readonly pid: number;
  readonly child: ChildProcess;
  /** Its output so far. */
  stdout(): string;
  stderr(): string;
  /** Resolves with the exit code, or the signal's name. */
  readonly ended: Promise<number | string>;
  kill(signal: NodeJS.Signals): void;
}

/** Starts `reentry ARGS` from the sources, with nothing of the caller's environment but PATH, HOME and `env`. */
export function startReentry(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  cwd?: string,
): ReentryProcess {
  return startNode([...FLAGS, CLI, ...args], env, cwd);
}

/** Starts another program of the tests in the same way. */
export function startScript(script: URL, args: readonly string[]): ReentryProcess {
  return startNode([fileURLToPath(script), ...args], {});
}

function startNode(args: readonly string[], env: Readonly<Record<string, string>>, cwd?: string): ReentryProcess {
  const child = spawn(process.execPath, args, {
    env: { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(cwd === undefined ? {} : { cwd }),
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const ended = once(child, 'close').then((): number | string => child.exitCode ?? child.signalCode ?? 'unknown');
  return {
    pid: child.pid ?? -1,
    child,
    stdout: () => stdout,
    stderr: () => stderr,
    ended,
    kill: (signal) => {
      child.kill(signal);
    },
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
      await ended;
    },
  };
}

/** Runs `reentry ARGS` to its end. */
export async function runReentry(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  cwd?: string,
): Promise<{ readonly code: number | string; readonly stdout: string; readonly stderr: string }> {
  await using started = startReentry(args, env, cwd);
  const code = await started.ended;
  return { code, stdout: started.stdout(), stderr: started.stderr() };
}

/** A page of a role's health endpoint; status 0 until the role serves it. */
export async function healthPage(
  of: ReentryProcess,
  path: string,
): Promise<{ readonly status: number; readonly text: string }> {
  const [, port] = /"port":(\d+),"msg":"serving health and metrics"/.exec(of.stderr()) ?? [];
  if (port === undefined) return { status: 0, text: '' };
  const reply = await fetch(`http://127.0.0.1:${port}${path}`);
  return { status: reply.status, text: await reply.text() };
}
