import type { Operations, QueueLanes } from '../ports.ts';
import type { Lane } from '../wire/subjects.ts';
import { connectNats } from './connection.ts';
import { deadLetters } from './dead-letters.ts';
import { natsError } from './errors.ts';
import { gateStore } from './gate-store.ts';
import { linkOf } from './link.ts';
import type { Link } from './link.ts';
import type { BrokerOptions } from './options.ts';
import { consumers } from '../wire/streams.ts';
import { QUEUE_PATTERN } from '../wire/tokens.ts';
import { publishRun } from './publish-run.ts';
import { questions } from './questions.ts';
import { requestStore } from './request-store.ts';
import { runStore } from './run-store.ts';

/** How long "no stream takes this subject" is taken for a broker that restarts, and not for an unknown queue. */
const UNKNOWN_QUEUE_MS = 3_000;

/**
 * Opens what running an installation needs of NATS: the user of role `setup`.
 * @throws ReentryError UNREACHABLE, UNAUTHORIZED or CONFIG_INVALID
 */
export async function openOperations(options: Omit<BrokerOptions, 'role'>): Promise<Operations> {
  const whole = { ...options, role: 'setup' } as const;
  const connection = await connectNats(whole);
  const link = await linkOf(connection, whole);
  return {
    deadLetters: deadLetters(link),
    gates: gateStore(link),
    questions: questions(link),
    queues: () => queueLanes(link),
    runs: runStore(link),
    requests: requestStore(link),
    publishRun: (queue, run, data, msgID) =>
      publishRun(link, queue, run, data, { msgID, unknownQueueMs: UNKNOWN_QUEUE_MS }),
    [Symbol.asyncDispose]: () => connection[Symbol.asyncDispose](),
  };
}

/** The queues, by the consumers that `setup` made for them. */
async function queueLanes({ jsm, assets }: Link): Promise<readonly QueueLanes[]> {
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
