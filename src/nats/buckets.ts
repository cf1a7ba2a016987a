/** Stored messages, and buckets as the streams they are: direct reads, reads from the leader, compare-and-set. */
import { headers } from 'nats';
import type { MsgHdrs, NatsConnection } from 'nats';
import { z } from 'zod';
import { ReentryError } from '../errors.ts';
import type { Bucket } from '../wire/streams.ts';
import { natsError, faultOf } from './errors.ts';
import { CALL_TIMEOUT_MS } from './link.ts';
import type { Link } from './link.ts';
import { withRetry, publishAcked } from './publish.ts';

/** A stored message. */
export interface StoredMessage {
  readonly subject: string;
  readonly seq: number;
  readonly header: MsgHdrs;
  readonly data: Uint8Array;
  readonly time: Date;
}

/** Which message to read: the last of a subject, or the first of a subject (wildcards allowed) at or after a sequence. */
export type MessageQuery = { readonly lastOf: string } | { readonly nextOf: string; readonly from: number };

/**
 * Reads a message from any replica, so possibly stale on a cluster. `undefined`: no such message. The library's own direct get is not part of
 * its types.
 * @throws ReentryError INTERNAL, not transient, where the server refuses the request itself
 * @see https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-31.md
 */
export async function directGet(
  { nc }: Pick<Link, 'nc'>,
  stream: string,
  query: MessageQuery,
  timeout = CALL_TIMEOUT_MS,
): Promise<StoredMessage | undefined> {
  // `lastOf` stands in the API subject, so that permissions can narrow it.
  const message =
    'lastOf' in query
      ? await nc.request(`$JS.API.DIRECT.GET.${stream}.${query.lastOf}`, '', { timeout })
      : await nc.request(
          `$JS.API.DIRECT.GET.${stream}`,
          JSON.stringify({ seq: query.from, next_by_subj: query.nextOf }),
          { timeout },
        );
  const header = message.headers ?? headers();
  if (header.code === 404) return undefined;
  // 408 and the like: the server refuses this request every time.
  if (header.code !== 0) {
    const status = `${String(header.code)} ${header.description}`;
    throw new ReentryError('INTERNAL', `reading ${stream}: the broker refused the request (${status})`, {
      transient: false,
    });
  }
  const seq = Number(header.get('Nats-Sequence'));
  if (!Number.isInteger(seq) || seq < 1)
    throw natsError(`reading ${stream}`, new Error('an answer without Nats-Sequence'));
  return {
    subject: header.get('Nats-Subject'),
    seq,
    header,
    data: message.data,
    time: new Date(header.get('Nats-Time-Stamp')),
  };
}

/** Reply of STREAM.MSG.GET. @see https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-1.md */
const leaderReplySchema = z.looseObject({
  error: z
    .looseObject({ code: z.number(), err_code: z.number().optional(), description: z.string().optional() })
    .optional(),
  message: z
    .looseObject({
      subject: z.string(),
      seq: z.number(),
      hdrs: z.string().optional(),
      data: z.string().optional(),
      time: z.string(),
    })
    .optional(),
});

/**
 * Reads a message from the stream's leader: never stale. `undefined`: no such message. The library's own call creates an error
 * with a stack for each absence, and most first reads of a key find none.
 */
export async function leaderGet(
  { nc, jsm }: Pick<Link, 'nc' | 'jsm'>,
  stream: string,
  query: MessageQuery,
): Promise<StoredMessage | undefined> {
  const request = 'lastOf' in query ? { last_by_subj: query.lastOf } : { seq: query.from, next_by_subj: query.nextOf };
  const reply = await nc.request(`$JS.API.STREAM.MSG.GET.${stream}`, JSON.stringify(request), {
    timeout: CALL_TIMEOUT_MS,
  });
  const { error, message } = leaderReplySchema.parse(reply.json());
  if (error?.code === 404 && (error.err_code === undefined || error.err_code === NO_MESSAGE)) return undefined;
  // Every other refusal goes through the library, for its messages and error classes.
  if (message === undefined) return await jsm.streams.getMessage(stream, request);
  return {
    subject: message.subject,
    seq: message.seq,
    header: headersIn(message.hdrs),
    data: Buffer.from(message.data ?? '', 'base64'),
    time: new Date(message.time),
  };
}

/** Time-out of a read from any replica, in milliseconds, before the leader is read. */
const REPLICA_TIMEOUT_MS = 500;
/** Time for which only leaders are read after a replica did not answer, in milliseconds. */
const LEADERS_ONLY_MS = 10_000;

/** Until when only leaders are read over a connection, by `performance.now()`. */
const leadersOnlyUntil = new WeakMap<NatsConnection, number>();

/**
 * Reads a message from any replica, and from the leader where that one does not answer. The servers give each such read to one replica, which may stand
 * still; so the next reads go to the leader at once. Retried for 15 s.
 */
