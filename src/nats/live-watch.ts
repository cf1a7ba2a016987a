/**
 * A watch of a whole bucket that is never silent for long. The library's watch can go quiet for 12 s after a server restart and longer
 * when the node of its consumer dies. So this one writes a beacon into the same bucket and starts again from the last revision it has seen,
 * on each reconnect and when its own beacon stays away. @see spec nats-notes §2.7
 */
import { headers } from 'nats';
import type { KvEntry, QueuedIterator } from 'nats';
import { Observable } from 'rxjs';
import { watchHeartbeatKeys } from '../wire/streams.ts';
import type { Bucket } from '../wire/streams.ts';
import { pause } from './connection.ts';
import type { Link } from './link.ts';
import { streamInfo } from './inspection.ts';

const BEACON_EVERY_MS = 1_000;
/** A beacon unseen for so long: the watch is dead. */
const BEACON_LOST_MS = 2_500;
/** After a silence like this, by the broker's clock, deletion markers may have been swept, so everything is read again. Sweeping waits longer. */
const SILENT_TOO_LONG_MS = 5 * 60_000;
const RESTART_PAUSE_MS = 250;

/** What a bucket's watch says. `data` is empty for a deletion. */
export type WatchSignal =
  | { readonly kind: 'put'; readonly key: string; readonly data: Uint8Array; readonly revision: number }
  | { readonly kind: 'deleted'; readonly key: string; readonly revision: number }
  /** All that stood there when the watch (re)started has been said. */
  | { readonly kind: 'synced' }
  /** The own beacon came back, about once a second: what this watch says is not older. */
  | { readonly kind: 'alive' };

/**
 * Every key of a bucket, then each change; never completes, never errors. Beacons are not shown.
 * @param replica whose beacon this watch writes; unique among the watches of the bucket
 */
export function liveWatch$(link: Link, bucket: Bucket, replica: string): Observable<WatchSignal> {
  return new Observable<WatchSignal>((subscriber) => {
    const { js, log } = link;
    const abort = new AbortController();
    const beacon = watchHeartbeatKeys.of(replica);
    /** Keys said to exist, so that a full re-read can say which are gone. */
    const known = new Set<string>();
    let lastRevision = 0;
    /** When the broker stored what was seen last. */
    let lastStoredAt = 0;
    /** When the stream was made whose whole content is known; empty: of none. */
    let madeAt = '';
    let isWhole = false;
    let lastSignAt = performance.now();
    let entries: QueuedIterator<KvEntry> | undefined;
    let generation = 0;

    const take = (entry: KvEntry) => {
      lastRevision = Math.max(lastRevision, entry.revision);
      lastStoredAt = Math.max(lastStoredAt, entry.created.getTime());
      if (entry.key === beacon) {
        lastSignAt = performance.now();
        subscriber.next({ kind: 'alive' });
      }
      if (entry.key.startsWith(watchHeartbeatKeys.prefix)) return;
      if (entry.operation === 'PUT') {
        known.add(entry.key);
        subscriber.next({ kind: 'put', key: entry.key, data: entry.value, revision: entry.revision });
      } else if (known.delete(entry.key))
        subscriber.next({ kind: 'deleted', key: entry.key, revision: entry.revision });
    };

    const sayBeacon = () => {
      // One try: the next beacon is only a second away.
      js.publish(bucket.subject(beacon), '{}', { timeout: BEACON_EVERY_MS }).catch((error: unknown) => {
        log?.debug({ error: String(error) }, 'beacon not stored');
      });
    };

    /** One watch from start to its end. */
    const watchOnce = async (mine: number) => {
      const kv = await js.views.kv(bucket.bucket, { bindOnly: true, allow_direct: true });
      const { lastSequence, created, serverTimeMs } = await streamInfo(link, bucket.stream);
      const isRemade = madeAt !== '' && created !== madeAt;
      // A stream that ends before what we have seen was made anew or restored: what we know may be wrong.
      const full =
        !isWhole || isRemade || lastSequence < lastRevision || serverTimeMs - lastStoredAt > SILENT_TOO_LONG_MS;
      // What this reading has said; only until it is whole, or every key there ever was would stay here.
      let seen = full ? new Set<string>() : undefined;
      if (full) {
        isWhole = false;
        lastRevision = 0;
        lastStoredAt = serverTimeMs;
      }
      lastSignAt = performance.now();
      const complete = () => {
        if (seen !== undefined)
          for (const key of known)
            if (!seen.has(key)) {
              known.delete(key);
              subscriber.next({ kind: 'deleted', key, revision: lastRevision });
            }
        seen = undefined;
        madeAt = created;
        isWhole = true;
        subscriber.next({ kind: 'synced' });
      };
      const iterator = await kv.watch(full ? {} : { resumeFromRevision: lastRevision + 1 });
      if (mine !== generation) {
        iterator.stop();
        return;
      }
      entries = iterator;
      // Not by the library's word for it: it counts on the server's figure of what is pending, which is too low while keys are rewritten.
      let isOwed = lastSequence > lastRevision;
      if (!isOwed) complete();
      // What stood last may be gone by now; then nothing but this comes after it.
      else sayBeacon();
      for await (const entry of iterator) {
        if (mine !== generation) return;
        // Revisions begin again with the stream: what is known by an old one would be taken for the same.
        if (isRemade && seen?.has(entry.key) === false && known.delete(entry.key))
          subscriber.next({ kind: 'deleted', key: entry.key, revision: entry.revision });
        seen?.add(entry.key);
        take(entry);
        if (!isOwed || entry.revision < lastSequence) continue;
        isOwed = false;
        complete();
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
      sayBeacon();
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
      // Others would otherwise read our last beacon until it is swept.
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
