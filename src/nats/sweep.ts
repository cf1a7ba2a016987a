import type { Broker } from '../ports/broker.ts';
import { watchHeartbeatKeys } from '../wire/streams.ts';
import { keyValues } from './buckets.ts';
import type { Link } from './link.ts';
import { streamInfo } from './inspection.ts';

/**
 * Removes what is left of keys that are no more, deletion markers and the beacons of watches that died, bucket by bucket. A marker is a new
 * message at the stream's end, so what was looked at once, and was none, never becomes one: each message is read once, when it is old
 * enough, and a sweep that has nothing to do reads one. Ages are by the broker's clock (`now`): watches count on theirs.
 * Removal by sequence is fast on every server; purge by subject is not. @see spec nats-notes §2.7
 */
export function bucketSweep(link: Link, now: () => number): Broker['sweep'] {
  const { requestBucket, stateBucket, subscriptionBucket, ownershipBucket } = link.assets;
  const buckets = [subscriptionBucket, stateBucket, requestBucket, ownershipBucket].map((bucket) => ({
    stream: bucket.stream,
    entries: keyValues(link, bucket),
    /** All before it has been looked at. */
    from: 1,
    made: '',
  }));
  return async ({ olderThanMs, limit }) => {
    let removed = 0;
    for (const bucket of buckets) {
      if (bucket.stream !== ownershipBucket.stream) {
        const { created, lastSequence } = await streamInfo(link, bucket.stream);
        // Another stream, or an older state of it: sequences have begun again.
        if (created !== bucket.made || lastSequence + 1 < bucket.from) bucket.from = 1;
        bucket.made = created;
      }
      for (let looked = 0; looked < limit; looked += 1) {
        const entry = await bucket.entries.next('>', bucket.from);
        // A worker may not ask what the bucket of claims is; it is small, and while triggerers live never at its end.
        if (entry === undefined && bucket.stream === ownershipBucket.stream) bucket.from = 1;
        // Behind one that is too young all are.
        if (entry === undefined || Math.max(0, now() - entry.at.getTime()) < olderThanMs) break;
        if (entry.deleted || entry.key.startsWith(watchHeartbeatKeys.prefix)) {
          await bucket.entries.remove(entry.revision);
          removed += 1;
        }
        bucket.from = entry.revision + 1;
      }
    }
    return removed;
  };
}
