/** Sweeps the buckets: removes what is left of deleted keys. */
import type { Broker } from '../ports/broker.ts';
import { watchHeartbeatKeys } from '../wire/streams.ts';
import { keyValues } from './buckets.ts';
import { streamInfo } from './inspection.ts';
import type { Link } from './link.ts';

/**
 * Removes deletion markers and the heartbeat keys of watches that ended, bucket by bucket. A marker is a new message at the end of the stream,
 * so a message that was no marker never becomes one: each is read once, when it is old enough, and a sweep with nothing to do reads one
 * message. Ages are by the broker's clock (`now`), as those of the watches are. Removal by sequence is fast on every server; purge by subject is not.
 */
export function bucketSweep(link: Link, now: () => number): Broker['sweep'] {
  const { requestBucket, stateBucket, subscriptionBucket, ownershipBucket, slotBucket } = link.assets;
  const buckets = [subscriptionBucket, stateBucket, requestBucket, ownershipBucket, slotBucket].map((bucket) => ({
    stream: bucket.stream,
    entries: keyValues(link, bucket),
    // A worker may not read the stream info of the buckets of claims and slots. They are small, and never at their end while they are watched.
    isRestartedAtItsEnd: bucket === ownershipBucket || bucket === slotBucket,
    /** All before this sequence has been read. */
    from: 1,
    created: '',
  }));
  return async ({ olderThanMs, limit }) => {
    let removed = 0;
    for (const bucket of buckets) {
      if (!bucket.isRestartedAtItsEnd) {
        const { created, lastSequence } = await streamInfo(link, bucket.stream);
        // The stream was recreated or restored: sequences begin again.
        if (created !== bucket.created || lastSequence + 1 < bucket.from) bucket.from = 1;
        bucket.created = created;
      }
      for (let looked = 0; looked < limit; looked += 1) {
        const entry = await bucket.entries.next('>', bucket.from);
        if (entry === undefined && bucket.isRestartedAtItsEnd) bucket.from = 1;
        // All entries after one that is too young are younger still.
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
