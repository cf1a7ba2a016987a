/**
 * A watch of a whole bucket that is never silent for long. The library's watch can go quiet for 12 s after a server restart and longer
 * when the node of its consumer dies. So this one writes a beacon into the same bucket and starts again from the last revision it has seen,
 * on each reconnect and when its own beacon stays away. @see spec nats-notes §2.7
 */
import { headers } from 'nats';
import type { KvEntry, QueuedIterator } from 'nats';
import { Observable } from 'rxjs';
import { beaconKeys } from '../wire/streams.ts';
import type { Bucket } from '../wire/streams.ts';
import { pause } from './connection.ts';
import type { Link } from './link.ts';
import { streamInfo } from './stream-info.ts';

const BEACON_EVERY_MS = 1_000;
/** A beacon unseen for so long: the watch is dead. */
const BEACON_LOST_MS = 2_500;
/** After a silence like this deletion markers may have been swept, so everything is read again. Sweeping waits longer. */
const SILENT_TOO_LONG_MS = 5 * 60_000;
const RESTART_PAUSE_MS = 250;

/** What a bucket's watch says. `data` is empty for a deletion. */
export type WatchSignal =
  | { readonly kind: 'put'; readonly key: string; readonly data: Uint8Array; readonly revision: number }
  | { readonly kind: 'deleted'; readonly key: string; readonly revision: number }
  /** All that stood there when the watch (re)started has been said. */
  | { readonly kind: 'synced' };

/**
 * Every key of a bucket, then each change; never completes, never errors. Beacons are not shown.
 * @param replica whose beacon this watch writes; unique among the watches of the bucket
 */
export function liveWatch$(link: Link, bucket: Bucket, replica: string): Observable<WatchSignal> {
  return new Observable<WatchSignal>((subscriber) => {
    const { js, log } = link;
    const abort = new AbortController();
    const beacon = beaconKeys.of(replica);
    /** Keys said to exist, so that a full re-read can say which are gone. */
    const known = new Set<string>();
    let lastRevision = 0;
    let madeAt = '';
    let lastSignAt = performance.now();
    let entries: QueuedIterator<KvEntry> | undefined;
    let generation = 0;

    const take = (entry: KvEntry) => {
      if (entry.key === beacon) lastSignAt = performance.now();
      lastRevision = Math.max(lastRevision, entry.revision);
      if (entry.key.startsWith(beaconKeys.prefix)) return;
      if (entry.operation === 'PUT') {
        known.add(entry.key);
        subscriber.next({ kind: 'put', key: entry.key, data: entry.value, revision: entry.revision });
      } else if (known.delete(entry.key))
        subscriber.next({ kind: 'deleted', key: entry.key, revision: entry.revision });
    };

    /** One watch from start to its end. */
    const watchOnce = async (mine: number) => {
      const kv = await js.views.kv(bucket.bucket, { bindOnly: true, allow_direct: true });
      const { lastSequence, created } = await streamInfo(link, bucket.stream);
      // A stream that ends before what we have seen was made anew or restored: what we know may be wrong.
      const full =
        lastRevision === 0 ||
        created !== madeAt ||
        lastSequence < lastRevision ||
        performance.now() - lastSignAt > SILENT_TOO_LONG_MS;
      madeAt = created;
      const seen = full ? new Set<string>() : undefined;
      if (full) lastRevision = 0;
      lastSignAt = performance.now();
      const iterator = await kv.watch({
        ...(full ? {} : { resumeFromRevision: lastRevision + 1 }),
        initializedFn: () => {
          if (mine !== generation) return;
          if (seen !== undefined)
            for (const key of known)
              if (!seen.has(key)) {
                known.delete(key);
                subscriber.next({ kind: 'deleted', key, revision: lastRevision });
              }
          subscriber.next({ kind: 'synced' });
        },
      });
      if (mine !== generation) {
        iterator.stop();
        return;
      }
      entries = iterator;
      for await (const entry of iterator) {
        if (mine !== generation) return;
        seen?.add(entry.key);
        take(entry);
      }
    };

    const run = async () => {
      while (!abort.signal.aborted) {
        generation += 1;
        try {
          await watchOnce(generation);
        } catch (error) {
          log?.debug({ bucket: bucket.bucket, error: String(error) }, 'watch failed; starting again');
        }
        entries = undefined;
        await pause(RESTART_PAUSE_MS, abort.signal);
      }
    };

    const restart = (why: string) => {
      if (entries === undefined) return; // it is starting already
      log?.debug({ bucket: bucket.bucket, why, lastRevision }, 'watch starts again');
      entries.stop();
    };

    const beat = setInterval(() => {
      if (!link.isConnected() || link.nc.isClosed() || link.nc.isDraining()) return;
      // One try: the next beacon is only a second away.
      js.publish(bucket.subject(beacon), '{}', { timeout: BEACON_EVERY_MS }).catch((error: unknown) => {
        log?.debug({ error: String(error) }, 'beacon not stored');
      });
      if (performance.now() - lastSignAt > BEACON_LOST_MS) {
        lastSignAt = Math.max(lastSignAt, performance.now() - BEACON_LOST_MS + BEACON_EVERY_MS);
        restart('beacon lost');
      }
    }, BEACON_EVERY_MS);
    let wasConnected = true;
    const reconnects = link.connected$.subscribe({
      next: (connected) => {
        if (connected && !wasConnected) restart('reconnected');
        wasConnected = connected;
      },
      error: (error: unknown) => {
        subscriber.error(error);
      },
    });
    void run();

    return () => {
      abort.abort();
      generation += 1;
      clearInterval(beat);
      reconnects.unsubscribe();
      entries?.stop();
      // Others would otherwise read our last beacon for ever. Best effort: the sweep takes the rest.
      if (link.isConnected() && !link.nc.isClosed() && !link.nc.isDraining())
        link.nc.publish(bucket.subject(beacon), new Uint8Array(), { headers: deletion() });
    };
  });
}

function deletion() {
  const marker = headers();
  marker.set('KV-Operation', 'DEL');
  return marker;
}
