/** Many runs from one file: read, submitted with progress, waited for. */
import { finalize, from, lastValueFrom, mergeMap, takeUntil, tap } from 'rxjs';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';
import type { Client, RunSubmission } from '../client/index.ts';
import { ReentryError } from '../errors.ts';
import type { Problem } from '../errors.ts';
import type { FinalState } from '../wire/outcome.ts';
import { EXIT_CODES, FINAL_STATE_CODES } from './exit-codes.ts';
import type { ExitCode } from './exit-codes.ts';
import { paintFor, state } from './paint.ts';
import { checkedRequest } from './request.ts';
import type { Invocation, Shell } from './shell.ts';

/** Runs waited for at a time; each costs a NATS subscription. */
const WAITING_AT_ONCE = 64;
/** Maximum problems reported for a file. */
const MAX_PROBLEMS = 20;

const addressSchema = z.looseObject({ runId: z.string().optional(), queue: z.string().optional() });

/**
 * Reads the runs of a file: JSON Lines, YAML documents, or one list; each a request, with `runId` and `queue` among its fields.
 * @throws ReentryError INVALID_REQUEST with the problems, each with the number of its run
 */
export function submissionsIn(name: string, text: string): readonly RunSubmission[] {
  const problems: Problem[] = [];
  const submissions = entriesOf(name, text).flatMap((entry, index): RunSubmission[] => {
    const parsed = addressSchema.safeParse(entry);
    if (!parsed.success) {
      problems.push({
        path: `${name}: run ${String(index + 1)}`,
        message: 'must be a request: a mapping with params, …',
      });
      return [];
    }
    const { runId, queue, ...request } = parsed.data;
    const checked = checkedRequest(request);
    for (const { path, message } of checked.problems)
      problems.push({ path: `${name}: run ${String(index + 1)}: ${path}`, message });
    return [
      {
        request: checked.request,
        ...(runId === undefined ? {} : { runId }),
        ...(queue === undefined ? {} : { queue }),
      },
    ];
  });
  if (problems.length > 0)
    throw new ReentryError('INVALID_REQUEST', `invalid requests in ${name}; nothing was submitted:`, {
      transient: false,
      problems: problems.slice(0, MAX_PROBLEMS),
    });
  return submissions;
}

function entriesOf(name: string, text: string): readonly unknown[] {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  if (lines.length > 1 && lines.every((line) => line.startsWith('{'))) {
    return lines.map((line, index): unknown => {
      try {
        return JSON.parse(line);
      } catch (cause) {
        throw unreadable(`${name}: line ${String(index + 1)}`, cause);
      }
    });
  }
  const documents = parseAllDocuments(text);
  const values = ('empty' in documents ? [] : documents).map((document): unknown => {
    const [error] = document.errors;
    if (error !== undefined) throw unreadable(name, error);
    return document.toJS();
  });
  const [first] = values;
  return values.length === 1 && Array.isArray(first) ? first : values;
}

function unreadable(where: string, cause: unknown): ReentryError {
  const why = cause instanceof Error ? (cause.message.split('\n')[0] ?? '') : String(cause);
  return new ReentryError('INVALID_REQUEST', `${where} is not valid JSON or YAML: ${why}`, { transient: false, cause });
}

/** Submits all runs; with `wait`, waits until all have ended. Run ids (or JSON lines) go to stdout, progress and rejections to stderr. */
export async function submitBatch(
  { shell, json }: Invocation,
  client: Client,
  submissions: readonly RunSubmission[],
  { check, wait }: { readonly check: boolean; readonly wait: boolean },
): Promise<ExitCode> {
  const progress = progressOn(shell, json);
  const runIds: string[] = [];
  const count = { accepted: 0, known: 0, rejected: 0 };
  for await (const answer of client.submitAll(submissions, { checked: check })) {
    const line = answer.index + 1;
    if ('error' in answer) {
      count.rejected += 1;
      const { code, message, problems } = answer.error;
      if (json) shell.out(JSON.stringify({ run: line, error: { code, message, problems } }));
      else progress.print(`run ${String(line)} rejected: ${message}`);
    } else {
      count[answer.receipt.duplicate ? 'known' : 'accepted'] += 1;
      runIds.push(answer.receipt.runId);
      shell.out(json ? JSON.stringify({ run: line, ...answer.receipt }) : answer.receipt.runId);
    }
    progress.show(`submitted ${String(runIds.length + count.rejected)} of ${String(submissions.length)}`);
  }
  progress.print(
    `${String(count.accepted)} accepted, ${String(count.known)} already known, ${String(count.rejected)} rejected`,
  );
  const states = wait ? await waitForAll(shell, client, runIds, progress) : {};
  if (count.rejected > 0) return EXIT_CODES.usage;
  if (wait && Object.values(states).reduce((sum, n) => sum + n, 0) < runIds.length) return EXIT_CODES.unreachable;
  const worst = (['failed', 'cancelled', 'skipped'] as const).find((final) => (states[final] ?? 0) > 0);
  return worst === undefined ? EXIT_CODES.ok : FINAL_STATE_CODES[worst];
}

async function waitForAll(
  shell: Shell,
  client: Client,
  runIds: readonly string[],
  progress: Progress,
): Promise<Partial<Record<FinalState, number>>> {
  const paint = paintFor(shell.errIsTty && shell.colour);
  const states: Partial<Record<FinalState, number>> = {};
  const totals = (): string =>
    Object.entries(states)
      .map(([final, n]) => `${String(n)} ${state(paint, final)}`)
      .join(', ');
  await lastValueFrom(
    from(runIds).pipe(
      mergeMap((runId) => client.waitFor(runId), WAITING_AT_ONCE),
      tap((done) => {
        states[done.state] = (states[done.state] ?? 0) + 1;
        progress.show(`waiting for ${String(runIds.length)}: ${totals()}`);
        if (done.state === 'failed') progress.print(`${done.runId}: ${done.diagnosis?.summary ?? 'failed'}`);
      }),
      takeUntil(
        shell.stop$.pipe(
          tap(() => {
            progress.print('no longer waiting; the runs continue');
          }),
        ),
      ),
      // Also at the stop, after which this command prints nothing more.
      finalize(() => {
        progress.print(totals() === '' ? 'no run has ended' : totals());
      }),
    ),
    { defaultValue: undefined },
  );
  return states;
}

interface Progress {
  /** Prints a line. */
  print(text: string): void;
  /** Redraws the progress line; only on a terminal. */
  show(text: string): void;
}

function progressOn(shell: Shell, json: boolean): Progress {
  const redraws = shell.errIsTty && !json;
  return {
    print: (text) => {
      if (redraws) shell.stderr.write('\r\u001B[2K');
      if (!json) shell.err(text);
    },
    show: (text) => {
      if (redraws) shell.stderr.write(`\r\u001B[2K${text}`);
    },
  };
}