export function nearGet(
  link: Pick<Link, 'nc' | 'jsm'>,
  stream: string,
  query: MessageQuery,
  doing: string,
): Promise<StoredMessage | undefined> {
  return withRetry(doing, async () => {
    if (performance.now() < (leadersOnlyUntil.get(link.nc) ?? 0)) return await leaderGet(link, stream, query);
    try {
      return await directGet(link, stream, query, REPLICA_TIMEOUT_MS);
    } catch (error) {
      if (faultOf(error) !== 'unknownOutcome') throw error;
      leadersOnlyUntil.set(link.nc, performance.now() + LEADERS_ONLY_MS);
      return await leaderGet(link, stream, query);
    }
  });
}

/** JetStream's error code for "no message found". */
const NO_MESSAGE = 10_037;

/** Headers as stored: a status line, then `name: value` lines. */
function headersIn(encoded: string | undefined): MsgHdrs {
  const header = headers();
  if (encoded === undefined) return header;
  for (const line of Buffer.from(encoded, 'base64').toString('utf8').split('\r\n').slice(1)) {
    const at = line.indexOf(':');
    if (at > 0) header.append(line.slice(0, at), line.slice(at + 1).trim());
  }
  return header;
}

/** An entry of a bucket. A deleted key has a revision too, which the next write must expect. */
export interface BucketEntry {
  readonly key: string;
  readonly revision: number;
  readonly deleted: boolean;
  readonly data: Uint8Array;
  readonly at: Date;
}

const OPERATION = 'KV-Operation';

/** One bucket. All calls are retried for 15 s while the broker is away. The library's `kv` cannot read from the leader. */
export function keyValues(link: Pick<Link, 'nc' | 'js' | 'jsm'>, bucket: Bucket) {
  const { jsm } = link;
  const entryOf = (message: StoredMessage): BucketEntry => {
    const operation = message.header.get(OPERATION);
    return {
      key: message.subject.slice(bucket.subject('').length),
      revision: message.seq,
      deleted: operation === 'DEL' || operation === 'PURGE',
      data: message.data,
      at: message.time,
    };
  };

  const read = async (key: string, from: 'leader' | 'any' = 'any'): Promise<BucketEntry | undefined> => {
    const subject = bucket.subject(key);
    const query = { lastOf: subject };
    const message =
      from === 'leader'
        ? await withRetry(`reading ${key} of ${bucket.bucket}`, () => leaderGet(link, bucket.stream, query))
        : await nearGet(link, bucket.stream, query, `reading ${key} of ${bucket.bucket}`);
    return message === undefined ? undefined : entryOf(message);
  };

  /**
   * Writes where the key's revision is `expected` (0: absent or deleted). `isOurs` recognizes this write: since server 2.12 a repeated
   * compare-and-set fails although the first try was applied, so only the leader's value shows whether it was.
   */
  const compareAndSet = async (
    key: string,
    data: string,
    expected: number,
    isOurs: (data: Uint8Array) => boolean,
  ): Promise<
    | { readonly kind: 'written'; readonly revision: number }
    | { readonly kind: 'conflict'; readonly current: BucketEntry | undefined }
  > => {
    let expect = expected;
    for (;;) {
      const outcome = await publishAcked(link, bucket.subject(key), data, { expect });
      if (outcome.kind === 'stored') return { kind: 'written', revision: outcome.ack.seq };
      const current = await read(key, 'leader');
      if (current !== undefined && !current.deleted && isOurs(current.data))
        return { kind: 'written', revision: current.revision };
      // A deleted key counts as absent, under its marker's revision; so does one whose marker was swept.
      if (expected === 0 && current?.deleted === true && current.revision !== expect) expect = current.revision;
      else if (expected === 0 && current === undefined && expect !== 0) expect = 0;
      else return { kind: 'conflict', current: current?.deleted === true ? undefined : current };
    }
  };

  return {
    bucket,
    read,
    compareAndSet,
    /** Writes unconditionally. */
    async put(key: string, data: string): Promise<number> {
      const outcome = await publishAcked(link, bucket.subject(key), data);
      if (outcome.kind === 'wrongSequence') throw natsError(`writing ${key}`, new Error('unexpected sequence'));
      return outcome.ack.seq;
    },
    /** Writes a deletion marker; with `expected`, only over that revision. Whether it was written. */
    async delete(key: string, expected?: number): Promise<boolean> {
      const marker = headers();
      marker.set(OPERATION, 'DEL');
      const outcome = await publishAcked(link, bucket.subject(key), new Uint8Array(), {
        headers: marker,
        ...(expected === undefined ? {} : { expect: expected }),
      });
      return outcome.kind === 'stored';
    },
    /** The first entry at or after `sequence`, in stream order, whose key matches `filter` (subject wildcards). */
    async next(filter: string, sequence: number): Promise<BucketEntry | undefined> {
      const query = { nextOf: bucket.subject(filter), from: sequence };
      const message = await nearGet(link, bucket.stream, query, `listing ${bucket.bucket}`);
      return message === undefined ? undefined : entryOf(message);
    },
    /** Removes one stored message for good. No error where it is gone already. */
    async remove(sequence: number): Promise<void> {
      try {
        await jsm.streams.deleteMessage(bucket.stream, sequence, false);
      } catch (error) {
        if (faultOf(error) !== 'notFound' && faultOf(error) !== 'refused')
          throw natsError(`sweeping ${bucket.bucket}`, error);
      }
    },
  };
}
