/** Many runs at once: so many asked for at a time, each answered, none lost in silence. */
import { ReentryError } from '../errors.ts';
import type { Client, RunSubmission, SubmissionResult } from './client.ts';

/** Runs asked for at a time, where nothing else is said: enough to fill a connection's round trips. */
const CONCURRENCY = 64;
/** What is wrong with the submission itself; anything else would meet the next one, too. */
const REFUSALS: readonly string[] = ['INVALID_REQUEST', 'RUN_ID_TAKEN', 'TOO_LARGE', 'NOT_FOUND'];

/** @see Client.submitAll */
export async function* submitAll(
  client: Pick<Client, 'submit'>,
  submissions: Iterable<RunSubmission> | AsyncIterable<RunSubmission>,
  { concurrency = CONCURRENCY, checked }: { readonly concurrency?: number; readonly checked?: boolean } = {},
): AsyncIterable<SubmissionResult> {
  const underWay = new Map<number, Promise<SubmissionResult>>();
  const next = async (): Promise<SubmissionResult> => {
    const answer = await Promise.race(underWay.values());
    underWay.delete(answer.index);
    return answer;
  };
  let index = 0;
  for await (const submission of submissions) {
    const asked = answerTo(client, submission, index, checked);
    asked.catch(() => undefined); // thrown where it is taken
    underWay.set(index, asked);
    index += 1;
    if (underWay.size >= concurrency) yield await next();
  }
  while (underWay.size > 0) yield await next();
}

async function answerTo(
  client: Pick<Client, 'submit'>,
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
    return { index, receipt: await client.submit(request, options) };
  } catch (error) {
    if (error instanceof ReentryError && REFUSALS.includes(error.code)) return { index, error };
    throw error;
  }
}
