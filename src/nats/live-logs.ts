import { headers } from 'nats';
import type { Msg, MsgHdrs } from 'nats';
import { z } from 'zod';
import { formatCursor, parseCursor } from '../core/log/cursor.ts';
import type { LiveChunk, LiveLogs } from '../ports/broker.ts';
import { dec } from '../wire/tokens.ts';
import { coreMessages$ } from './core-messages.ts';
import { faultOf, natsError } from './errors.ts';
import type { Link } from './link.ts';

/** Headers of a live chunk: its attempt, and the place of the line before its first (absent at the log's beginning). */
const ATTEMPT_HEADER = 'Reentry-Attempt';
const AFTER_HEADER = 'Reentry-After';
/** A follower answers at once or is not there. */
const ASK_MS = 1_000;

const askSchema = z.union([
  z.looseObject({ kind: z.literal('renew'), join: z.boolean() }),
  z.looseObject({ kind: z.literal('claim'), by: z.string() }),
]);

/** A live message; an older sender's without headers stands at the beginning of attempt 1. */
export function liveChunkOf(subject: string, data: Uint8Array, header: MsgHdrs | undefined): LiveChunk {
  return {
    attempt: Number(header?.get(ATTEMPT_HEADER)) || 1,
    container: dec(subject.split('.').at(-1) ?? '') ?? '',
    text: new TextDecoder().decode(data),
    after: parseCursor(header?.get(AFTER_HEADER)),
  };
}

/** Live text and who follows, over core NATS: nothing here is stored, all of it may be lost. */
export function liveLogs(link: Link): LiveLogs {
  const { nc, subjects, log } = link;
  return {
    async publish(run, { attempt, container, text, after }) {
      const header = headers();
      header.set(ATTEMPT_HEADER, String(attempt));
      if (after !== undefined) header.set(AFTER_HEADER, formatCursor(after));
      nc.publish(subjects.live.of(run, container), text, { headers: header });
      // The broker has it before the next is read: a fast log must not pile up here.
      await nc.flush();
    },
    async requestFollow(run, ask) {
      const subject = subjects.follow.of(run);
      try {
        await nc.request(subject, JSON.stringify(ask), { timeout: ASK_MS });
        return true;
      } catch (error) {
        const fault = faultOf(error);
        if (fault === 'noResponders' || fault === 'unknownOutcome') return false;
        throw natsError(`asking ${subject}`, error);
      }
    },
    claimFollow(run, by) {
      if (!nc.isClosed()) nc.publish(subjects.follow.of(run), JSON.stringify({ kind: 'claim', by }));
    },
    onFollowRequest(run, heard) {
      const answered = coreMessages$(link, subjects.follow.of(run)).subscribe({
        next: (message) => {
          const ask = askSchema.safeParse(jsonOf(message));
          if (!ask.success) {
            log?.warn({ subject: message.subject }, 'question about a follow not understood');
            return;
          }
          if (message.reply !== undefined && message.reply !== '') message.respond('{}');
          heard(ask.data);
        },
        error: (error: unknown) => {
          log?.warn({ ...run, error: String(error) }, 'questions about a follow are not heard');
        },
      });
      return {
        [Symbol.dispose]: () => {
          answered.unsubscribe();
        },
      };
    },
  };
}

function jsonOf(message: Msg): unknown {
  try {
    return message.json();
  } catch {
    return undefined;
  }
}
