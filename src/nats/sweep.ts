import type { Broker } from '../ports.ts';
import { keyValues } from './key-values.ts';
import type { Link } from './link.ts';

/**
 * Removes deletion markers, bucket by bucket, going on where it stopped last time. Removal by sequence is fast on every server; purge by
 * subject is not. @see spec nats-notes §2.7
 */
export function sweeper(link: Link): Broker['sweep'] {
  const { requestBucket, stateBucket, subscriptionBucket, ownershipBucket } = link.assets;
  const buckets = [subscriptionBucket, stateBucket, requestBucket, ownershipBucket].map((bucket) => ({
    entries: keyValues(link, bucket),
    from: 1,
  }));
  return async ({ olderThanMs, limit }) => {
    let removed = 0;
    for (const bucket of buckets) {
      for (let looked = 0; looked < limit; looked += 1) {
        const entry = await bucket.entries.next('>', bucket.from);
        if (entry === undefined) {
          bucket.from = 1;
          break;
        }
        bucket.from = entry.revision + 1;
        if (!entry.deleted || Date.now() - entry.at.getTime() < olderThanMs) continue;
        await bucket.entries.remove(entry.revision);
        removed += 1;
      }
    }
    return removed;
  };
}
