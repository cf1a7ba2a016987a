/** Waiting for a run: prints its events as they come, its log and its final state. */
import { setTimeout as pause } from 'node:timers/promises';
import { lastValueFrom, takeUntil, tap } from 'rxjs';
import type { Client, StoredEvent } from '../client/index.ts';
import { shownText } from '../client/log-lines.ts';
import { ReentryError } from '../errors.ts';
import type { CompletedData } from '../wire/events.ts';
import { EXIT_CODES, FINAL_STATE_CODES } from './exit-codes.ts';
import type { ExitCode } from './exit-codes.ts';
import { diagnosisLines, paintFor, plain, span, state } from './paint.ts';
import type { Invocation } from './shell.ts';

/** A run that was just submitted is accepted well within this time. */
const UNKNOWN_AFTER_MS = 3_000;

/** Runs `waits`; prints a hint when there is no such run. Not an error: it may be submitted later. */
export async function unlessUnknown<T>(
  { shell }: Pick<Invocation, 'shell'>,
  client: Client,
  runId: string,
  waits: () => Promise<T>,
): Promise<T> {
  const over = new AbortController();
  const look = async (): Promise<void> => {
    await pause(UNKNOWN_AFTER_MS, undefined, { signal: over.signal });
    await client.status(runId);
  };
  look().catch((error: unknown) => {
    if (!over.signal.aborted && error instanceof ReentryError && error.code === 'NOT_FOUND')
      shell.err(`there is no run ${runId} yet; waiting for it`);
  });
  try {
    return await waits();
  } finally {
    over.abort();
  }
}

/** Follows a run to its end: events on stderr, the data of the completed event on stdout, its final state as exit code. */
export async function watched(
  invocation: Invocation,
  client: Client,
  { runId }: { readonly runId: string },
  logs: boolean,
): Promise<ExitCode> {
  const { shell, json } = invocation;
  const paint = paintFor(shell.errIsTty && shell.colour);
  const beganAt = Date.now();
  const printEvent = (event: StoredEvent): void => {
    if (json) return;
    const why = 'why' in event.data && typeof event.data.why === 'string' ? ` ${paint.dim(plain(event.data.why))}` : '';
    const attempt = event.data.attempt > 1 ? paint.dim(` attempt ${String(event.data.attempt)}`) : '';
    shell.err(`${paint.dim(span(Date.now() - beganAt).padStart(8))}  ${event.type}${attempt}${why}`);
  };
  if (!json) shell.err(`run ${runId}`);
  const printing = logs ? printLogs(invocation, client, runId) : Promise.resolve();
  printing.catch(() => undefined); // awaited below, after the run's own end
  const left$ = shell.stop$.pipe(
    tap(() => {
      shell.err(`no longer waiting; the run continues. See: reentry status ${runId}`);
    }),
  );
  const watching = lastValueFrom(client.events$(runId).pipe(tap(printEvent), takeUntil(left$)), {
    defaultValue: undefined,
  });
  const last = await watching;
  if (last?.type !== 'completed') return EXIT_CODES.unreachable; // or interrupted: then the exit code is the signal's
  await printing;
  const done = await client.waitFor(runId);
  print(invocation, done);
  return FINAL_STATE_CODES[done.state];
}

async function printLogs({ shell, json }: Invocation, client: Client, runId: string): Promise<void> {
  for await (const line of client.logs(runId, { follow: true }))
    shell.out(json ? JSON.stringify(line) : shownText(line));
}

function print({ shell, json }: Invocation, done: CompletedData): void {
  if (json) {
    shell.out(JSON.stringify(done));
    return;
  }
  const paint = paintFor(shell.colour);
  shell.err(
    state(paint, done.state) + (done.exitCode === undefined ? '' : paint.dim(` exit code ${String(done.exitCode)}`)),
  );
  if (done.diagnosis !== undefined) for (const line of diagnosisLines(paint, done.diagnosis)) shell.err(line);
  if (done.result !== undefined) shell.out(JSON.stringify(done.result));
}
