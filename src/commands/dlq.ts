import { queueOf } from '../wire/tokens.ts';
import Table from 'cli-table3';
import type { Command } from 'commander';
import { z } from 'zod';
import { replayOf, wentOn } from '../core/run/replay.ts';
import { isTerminal } from '../core/run/transitions.ts';
import { ReentryError } from '../errors.ts';
import type { DeadLetter, Operations } from '../ports/operations.ts';
import { runRequestSchema, storedRequestSchema } from '../wire/run-request.ts';
import type { Phase } from '../wire/run-state.ts';
import { keys } from '../wire/subjects.ts';
import { openInstallation } from './connection.ts';
import { EXIT_CODES } from './exit-codes.ts';
import { diagnosisLines, paintFor, plain, span } from './paint.ts';
import { action, declare, family, NATS_SETTINGS, oneArgument, wholeNumber } from './shell.ts';
import type { Finish, Shell } from './shell.ts';

/** Characters of a message that are printed; `--json` prints all. */
const SHOWN_LENGTH = 2_000;

const listOptions = z.looseObject({
  tenant: z.string().optional(),
  limit: z.number(),
  after: z.number().optional(),
});

/** `reentry dlq`: dead letters. Needs the NATS user of `setup`. */
export function dlqCommand(shell: Shell, finish: Finish): Command {
  const summary = 'list, show and replay dead letters: messages that were given up';
  return family('dlq', summary, [listCommand(shell, finish), showCommand(shell, finish), replayCommand(shell, finish)]);
}

/** A letter as JSON. `onward`: phase of its run, where the run continued in spite of the letter. */
const summary = (
  { sequence, kind, run, at, why, data, truncatedFromBytes }: DeadLetter,
  onward: Phase | undefined,
) => ({
  sequence,
  kind,
  tenant: run.tenant,
  runId: run.runId,
  at: new Date(at).toISOString(),
  ...why,
  bytes: data.byteLength,
  ...(truncatedFromBytes === undefined ? {} : { truncatedFromBytes }),
  ...(onward === undefined ? {} : { wentOn: onward }),
});

/** Phase of a run that continued in spite of its letter. */
const onwardText = (phase: Phase): string => `${isTerminal(phase) ? 'continued' : 'continues'}: ${phase}`;

/** Phases of the runs on a page that continued, by key. A letter whose state cannot be read is listed all the same. */
async function onwardOf({ runs }: Operations, letters: readonly DeadLetter[]): Promise<ReadonlyMap<string, Phase>> {
  const found = new Map<string, Phase>();
  const runOf = new Map(letters.map(({ run }) => [keys.run(run), run]));
  await Promise.all(
    [...runOf].map(async ([key, run]) => {
      try {
        const phase = wentOn((await runs.read(run))?.value);
        if (phase !== undefined) found.set(key, phase);
      } catch (error) {
        if (!(error instanceof ReentryError && error.code === 'INTERNAL')) throw error;
      }
    }),
  );
  return found;
}

function listCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'list',
    summary: 'list dead letters, oldest first, one page at a time',
    settings: NATS_SETTINGS,
    examples: ['reentry dlq list', "reentry dlq list --json | jq -r '.letters[].runId'"],
  })
    .option('--tenant <TENANT>', 'only this tenant; default: all')
    .option('--limit <N>', 'letters per page, at most 500', wholeNumber(1, 500), 100)
    .option('--after <N>', 'start after this position (`next` of the previous page)', wholeNumber(0));
  return action(command, shell, finish, async (invocation, options) => {
    const { tenant, limit, after } = listOptions.parse(options);
    await using installation = await openInstallation(invocation);
    const { letters, next } = await installation.deadLetters.list({
      limit,
      ...(tenant === undefined ? {} : { tenant }),
      ...(after === undefined ? {} : { after }),
    });
    const onward = await onwardOf(installation, letters);
    if (invocation.json) {
      const shown = letters.map((letter) => summary(letter, onward.get(keys.run(letter.run))));
      shell.out(JSON.stringify({ letters: shown, ...(next === undefined ? {} : { next }) }));
      return EXIT_CODES.ok;
    }
    const head = ['letter', 'kind', 'tenant', 'run', 'age', 'why'];
    const table = new Table({ head, style: { head: [], border: [], compact: true } });
    for (const { sequence, kind, run, at, why } of letters) {
      const phase = onward.get(keys.run(run));
      const text = `${phase === undefined ? '' : `(${onwardText(phase)}) `}${why.summary}`;
      table.push([
        String(sequence),
        kind,
        plain(run.tenant),
        plain(run.runId),
        span(Date.now() - at),
        plain(text.slice(0, 80)),
      ]);
    }
    shell.out(letters.length === 0 ? 'no dead letters' : table.toString());
    if (next !== undefined) shell.err(`more: reentry dlq list --after ${String(next)}`);
    return EXIT_CODES.ok;
  });
}

function sequenceOf(text: string): number {
  const sequence = Number(text);
  if (Number.isSafeInteger(sequence) && sequence > 0) return sequence;
  throw new ReentryError(
    'CONFIG_INVALID',
    `a dead letter is given by its number in \`reentry dlq list\`, not ${JSON.stringify(text)}`,
    { transient: false },
  );
}

