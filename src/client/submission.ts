/** Submitting runs: one, and many at a time. */
import { ReentryError } from '../errors.ts';
import type { ClientBroker } from '../ports/client.ts';
import type { RunRequestInput } from '../wire/run-request.ts';
import type { RunKey } from '../wire/subjects.ts';
import { queueOf } from '../wire/tokens.ts';
import { replyValue, submitReplySchema } from './replies.ts';

/** Options of one submission. */
export interface SubmitOptions {
  /** Idempotency key. Default: a new UUIDv7. */
  readonly runId?: string;
  /** Default: `executor` for operator `command`, else `default`. */
  readonly queue?: string;
  /** `false`: publish without asking a worker to check the request first; problems then arrive as a failed run. Default true. */
  readonly checked?: boolean;
}

/** A submitted run: JetStream has stored it. */
export interface Receipt {
  readonly runId: string;
  readonly queue: string;
  /** The run had been submitted before, with the same id. */
  readonly duplicate: boolean;
}

/** One of many runs to be submitted. */
export interface RunSubmission {
  readonly request: RunRequestInput;
  readonly runId?: string;
  readonly queue?: string;
}

/** Outcome of one submission: a receipt, or why it was refused. `index`: position in the input, from 0. */
export type SubmissionResult =
  { readonly index: number; readonly receipt: Receipt } | { readonly index: number; readonly error: ReentryError };

/** Options of many submissions. */
export interface SubmitAllOptions {
  /** Submissions at a time. Default 64, enough to fill a connection's round trips. */
  readonly concurrency?: number;
  readonly checked?: boolean;
}

/** A function that submits one run. */
type Submit = (request: RunRequestInput, options: SubmitOptions) => Promise<Receipt>;

const CONCURRENCY = 64;
/** Errors of the submission itself. Any other would meet the next one, too. */
const REFUSALS: readonly string[] = ['INVALID_REQUEST', 'RUN_ID_TAKEN', 'TOO_LARGE', 'NOT_FOUND'];

/** Submits one run. `checked` (default true): a worker checks it first, where one answers. */
export async function submit(
  broker: ClientBroker,
  run: RunKey,
  request: RunRequestInput,
  { queue = queueOf(request.operator), checked = true }: Omit<SubmitOptions, 'runId'>,
): Promise<Receipt> {
  const { tenant, runId } = run;
  if (checked) {
    const reply = await broker.request(tenant, 'submit', { runId, queue, request }).catch((error: unknown) => {
      // No worker can check it: the stream takes it all the same, and the run id makes submitting twice harmless.
      if (error instanceof ReentryError && (error.code === 'UNREACHABLE' || error.code === 'TIMEOUT')) return undefined;
      throw error;
    });
    if (reply !== undefined) {
      const answer = replyValue(reply, submitReplySchema);
      return { runId: answer.runId ?? runId, queue: answer.queue ?? queue, duplicate: answer.duplicate ?? false };
    }
  }
  const data = new TextEncoder().encode(JSON.stringify(request));
  const { duplicate } = await broker.publishRun(queue, run, data, `${tenant}/${runId}`);
  return { runId, queue, duplicate };
}

/** Submits many runs, `concurrency` at a time. Yields each result as it comes; throws what is no refusal of one submission. */
export async function* submitAll(
  submitRun: Submit,
  submissions: Iterable<RunSubmission> | AsyncIterable<RunSubmission>,
  { concurrency = CONCURRENCY, checked }: SubmitAllOptions = {},
): AsyncIterable<SubmissionResult> {
  const underWay = new Map<number, Promise<SubmissionResult>>();
  const next = async (): Promise<SubmissionResult> => {
    const result = await Promise.race(underWay.values());
    underWay.delete(result.index);
    return result;
  };
  let index = 0;
  for await (const submission of submissions) {
    const result = resultOf(submitRun, submission, index, checked);
    result.catch(() => undefined); // thrown where it is awaited
    underWay.set(index, result);
    index += 1;
    if (underWay.size >= concurrency) yield await next();
  }
  while (underWay.size > 0) yield await next();
}

async function resultOf(
  submitRun: Submit,
  { request, runId, queue }: RunSubmission,
  index: number,
  checked: boolean | undefined,
): Promise<SubmissionResult> {
  try {
    const options = {
      ...(runId === undefined ? {} : { runId }),
      ...(queue === undefined ? {} : { queue }),
      ...(checked === undefined ? {} : { checked }),
    };
    return { index, receipt: await submitRun(request, options) };
  } catch (error) {
    if (error instanceof ReentryError && REFUSALS.includes(error.code)) return { index, error };
    throw error;
  }
}
