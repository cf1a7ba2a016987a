import { type Command, Option } from 'commander';
import { z } from 'zod';
import { readText } from '../process/files.ts';
import { ReentryError } from '../errors.ts';
import { submitBatch, submissionsIn } from './batch.ts';
import { openClient } from './connection.ts';
import { EXIT_CODES } from './exit-codes.ts';
import { requestFlags, requestFrom, requestOptions } from './request.ts';
import { action, CLIENT_SETTINGS, declare } from './shell.ts';
import type { Finish, Shell } from './shell.ts';
import { watched } from './watching.ts';

const optionsSchema = z.looseObject({
  runId: z.string().optional(),
  queue: z.string().optional(),
  batch: z.string().optional(),
  wait: z.boolean().default(false),
  logs: z.boolean().default(false),
  check: z.boolean().default(true),
});

const RUN_ID = new Option(
  '--run-id <ID>',
  'run id and idempotency key: submitting again with it changes nothing; default: a generated one',
);
const LOGS = new Option('--logs', 'with --wait: print log lines on stdout as they are written');

/** `reentry submit`: submits a run, or many; with `--wait`, waits for the end and exits with the code of the final state. */
export function submitCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'submit',
    summary: 'submit a run, or all runs of a file',
    settings: CLIENT_SETTINGS,
    examples: [
      "reentry submit --image alpine --name hello -- sh -c 'echo hi'",
      'reentry submit -f request.yaml --wait',
      "reentry submit --command --image alpine --wait -- sh -c 'echo hi'       # by an executor",
      "reentry submit --command 'airflow tasks run dag task run-1' --dag-id dag --task-id task",
      'reentry submit --image alpine --env DAY=monday --retries 2 --wait --logs -- ./load.sh',
      'echo \'{"params":{"image":"alpine"}}\' | reentry submit -f - --run-id nightly-1',
      'reentry submit --batch runs.jsonl --wait     # one request per line, each with its own runId',
    ],
  });
  requestFlags(command)
    .addOption(RUN_ID)
    .option('--queue <QUEUE>', 'queue of the run; default: "default", for commands "executor"')
    .option(
      '--batch <FILE>',
      'many requests: JSON Lines, YAML documents or a list, with runId and queue among their fields; - is standard input',
    )
    .option('-w, --wait', 'wait until it has ended; exit code: 0 succeeded, 1 failed, 3 skipped, 4 cancelled')
    .addOption(LOGS)
    .option('--no-check', 'publish without validation by a worker; an invalid request then ends as a failed run');
  return action(command, shell, finish, async (invocation, options, args) => {
    const { runId, queue, batch, wait, logs, check } = optionsSchema.parse(options);
    if (batch !== undefined) {
      rejectBeside(options, args);
      const text = batch === '-' ? await shell.stdin() : await readText(batch);
      const submissions = submissionsIn(batch === '-' ? 'standard input' : batch, text);
      await using client = await openClient(invocation);
      const queued = submissions.map((submission) => ({ ...(queue === undefined ? {} : { queue }), ...submission }));
      return await submitBatch(invocation, client, queued, { check, wait });
    }
    const request = await requestFrom(shell, options, args);
    await using client = await openClient(invocation);
    const receipt = await client.submit(request, {
      checked: check,
      ...(queue === undefined ? {} : { queue }),
      ...(runId === undefined ? {} : { runId }),
    });
    if (wait) return await watched(invocation, client, receipt, logs);
    shell.out(invocation.json ? JSON.stringify(receipt) : receipt.runId);
    return EXIT_CODES.ok;
  });
}

/** Rejects flags that describe one run beside --batch. */
function rejectBeside(options: Readonly<Record<string, unknown>>, args: readonly string[]): void {
  const ofOneRun = [...requestOptions(), RUN_ID, LOGS];
  const flags = ofOneRun.filter((option) => options[option.attributeName()] !== undefined);
  const beside = [...flags.map(({ long }) => long ?? ''), ...(args.length === 0 ? [] : ['a command'])];
  if (beside.length === 0) return;
  const message = `--batch cannot be combined with ${beside.join(', ')}: the file describes each run`;
  throw new ReentryError('INVALID_REQUEST', message, { transient: false });
}
