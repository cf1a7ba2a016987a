/** The program behind `cli.ts`: runs a command, turns signals and errors into exit codes. */
import { readFileSync } from 'node:fs';
import { CommanderError } from 'commander';
import { ReplaySubject } from 'rxjs';
import { z } from 'zod';
import { ERROR_CODES, EXIT_CODES, signalCode } from './commands/exit-codes.ts';
import type { ExitCode } from './commands/exit-codes.ts';
import { plain } from './commands/paint.ts';
import { program } from './commands/program.ts';
import type { Shell } from './commands/shell.ts';
import { ReentryError } from './errors.ts';

const stop$ = new ReplaySubject<string>(1);
let asked = false;

function onSignal(signal: string): void {
  // The first signal ends a command that waits and drains a role; the second exits at once.
  if (asked) process.exit(signalCode(signal));
  asked = true;
  stop$.next(signal);
  stop$.complete();
}

function version(): string {
  const packageFile = new URL('../package.json', import.meta.url);
  return z.object({ version: z.string() }).parse(JSON.parse(readFileSync(packageFile, 'utf8'))).version;
}

async function readStdin(): Promise<string> {
  process.stdin.setEncoding('utf8');
  let text = '';
  for await (const chunk of process.stdin) text += String(chunk);
  return text;
}

/** Text and exit code for an error. */
function failure(error: unknown): { readonly text: string; readonly code: ExitCode } {
  if (error instanceof CommanderError)
    return { text: '', code: error.exitCode === 0 ? EXIT_CODES.ok : EXIT_CODES.usage };
  if (error instanceof ReentryError) {
    const listed = error.problems.filter(({ message }) => !error.message.includes(message));
    const lines = listed.map(({ path, message }) => `\n  ${path}: ${message}`);
    return { text: `reentry: ${error.message}${lines.join('')}`, code: ERROR_CODES[error.code] };
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { text: `reentry: internal error: ${text}`, code: EXIT_CODES.failed };
}

/** What only the entry file knows. */
export interface EntryPoint {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The user's cache folder of this machine. */
  readonly userCache: string;
  /** Path of the entry file, to start further processes. */
  readonly entry: string;
}

/** Runs the command in the process's arguments, then exits with its code. */
export async function main({ env, userCache, entry }: EntryPoint): Promise<never> {
  const shell: Shell = {
    out: (text) => {
      process.stdout.write(`${text}\n`);
    },
    err: (text) => {
      process.stderr.write(`${text}\n`);
    },
    stderr: process.stderr,
    outIsTty: process.stdout.isTTY,
    errIsTty: process.stderr.isTTY,
    columns: process.stdout.isTTY ? process.stdout.columns : undefined,
    colour: process.stdout.isTTY && (env['NO_COLOR'] ?? '') === '',
    env: { ...env },
    directory: process.cwd(),
    userCache,
    stdin: readStdin,
    stop$: stop$.asObservable(),
    // With this process's flags: a role's memory depends on them.
    self: [process.execPath, ...process.execArgv, entry],
    version: version(),
  };

  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    // `reentry logs RUN | head` closes the pipe.
    if (error.code === 'EPIPE') process.exit(EXIT_CODES.ok);
    throw error;
  });

  try {
    await program(shell, (code) => {
      process.exitCode = code;
    }).parseAsync(process.argv);
  } catch (error) {
    const { text, code } = failure(error);
    if (text !== '') shell.err(plain(text));
    process.exitCode = code;
  }
  process.off('SIGINT', onSignal);
  process.off('SIGTERM', onSignal);
  // All output is written and all resources are closed: do not wait for timers of libraries.
  for (const stream of [process.stdout, process.stderr]) await new Promise((resolve) => stream.write('', resolve));
  process.exit();
}
