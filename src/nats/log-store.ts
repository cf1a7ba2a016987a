import { headers } from 'nats';
import { formatCursor, parseCursor } from '../core/log/cursor.ts';
import { ReentryError } from '../errors.ts';
import type { LogStore, StoredLogChunk } from '../ports/stores.ts';
import { dec, enc } from '../wire/tokens.ts';
import type { Link } from './link.ts';
import { patiently, publishAcked } from './publish.ts';
import { directGet, leaderGet } from './stored.ts';

/** Header of each chunk: where the stored log ends with it. */
export const CURSOR_HEADER = 'Reentry-To';

/** A stored chunk; its subject ends in attempt and container. */
export function logChunkOf(subject: string, sequence: number, data: Uint8Array): StoredLogChunk {
  const [attempt, container] = subject.split('.').slice(-2);
  return {
    sequence,
    attempt: Number(attempt),
    container: dec(container ?? '') ?? container ?? '',
    text: new TextDecoder().decode(data),
  };
}

/** Logs in their stream; a container's last chunk is its cursor. */
export function logStore(link: Link): LogStore {
  const { assets, subjects } = link;
  return {
    async end(run, attempt, container) {
      const subject = subjects.log.of(run, attempt, container);
      // From the leader: a stale end would only be refused at the append.
      const last = await patiently(`reading the end of ${subject}`, () => leaderGet(link, assets.logs, subject));
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
        const message = await patiently(`reading ${filter}`, () =>
          directGet(link, assets.logs, { nextOf: filter, from }),
        );
        if (message === undefined) return { chunks, next: undefined };
        if (message.seq < from)
          throw new ReentryError('INTERNAL', `log stream went backwards at ${from}`, { transient: true });
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
