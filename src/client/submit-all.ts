/** Many runs at once: so many asked for at a time, each answered, none lost in silence. */
import { ReentryError } from '../errors.ts';
import type { Client, RunWish, WishAnswer } from './client.ts';

/** Runs asked for at a time, where nothing else is said: enough to fill a connection's round trips. */
const CONCURRENCY = 64;
/** What is wrong with the wish itself; anything else would meet the next one, too. */
const ABOUT_THE_WISH: readonly string[] = ['INVALID_REQUEST', 'RUN_ID_TAKEN', 'TOO_LARGE', 'NOT_FOUND'];

/** @see Client.submitAll */
export async function* submitAll(
  client: Pick<Client, 'submit'>,
  wishes: Iterable<RunWish> | AsyncIterable<RunWish>,
  { concurrency = CONCURRENCY, checked }: { readonly concurrency?: number; readonly checked?: boolean } = {},
): AsyncIterable<WishAnswer> {
  const underWay = new Map<number, Promise<WishAnswer>>();
  const next = async (): Promise<WishAnswer> => {
    const answer = await Promise.race(underWay.values());
    underWay.delete(answer.index);
    return answer;
  };
  let index = 0;
  for await (const wish of wishes) {
    const asked = answerTo(client, wish, index, checked);
    asked.catch(() => undefined); // thrown where it is taken
    underWay.set(index, asked);
    index += 1;
    if (underWay.size >= concurrency) yield await next();
  }
  while (underWay.size > 0) yield await next();
}

async function answerTo(
  client: Pick<Client, 'submit'>,
  { request, runId, queue }: RunWish,
  index: number,
  checked: boolean | undefined,
): Promise<WishAnswer> {
  try {
    const options = {
      ...(runId === undefined ? {} : { runId }),
      ...(queue === undefined ? {} : { queue }),
      ...(checked === undefined ? {} : { checked }),
    };
    return { index, receipt: await client.submit(request, options) };
  } catch (error) {
    if (error instanceof ReentryError && ABOUT_THE_WISH.includes(error.code)) return { index, error };
    throw error;
  }
}