/** A letter, and the stored state and request of its run. */
async function lookedUp(installation: Operations, sequence: number) {
  const letter = await installation.deadLetters.read(sequence);
  if (letter === undefined)
    throw new ReentryError(
      'NOT_FOUND',
      `there is no dead letter ${String(sequence)}; \`reentry dlq list\` lists them`,
      {
        transient: false,
      },
    );
  const seen = await installation.runs.read(letter.run, { leader: true });
  const stored = storedRequestSchema.safeParse(await installation.requests.read(letter.run));
  const own = letter.kind === 'run' ? runRequestSchema.safeParse(parsed(letter.data)) : undefined;
  return { letter, state: seen?.value, request: stored.data ?? own?.data };
}

function parsed(data: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(data));
  } catch {
    return undefined;
  }
}

function showCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'show',
    summary: 'show a dead letter: why it was given up, its run, and the message',
    settings: NATS_SETTINGS,
    examples: ['reentry dlq show 7', 'reentry dlq show 7 --json | jq .diagnosis'],
  }).argument('<letter>', 'number in `dlq list`');
  return action(command, shell, finish, async (invocation, _options, args) => {
    await using installation = await openInstallation(invocation);
    const { letter, state, request } = await lookedUp(installation, sequenceOf(oneArgument(args)));
    const diagnosis = state?.outcome?.diagnosis;
    const onward = wentOn(state);
    const message = new TextDecoder().decode(letter.data);
    if (invocation.json) {
      shell.out(
        JSON.stringify({ ...summary(letter, wentOn(state)), phase: state?.phase, diagnosis, request, message }),
      );
      return EXIT_CODES.ok;
    }
    const paint = paintFor(shell.colour);
    const { run, kind, at, why } = letter;
    shell.out(
      [
        `${paint.dim('letter ')} ${String(letter.sequence)} (${kind}), ${span(Date.now() - at)} ago`,
        `${paint.dim('run    ')} ${plain(`${run.tenant}/${run.runId}`)}, ${state?.phase ?? 'state no longer stored'}`,
        ...(diagnosis === undefined || onward !== undefined
          ? [`${paint.bold(why.code)} (${why.category}): ${plain(why.summary)}`]
          : diagnosisLines(paint, diagnosis)),
        `${paint.dim('replay ')} ${replayText(letter, onward, request !== undefined)}`,
        paint.dim('message'),
        plain(message.slice(0, SHOWN_LENGTH)),
      ].join('\n'),
    );
    return EXIT_CODES.ok;
  });
}

/** Whether a replay is possible, and how. */
function replayText({ sequence, run }: DeadLetter, onward: Phase | undefined, hasRequest: boolean): string {
  if (onward !== undefined && isTerminal(onward))
    return `not possible: the run continued and ended as ${onward}; to run it again: \`reentry retry ${plain(run.runId)}\``;
  if (onward !== undefined) return `not needed: the run continues by itself (${onward})`;
  return hasRequest
    ? `reentry dlq replay ${String(sequence)}`
    : 'not possible: the request is no longer stored (retention)';
}

const replayOptions = z.looseObject({ queue: z.string().optional() });

function replayCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'replay',
    summary: 'run the request of a dead letter again, as a new run; replaying a letter twice makes one run',
    settings: NATS_SETTINGS,
    examples: ['reentry dlq replay 7', 'reentry dlq replay 7 8 9 --json'],
  })
    .argument('<letter...>', 'numbers in `dlq list`')
    .option('--queue <QUEUE>', 'queue of the new run; default: that of the old one');
  return action(command, shell, finish, async (invocation, options, args) => {
    const { queue } = replayOptions.parse(options);
    const sequences = args.map(sequenceOf);
    await using installation = await openInstallation(invocation);
    for (const sequence of sequences) {
      const { letter, state, request } = await lookedUp(installation, sequence);
      const { tenant, runId } = letter.run;
      const replay = replayOf({ sequence, runId }, state, request, queue, queueOf(request?.operator));
      if (replay.kind === 'running')
        throw new ReentryError(
          'INVALID_REQUEST',
          `run ${runId} of letter ${String(sequence)} has not ended (${replay.phase}) and continues by itself; to end it: \`reentry cancel ${runId}\``,
          { transient: false },
        );
      if (replay.kind === 'ended')
        throw new ReentryError(
          'INVALID_REQUEST',
          `run ${runId} of letter ${String(sequence)} continued and ended as ${replay.phase}, so it is not replayed; to run it again: \`reentry retry ${runId}\``,
          { transient: false },
        );
      if (replay.kind === 'lost')
        throw new ReentryError(
          'NOT_FOUND',
          `the request of letter ${String(sequence)} is no longer stored (retention); submit the run again`,
          { transient: false },
        );
      const data = new TextEncoder().encode(JSON.stringify(replay.request));
      const run = { tenant, runId: replay.runId };
      const before = await installation.runs.read(run, { leader: true });
      const { duplicate } = await installation.publishRun(replay.queue, run, data, `replay:${String(sequence)}`);
      const again = duplicate || before !== undefined;
      shell.out(
        invocation.json
          ? JSON.stringify({
              letter: sequence,
              tenant,
              ofRun: runId,
              runId: run.runId,
              queue: replay.queue,
              duplicate: again,
            })
          : `${run.runId}${again ? ' (already replayed)' : ''}`,
      );
    }
    return EXIT_CODES.ok;
  });
}
