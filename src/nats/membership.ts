/** Which triggerers and executors are alive, and which triggerer owns which shard. */
import { EMPTY, concatMap, of, share } from 'rxjs';
import type { Observable } from 'rxjs';
import type { ClaimChange, Membership, ExecutorMembers } from '../ports/broker.ts';
import { heartbeatSchema, claimSchema, executorHeartbeatSchema } from '../wire/presence.ts';
import type { Heartbeat } from '../wire/presence.ts';
import { keyValues } from './buckets.ts';
import type { Link } from './link.ts';
import { liveWatch$ } from './live-watch.ts';
import { parseMessage, parsedMessages$ } from './messages.ts';

/** Heartbeats of all triggerers, from now on. */
export function heartbeats$(link: Link): Observable<Heartbeat> {
  return parsedMessages$(link, link.subjects.heartbeat.all, heartbeatSchema);
}

/** Heartbeats of triggerers as core messages, claims by compare-and-set. */
export function membership(link: Link): Membership {
  const { nc, subjects, log } = link;
  const owners = keyValues(link, link.assets.ownershipBucket);
  return {
    publishHeartbeat(heartbeat) {
      // Dropped while disconnected: a heartbeat sent late would be false.
      if (link.isConnected() && !nc.isClosed() && !nc.isDraining())
        nc.publish(subjects.heartbeat.of(heartbeat.replica), JSON.stringify(heartbeat));
    },
    heartbeats$: heartbeats$(link).pipe(share()),
    claims$: () =>
      liveWatch$(link, owners.bucket, link.name).pipe(
        concatMap((signal) => {
          if (signal.kind === 'alive') return EMPTY;
          if (signal.kind === 'synced') return of<ClaimChange>(signal);
          if (signal.kind === 'deleted') return of<ClaimChange>({ kind: 'deleted', key: signal.key });
          try {
            const claim = parseMessage(claimSchema, signal.data, `claim ${signal.key}`);
            return of<ClaimChange>({ kind: 'put', key: signal.key, claim, revision: signal.revision });
          } catch (error) {
            log?.warn({ key: signal.key, error: String(error) }, 'ignoring an invalid claim');
            return EMPTY;
          }
        }),
      ),
    async claim(key, claim, expectedRevision) {
      const json = JSON.stringify(claim);
      const text = new TextDecoder();
      const outcome = await owners.compareAndSet(key, json, expectedRevision, (data) => text.decode(data) === json);
      return outcome.kind === 'written' ? outcome.revision : undefined;
    },
    async readClaim(key) {
      const entry = await owners.read(key, 'leader');
      if (entry === undefined || entry.deleted) return undefined;
      return { value: parseMessage(claimSchema, entry.data, `claim ${key}`), revision: entry.revision };
    },
    dropClaim: (key, expectedRevision) => owners.delete(key, expectedRevision),
  };
}

/** Heartbeats of executors as core messages; dropped while disconnected. */
export function executorMembers(link: Link): ExecutorMembers {
  const { nc, subjects } = link;
  return {
    publishHeartbeat(beat) {
      if (link.isConnected() && !nc.isClosed() && !nc.isDraining())
        nc.publish(subjects.executorHeartbeat.of(beat.queue, beat.executor), JSON.stringify(beat));
    },
    heartbeats$: parsedMessages$(link, subjects.executorHeartbeat.all, executorHeartbeatSchema).pipe(share()),
  };
}
