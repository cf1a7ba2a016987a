/** A bucket as the stream it is: direct reads, leader reads, compare-and-set. The library's own `kv` cannot read from the leader. */
import { headers } from 'nats';
import type { Bucket } from '../wire/streams.ts';
import { faultOf, natsError } from './errors.ts';
import type { Link } from './link.ts';
import { patiently, publishAcked } from './publish.ts';
import { directGet, leaderGet } from './stored.ts';
import type { StoredMessage } from './stored.ts';

/** What stands under a key. A deleted key has a revision too, which the next write must expect. */
export interface Entry {
  readonly key: string;
  readonly revision: number;
  readonly deleted: boolean;
  readonly data: Uint8Array;
  readonly at: Date;
}

const OPERATION = 'KV-Operation';

/** One bucket. All calls repeat for 15 s while the broker is away. */
export function keyValues(link: Pick<Link, 'nc' | 'js' | 'jsm'>, bucket: Bucket) {
  const { jsm } = link;
  const entryOf = (message: StoredMessage): Entry => {
    const operation = message.header.get(OPERATION);
    return {
      key: message.subject.slice(bucket.subject('').length),
      revision: message.seq,
      deleted: operation === 'DEL' || operation === 'PURGE',
      data: message.data,
      at: message.time,
    };
  };

  const read = async (key: string, from: 'leader' | 'any' = 'any'): Promise<Entry | undefined> => {
    const subject = bucket.subject(key);
    const message = await patiently(`reading ${key} of ${bucket.bucket}`, () =>
      from === 'leader' ? leaderGet(link, bucket.stream, subject) : directGet(link, bucket.stream, { lastOf: subject }),
    );
    return message === undefined ? undefined : entryOf(message);
  };

  /**
   * Writes where the key's revision is `expected` (0: absent or deleted). `isOurs` recognizes our own write: since server 2.12 a repeated
   * compare-and-set fails although the first try was applied, so only the leader's value can settle an unknown outcome.
   */
  const compareAndSet = async (
    key: string,
    data: string,
    expected: number,
    isOurs: (data: Uint8Array) => boolean,
  ): Promise<
    | { readonly kind: 'written'; readonly revision: number }
    | { readonly kind: 'conflict'; readonly current: Entry | undefined }
  > => {
    let expect = expected;
    for (;;) {
      const outcome = await publishAcked(link, bucket.subject(key), data, { expect });
      if (outcome.kind === 'stored') return { kind: 'written', revision: outcome.ack.seq };
      const current = await read(key, 'leader');
      if (current !== undefined && !current.deleted && isOurs(current.data))
        return { kind: 'written', revision: current.revision };
      // "Must not exist" holds for a deleted key too, under its marker's revision; and for one whose marker was swept.
      if (expected === 0 && current?.deleted === true && current.revision !== expect) expect = current.revision;
      else if (expected === 0 && current === undefined && expect !== 0) expect = 0;
      else return { kind: 'conflict', current: current?.deleted === true ? undefined : current };
    }
  };

  return {
    bucket,
    read,
    compareAndSet,
    /** Writes whatever stands there. */
    async put(key: string, data: string): Promise<number> {
      const outcome = await publishAcked(link, bucket.subject(key), data);
      if (outcome.kind === 'wrongSequence') throw natsError(`writing ${key}`, new Error('unexpected sequence'));
      return outcome.ack.seq;
    },
    /** Puts a deletion marker; with `expected`, only on that revision. Says whether it did. */
    async delete(key: string, expected?: number): Promise<boolean> {
      const marker = headers();
      marker.set(OPERATION, 'DEL');
      const outcome = await publishAcked(link, bucket.subject(key), new Uint8Array(), {
        headers: marker,
        ...(expected === undefined ? {} : { expect: expected }),
      });
      return outcome.kind === 'stored';
    },
    /** The first entry at or after a sequence, in stream order, of keys that match `filter` (subject wildcards). */
    async next(filter: string, sequence: number): Promise<Entry | undefined> {
      const message = await patiently(`listing ${bucket.bucket}`, () =>
        directGet(link, bucket.stream, { nextOf: bucket.subject(filter), from: sequence }),
      );
      return message === undefined ? undefined : entryOf(message);
    },
    /** Removes one stored message for good, where it is still the one of that sequence. */
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
