import { headers } from 'nats';
import { ReentryError } from '../errors.ts';
import type { RunKey } from '../wire/subjects.ts';
import { faultOf } from './errors.ts';
import type { Link } from './link.ts';
import { publishAcked } from './publish.ts';

/**
 * Publishes a run request. `unknownQueueMs`: how long "no stream takes this subject" is taken for a broker that restarts, and not
 * for an unknown queue.
 * @throws ReentryError NOT_FOUND for a queue that no stream takes
 */
export async function publishRun(
  link: Pick<Link, 'js' | 'subjects'>,
  queue: string,
  run: RunKey,
  data: Uint8Array,
  {
    msgID,
    unknownQueueMs,
    traceparent,
  }: {
    readonly msgID: string | undefined;
    readonly unknownQueueMs: number;
    readonly traceparent?: string | undefined;
  },
): Promise<{ readonly duplicate: boolean }> {
  const header = headers();
  if (traceparent !== undefined) header.set('traceparent', traceparent);
  try {
    const outcome = await publishAcked(link, link.subjects.run.of(queue, run), data, {
      noRespondersPatienceMs: unknownQueueMs,
      ...(msgID === undefined ? {} : { msgID }),
      ...(traceparent === undefined ? {} : { headers: header }),
    });
    return { duplicate: outcome.kind === 'stored' && outcome.ack.duplicate };
  } catch (error) {
    if (error instanceof ReentryError && faultOf(error.cause) === 'noResponders')
      throw new ReentryError(
        'NOT_FOUND',
        `no stream takes runs of queue ${queue}; check its name (\`reentry queue list\`), or make it with \`reentry setup --queues\` and start a worker with it`,
        { transient: false, cause: error },
      );
    throw error;
  }
}
