import type { Operations } from '../ports/operations.ts';
import { connectNats } from './connection.ts';
import { deadLetters } from './dead-letters.ts';
import { gateStore } from './gate-store.ts';
import { linkOf } from './link.ts';
import type { BrokerOptions } from './options.ts';
import { publishRun } from './publish-run.ts';
import { questions } from './questions.ts';
import { queueLanes } from './queue-lanes.ts';
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
    queries: questions(link),
    queues: () => queueLanes(link),
    runs: runStore(link),
    requests: requestStore(link),
    publishRun: (queue, run, data, msgID) =>
      publishRun(link, queue, run, data, { msgID, unknownQueueMs: UNKNOWN_QUEUE_MS }),
    [Symbol.asyncDispose]: () => connection[Symbol.asyncDispose](),
  };
}
