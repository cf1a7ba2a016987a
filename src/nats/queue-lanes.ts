/** How many messages stand in a queue's consumers, as the broker counts them. */
import type { QueueLanes } from '../ports/operations.ts';
import { consumers } from '../wire/streams.ts';
import { LANES } from '../wire/subjects.ts';
import type { Lane } from '../wire/subjects.ts';
import { QUEUE_PATTERN } from '../wire/tokens.ts';
import { natsError } from './errors.ts';
import type { Link } from './link.ts';

/**
 * Messages of one queue that no process has been given yet: requests and steps of all lanes. One short question for each of its consumers.
 * @throws ReentryError NOT_FOUND for a queue that was not set up, NATS_UNAVAILABLE, FORBIDDEN
 */
export async function undelivered({ jsm, assets }: Link, queue: string): Promise<number> {
  const asked = [
    jsm.consumers.info(assets.runs, consumers.intake(queue)),
    ...LANES.map((lane) => jsm.consumers.info(assets.steps, consumers.step(lane, queue))),
  ];
  try {
    const infos = await Promise.all(asked);
    return infos.reduce((sum, { num_pending }) => sum + num_pending, 0);
  } catch (error) {
    throw natsError(`looking at queue ${queue}`, error);
  }
}

/** The queues, by the consumers that `setup` made for them. */
export async function queueLanes({ jsm, assets }: Link): Promise<readonly QueueLanes[]> {
  try {
    const [runs, steps] = await Promise.all(
      [assets.runs, assets.steps].map(async (stream) => {
        const messages = new Map<string, { readonly messages: number; readonly kind: string }>();
        for await (const { name, num_pending, num_ack_pending, config } of jsm.consumers.list(stream))
          messages.set(name, {
            messages: num_pending + num_ack_pending,
            kind: config.metadata?.['dev.reentry.kind'] ?? '',
          });
        return messages;
      }),
    );
    const intake = consumers.intake('');
    return [...(runs ?? [])].flatMap(([name, { messages, kind }]): QueueLanes[] => {
      const queue = name.startsWith(intake) ? name.slice(intake.length) : '';
      if (!QUEUE_PATTERN.test(queue)) return [];
      const lane = (of: Lane) => steps?.get(consumers.step(of, queue))?.messages ?? 0;
      return [
        {
          queue,
          kind: kind === 'executor' ? 'executor' : 'worker',
          requests: messages,
          steps: { ctl: lane('ctl'), resume: lane('resume'), start: lane('start') },
        },
      ];
    });
  } catch (error) {
    throw natsError('looking at the queues', error);
  }
}
