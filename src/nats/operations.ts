/** What running an installation needs of NATS: dead letters, queues, replays. */
import { z } from 'zod';
import type { DeadLetter, DeadLetters, Operations } from '../ports/operations.ts';
import { nearGet } from './buckets.ts';
import type { StoredMessage } from './buckets.ts';
import { connectNats } from './connection.ts';
import { natsError } from './errors.ts';
import { queueLanes } from './inspection.ts';
import { linkOf } from './link.ts';
import type { Link, BrokerOptions } from './link.ts';
import { runOfRawTokens } from './messages.ts';
import { publishRun } from './publish.ts';
import { roleQueries } from './queries.ts';
import { requestStore, runStore } from './run-store.ts';
import { gateStore } from './subscription-store.ts';

/** Header `Reentry-Why` of a dead letter. */
const whySchema = z.looseObject({ code: z.string(), category: z.string(), summary: z.string() });

function whyOf(message: StoredMessage): DeadLetter['why'] {
  try {
    return whySchema.parse(JSON.parse(message.header.get('Reentry-Why')));
  } catch {
    return { code: 'UNKNOWN', category: 'infrastructure', summary: 'the dead letter has no reason' };
  }
}

function letterOf(message: StoredMessage): DeadLetter {
  const [kind = '', tenant = '', runId = ''] = message.subject.split('.').slice(-3);
  const cut = Number(message.header.get('Reentry-Truncated-From-Bytes'));
  return {
    sequence: message.seq,
    kind,
    run: runOfRawTokens(tenant, runId),
    at: message.time.getTime(),
    why: whyOf(message),
    data: message.data,
    ...(cut > 0 ? { truncatedFromBytes: cut } : {}),
  };
}

/** Dead letters, read by sequence: without a consumer that would have to be removed. */
export function deadLetters(link: Link): DeadLetters {
  const { subjects, assets } = link;
  const next = (filter: string, from: number) =>
    nearGet(link, assets.deadLetters, { nextOf: filter, from }, 'reading dead letters');
  return {
    async list({ tenant, after, limit }) {
      const filter = tenant === undefined ? subjects.dlq.all : subjects.dlq.ofTenant(tenant);
      const letters: DeadLetter[] = [];
      let from = (after ?? 0) + 1;
      while (letters.length < limit) {
        const message = await next(filter, from);
        if (message === undefined) return { letters, next: undefined };
        letters.push(letterOf(message));
        from = message.seq + 1;
      }
      return { letters, next: (await next(filter, from)) === undefined ? undefined : from - 1 };
    },
    async read(sequence) {
      if (!Number.isSafeInteger(sequence) || sequence < 1)
        throw natsError('reading a dead letter', new Error('not a sequence'));
      const message = await next(subjects.dlq.all, sequence);
      return message?.seq === sequence ? letterOf(message) : undefined;
    },
  };
}

/** Retry period for "no stream takes this subject", which may be a broker that restarts; afterwards the queue is unknown. */
const UNKNOWN_QUEUE_MS = 3_000;

/**
 * Connects the operator of an installation, as the user of role `setup`.
 * @throws ReentryError UNREACHABLE, UNAUTHORIZED or CONFIG_INVALID
 */
export async function openOperations(options: Omit<BrokerOptions, 'role'>): Promise<Operations> {
  const whole = { ...options, role: 'setup' } as const;
  const connection = await connectNats(whole);
  const link = await linkOf(connection, whole);
  return {
    deadLetters: deadLetters(link),
    gates: gateStore(link),
    queries: roleQueries(link),
    queues: () => queueLanes(link),
    runs: runStore(link),
    requests: requestStore(link),
    publishRun: (queue, run, data, msgID) =>
      publishRun(link, queue, run, data, { msgID, retryUnknownQueueForMs: UNKNOWN_QUEUE_MS }),
    [Symbol.asyncDispose]: () => connection[Symbol.asyncDispose](),
  };
}
