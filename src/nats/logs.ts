/** Logs: stored chunks, and live text with the requests of those who follow it. */
import { headers } from 'nats';
import type { Msg, MsgHdrs } from 'nats';
import { z } from 'zod';
import { formatCursor, parseCursor } from '../core/log/cursor.ts';
import { ReentryError } from '../errors.ts';
import type { LiveChunk, LiveLogs } from '../ports/broker.ts';
import type { LogStore, StoredLogChunk } from '../ports/stores.ts';
import { dec, enc } from '../wire/tokens.ts';
import { nearGet, leaderGet } from './buckets.ts';
import { faultOf, natsError } from './errors.ts';
import type { Link } from './link.ts';
import { coreMessages$ } from './messages.ts';
import { withRetry, publishAcked } from './publish.ts';

/** Header of a chunk: the cursor of its last line. */
export const CURSOR_HEADER = 'Reentry-To';

/** A chunk of a message whose subject ends in attempt and container. */
export function logChunkOf(subject: string, sequence: number, data: Uint8Array): StoredLogChunk {
  const [attempt, container] = subject.split('.').slice(-2);
  return {
    sequence,
    attempt: Number(attempt),
    container: dec(container ?? '') ?? container ?? '',
    text: new TextDecoder().decode(data),
  };
}

/** Stored logs. The last chunk of a container carries its cursor. */
export function logStore(link: Link): LogStore {
  const { assets, subjects } = link;
  return {
    async end(run, attempt, container) {
      const subject = subjects.log.of(run, attempt, container);
      // From the leader: the append would fail on a stale end.
      const last = await withRetry(`reading the end of ${subject}`, () =>
        leaderGet(link, assets.logs, { lastOf: subject }),
      );
      if (last === undefined) return { cursor: undefined, sequence: 0 };
      return { cursor: parseCursor(last.header.get(CURSOR_HEADER)), sequence: last.seq };
    },
    async append(run, attempt, container, { text, to }, expectedSequence) {
      const header = headers();
      header.set(CURSOR_HEADER, formatCursor(to));
      const subject = subjects.log.of(run, attempt, container);
      const outcome = await publishAcked(link, subject, text, { headers: header, expect: expectedSequence });
      return outcome.kind === 'stored' ? { kind: 'stored', sequence: outcome.ack.seq } : outcome;
    },
    async read(run, { attempt, container, after, limit, maxBytes = Infinity }) {
      const all = subjects.log.ofRun(run);
      const filter = `${all.slice(0, -1)}${attempt === undefined ? '*' : String(attempt)}.${container === undefined ? '*' : enc(container)}`;
      const chunks: StoredLogChunk[] = [];
      let from = (after ?? 0) + 1;
      let bytes = 0;
      while (chunks.length < limit) {
        const message = await nearGet(link, assets.logs, { nextOf: filter, from }, `reading ${filter}`);
        if (message === undefined) return { chunks, next: undefined };
        if (message.seq < from)
          throw new ReentryError('INTERNAL', `the log stream returned a sequence before ${from}`, { transient: true });
        const chunk = logChunkOf(message.subject, message.seq, message.data);
        bytes += Buffer.byteLength(JSON.stringify(chunk.text));
        if (bytes > maxBytes && chunks.length > 0) break;
        chunks.push(chunk);
        from = message.seq + 1;
      }
      return { chunks, next: from - 1 };
    },
  };
}

/** Headers of a live chunk: its attempt, and the cursor of the line before its first (absent at the log's beginning). */
const ATTEMPT_HEADER = 'Reentry-Attempt';

const AFTER_HEADER = 'Reentry-After';
/** Time-out of a follow request, in milliseconds: a worker that follows answers at once. */
const REQUEST_TIMEOUT_MS = 1_000;

const followRequestSchema = z.union([
  z.looseObject({ kind: z.literal('renew'), join: z.boolean() }),
  z.looseObject({ kind: z.literal('claim'), by: z.string() }),
]);

/** A live chunk. Without headers it is the beginning of attempt 1. */
export function liveChunkOf(subject: string, data: Uint8Array, header: MsgHdrs | undefined): LiveChunk {
  return {
    attempt: Number(header?.get(ATTEMPT_HEADER)) || 1,
    container: dec(subject.split('.').at(-1) ?? '') ?? '',
    text: new TextDecoder().decode(data),
    after: parseCursor(header?.get(AFTER_HEADER)),
  };
}

/** Live text and follow requests over core NATS: nothing is stored, anything may be lost. */
export function liveLogs(link: Link): LiveLogs {
  const { nc, subjects, log } = link;
  return {
    async publish(run, { attempt, container, text, after }) {
      const header = headers();
      header.set(ATTEMPT_HEADER, String(attempt));
      if (after !== undefined) header.set(AFTER_HEADER, formatCursor(after));
      nc.publish(subjects.live.of(run, container), text, { headers: header });
      // Resolves when the broker has it, so that a fast log does not pile up here.
      await nc.flush();
    },
    async requestFollow(run, request) {
      const subject = subjects.follow.of(run);
      try {
        await nc.request(subject, JSON.stringify(request), { timeout: REQUEST_TIMEOUT_MS });
        return true;
      } catch (error) {
        const fault = faultOf(error);
        if (fault === 'noResponders' || fault === 'unknownOutcome') return false;
        throw natsError(`requesting ${subject}`, error);
      }
    },
    claimFollow(run, by) {
      if (!nc.isClosed()) nc.publish(subjects.follow.of(run), JSON.stringify({ kind: 'claim', by }));
    },
    onFollowRequest(run, handle) {
      const subscription = coreMessages$(link, subjects.follow.of(run)).subscribe({
        next: (message) => {
          const request = followRequestSchema.safeParse(jsonOf(message));
          if (!request.success) {
            log?.warn({ subject: message.subject }, 'ignoring an invalid follow request');
            return;
          }
          if (message.reply !== undefined && message.reply !== '') message.respond('{}');
          handle(request.data);
        },
        error: (error: unknown) => {
          log?.warn({ ...run, error: String(error) }, 'follow requests cannot be received');
        },
      });
      return {
        [Symbol.dispose]: () => {
          subscription.unsubscribe();
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
