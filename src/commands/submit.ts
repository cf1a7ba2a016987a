import type { Command } from 'commander';
import { lastValueFrom, takeUntil, tap } from 'rxjs';
import { z } from 'zod';
import type { Client, Receipt, StoredEvent } from '../client/index.ts';
import type { CompletedData } from '../wire/messages.ts';
import { openClient } from './connection.ts';
import { EXIT_CODES, FATE_CODES } from './exit-codes.ts';
import type { ExitCode } from './exit-codes.ts';
import { diagnosisLines, paintFor, span, state } from './paint.ts';
import { requestFlags, requestFrom } from './request.ts';
import { action, CLIENT_SETTINGS, declare } from './shell.ts';
import type { Finish, Invocation, Shell } from './shell.ts';

const optionsSchema = z.looseObject({
  runId: z.string().optional(),
  queue: z.string().optional(),
  wait: z.boolean().default(false),
  logs: z.boolean().default(false),
  check: z.boolean().default(true),
});

/** `reentry submit`: asks for a run; with `--wait` stays until it is over and ends with its fate. */
export function submitCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'submit',
    says: 'ask for a run',
    settings: CLIENT_SETTINGS,
    examples: [
      "reentry submit --image alpine --name hello -- sh -c 'echo hi'",
      'reentry submit -f request.yaml --wait',
      "reentry submit --command --image alpine --wait -- sh -c 'echo hi'       # by an executor",
      "reentry submit --command 'airflow tasks run dag task run-1' --dag-id dag --task-id task",
      'reentry submit --image alpine --env DAY=monday --retries 2 --wait --logs -- ./load.sh',
      'echo \'{"params":{"image":"alpine"}}\' | reentry submit -f - --run-id nightly-1',
    ],
  });
  requestFlags(command)
    .option('--run-id <ID>', 'idempotency key; asking again with it changes nothing (default: a new one)')
    .option('--queue <QUEUE>', 'queue to run it (default: default, for commands executor)')
    .option('-w, --wait', 'wait until it is over; exit code: 0 succeeded, 1 failed, 3 skipped, 4 cancelled')
    .option('--logs', 'with --wait: print the log lines on stdout as they are stored')
    .option('--no-check', 'publish at once; a wrong request then ends as a failed run');
  return action(command, shell, finish, async (invocation, options, args) => {
    const { runId, queue, wait, logs, check } = optionsSchema.parse(options);
    const request = await requestFrom(shell, options, args);
    await using client = await openClient(invocation);
    const receipt = await client.submit(request, {
      checked: check,
      ...(queue === undefined ? {} : { queue }),
      ...(runId === undefined ? {} : { runId }),
    });
    if (!wait) {
      shell.out(invocation.json ? JSON.stringify(receipt) : receipt.runId);
      return EXIT_CODES.ok;
    }
    return await watched(invocation, client, receipt, logs);
  });
}

/** Follows a run to its end on stderr; the answer is the completed event's data. */
async function watched(invocation: Invocation, client: Client, receipt: Receipt, logs: boolean): Promise<ExitCode> {
  const { shell, json } = invocation;
  const paint = paintFor(shell.errIsTty && shell.colour);
  const beganAt = Date.now();
  const say = (event: StoredEvent): void => {
    if (json) return;
    const why = 'why' in event.data && typeof event.data.why === 'string' ? ` ${paint.dim(event.data.why)}` : '';
    const attempt = event.data.attempt > 1 ? paint.dim(` attempt ${String(event.data.attempt)}`) : '';
    shell.err(`${paint.dim(span(Date.now() - beganAt).padStart(8))}  ${event.type}${attempt}${why}`);
  };
  if (!json) shell.err(`run ${receipt.runId}`);
  const printing = logs ? printLogs(invocation, client, receipt.runId) : Promise.resolve();
  printing.catch(() => undefined); // awaited below, after the run's own end
  const watching = lastValueFrom(client.events$(receipt.runId).pipe(tap(say), takeUntil(shell.stop$)), {
    defaultValue: undefined,
  });
  const last = await watching;
  if (last?.type !== 'completed') {
    shell.err(`no longer waiting; the run goes on. See: reentry status ${receipt.runId}`);
    return EXIT_CODES.unreachable;
  }
  await printing;
  const done = await client.waitFor(receipt.runId);
  print(invocation, done);
  return FATE_CODES[done.state];
}

async function printLogs({ shell }: Invocation, client: Client, runId: string): Promise<void> {
  for await (const line of client.logs(runId, { follow: true })) shell.out(line.text);
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
