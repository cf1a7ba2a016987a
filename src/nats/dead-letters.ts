import { z } from 'zod';
import type { DeadLetter, DeadLetters } from '../ports/operations.ts';
import { patiently } from './publish.ts';
import { rawRunOf } from './codec.ts';
import { natsError } from './errors.ts';
import type { Link } from './link.ts';
import { directGet } from './stored.ts';
import type { StoredMessage } from './stored.ts';

/** What `Publisher.deadLetter` writes into the header. */
const whySchema = z.looseObject({ code: z.string(), category: z.string(), summary: z.string() });

function whyOf(message: StoredMessage): DeadLetter['why'] {
  try {
    return whySchema.parse(JSON.parse(message.header.get('Reentry-Why')));
  } catch {
    return { code: 'UNKNOWN', category: 'infrastructure', summary: 'the letter does not say why' };
  }
}

function letterOf(message: StoredMessage): DeadLetter {
  const [kind = '', tenant = '', runId = ''] = message.subject.split('.').slice(-3);
  const cut = Number(message.header.get('Reentry-Truncated-From-Bytes'));
  return {
    sequence: message.seq,
    kind,
    run: rawRunOf(tenant, runId),
    at: message.time.getTime(),
    why: whyOf(message),
    data: message.data,
    ...(cut > 0 ? { truncatedFromBytes: cut } : {}),
  };
}

/** Dead letters as their stream keeps them, read by sequence: no consumer, so nothing is left behind. */
export function deadLetters(link: Link): DeadLetters {
  const { subjects, assets } = link;
  const next = (filter: string, from: number) =>
    patiently('reading dead letters', () => directGet(link, assets.deadLetters, { nextOf: filter, from }));
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
        throw natsError('reading a dead letter', new Error('no such place'));
      const message = await next(subjects.dlq.all, sequence);
      return message?.seq === sequence ? letterOf(message) : undefined;
    },
  };
}
