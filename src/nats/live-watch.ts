/**
 * A watch of a whole bucket that is never silent for long. The library's watch can go quiet for 12 s after a server restart, and longer
 * when the node of its consumer dies. This one writes a heartbeat key into the bucket each second and restarts from the last revision it
 * has received: on each reconnect, and when its own heartbeat does not come back.
 */
import { headers } from 'nats';
import type { KvEntry, QueuedIterator } from 'nats';
import { Observable } from 'rxjs';
import type { Subscriber } from 'rxjs';
import { watchHeartbeatKeys } from '../wire/streams.ts';
import type { Bucket } from '../wire/streams.ts';
import { sleep } from './connection.ts';
import { streamInfo } from './inspection.ts';
import type { Link } from './link.ts';

const HEARTBEAT_EVERY_MS = 1_000;
/** Without its heartbeat for this long the watch is taken for dead. */
const HEARTBEAT_LOST_MS = 2_500;
/** After this silence, by the broker's clock, deletion markers may have been swept: everything is read again. Sweeping waits longer. */
const SILENT_TOO_LONG_MS = 5 * 60_000;
const RESTART_PAUSE_MS = 250;
/** Time-out of starting a watch, in milliseconds. Its consumer may be placed on a server that stands still; the next one is placed anew. */
const START_TIMEOUT_MS = 1_000;

/** An event of a bucket's watch. */
export type BucketSignal =
  | { readonly kind: 'put'; readonly key: string; readonly data: Uint8Array; readonly revision: number }
  | { readonly kind: 'deleted'; readonly key: string; readonly revision: number }
  /** Every key that existed when the watch (re)started has been emitted. */
  | { readonly kind: 'synced' }
  /** The watch's own heartbeat came back, about once a second: everything written before it has been emitted. */
  | { readonly kind: 'alive' };

/**
 * Every key of a bucket, then each change. Never completes; errors only with `connected$`. Heartbeat keys are not emitted.
 * @param replica names this watch's heartbeat key; unique among the watches of the bucket
 */
export function liveWatch$(link: Link, bucket: Bucket, replica: string): Observable<BucketSignal> {
  return new Observable<BucketSignal>((subscriber) => {
    const watch = new LiveWatch(link, bucket, replica, subscriber);
    return () => {
      watch.stop();
    };
  });
}

class LiveWatch {
  readonly #link: Link;
  readonly #bucket: Bucket;
  readonly #heartbeatKey: string;
  readonly #subscriber: Subscriber<BucketSignal>;
  readonly #abort = new AbortController();
  readonly #heartbeat: NodeJS.Timeout;
  readonly #reconnects: { unsubscribe(): void };
  /** Keys emitted as existing, so that a full read shows which are gone. */
  readonly #known = new Set<string>();
  #lastRevision = 0;
  /** When the broker stored the newest entry received. */
  #lastStoredAt = 0;
  /** Creation time of the stream that `#known` is of; empty before the first complete read. */
  #streamCreated = '';
  #isComplete = false;
  #lastHeartbeatAt = performance.now();
  #entries: QueuedIterator<KvEntry> | undefined;
  #generation = 0;

  constructor(link: Link, bucket: Bucket, replica: string, subscriber: Subscriber<BucketSignal>) {
    this.#link = link;
    this.#bucket = bucket;
    this.#heartbeatKey = watchHeartbeatKeys.of(replica);
    this.#subscriber = subscriber;
    this.#heartbeat = setInterval(() => {
      this.#beat();
    }, HEARTBEAT_EVERY_MS);
    let wasConnected = true;
    this.#reconnects = link.connected$.subscribe({
      next: (connected) => {
        if (connected && !wasConnected) this.#restart('reconnected');
        wasConnected = connected;
      },
      error: (error: unknown) => {
        subscriber.error(error);
      },
    });
    void this.#run();
  }

  stop(): void {
    this.#abort.abort();
    this.#generation += 1;
    clearInterval(this.#heartbeat);
    this.#reconnects.unsubscribe();
    this.#entries?.stop();
    if (!this.#mayPublish()) return;
    // Other watches would otherwise read the last heartbeat until it is swept.
    const marker = headers();
    marker.set('KV-Operation', 'DEL');
    this.#link.nc.publish(this.#bucket.subject(this.#heartbeatKey), new Uint8Array(), { headers: marker });
  }

  async #run(): Promise<void> {
    while (!this.#abort.signal.aborted) {
      this.#generation += 1;
      try {
        await this.#watchOnce(this.#generation);
      } catch (error) {
        this.#link.log?.debug({ bucket: this.#bucket.bucket, error: String(error) }, 'watch failed; restarting it');
      }
      this.#entries = undefined;
      await sleep(RESTART_PAUSE_MS, this.#abort.signal);
    }
  }

  /** One watch of the library, from its start to its end. */
  async #watchOnce(generation: number): Promise<void> {
    const bucket = this.#bucket;
    const js = this.#link.nc.jetstream({ checkAPI: false, timeout: START_TIMEOUT_MS });
    const kv = await js.views.kv(bucket.bucket, { bindOnly: true, allow_direct: true });
    const { lastSequence, created, serverTimeMs } = await streamInfo(this.#link, bucket.stream);
    const isRecreated = this.#streamCreated !== '' && created !== this.#streamCreated;
    // A stream that ends before the last revision received was recreated or restored: what is known may be wrong.
    const isFull =
      !this.#isComplete ||
      isRecreated ||
      lastSequence < this.#lastRevision ||
      serverTimeMs - this.#lastStoredAt > SILENT_TOO_LONG_MS;
    // Keys of this read. Only until it is complete, or every key there ever was would stay in memory.
    let seen = isFull ? new Set<string>() : undefined;
    if (isFull) {
      this.#isComplete = false;
      this.#lastRevision = 0;
      this.#lastStoredAt = serverTimeMs;
    }
    this.#lastHeartbeatAt = performance.now();
    const complete = () => {
      if (seen !== undefined) this.#forgetAllBut(seen);
      seen = undefined;
      this.#streamCreated = created;
      this.#isComplete = true;
      this.#subscriber.next({ kind: 'synced' });
    };
    const entries = await kv.watch(isFull ? {} : { resumeFromRevision: this.#lastRevision + 1 });
    if (generation !== this.#generation) {
      entries.stop();
      return;
    }
    this.#entries = entries;
    // Not by the library's own signal: it relies on the server's count of pending messages, which is too low while keys are rewritten.
    let isPending = lastSequence > this.#lastRevision;
    if (!isPending) complete();
    // The last entry may have been removed meanwhile; then only this heartbeat comes after it.
    else this.#publishHeartbeat();
    for await (const entry of entries) {
      if (generation !== this.#generation) return;
      // Revisions begin again in a recreated stream: a key known by an old revision would be taken for unchanged.
      if (isRecreated && seen?.has(entry.key) === false) this.#forget(entry.key, entry.revision);
      seen?.add(entry.key);
      this.#receive(entry);
      if (!isPending || entry.revision < lastSequence) continue;
      isPending = false;
      complete();
    }
  }

  #receive(entry: KvEntry): void {
    this.#lastRevision = Math.max(this.#lastRevision, entry.revision);
    this.#lastStoredAt = Math.max(this.#lastStoredAt, entry.created.getTime());
    if (entry.key === this.#heartbeatKey) {
      this.#lastHeartbeatAt = performance.now();
      this.#subscriber.next({ kind: 'alive' });
    }
    if (entry.key.startsWith(watchHeartbeatKeys.prefix)) return;
    if (entry.operation !== 'PUT') {
      this.#forget(entry.key, entry.revision);
      return;
    }
    this.#known.add(entry.key);
    this.#subscriber.next({ kind: 'put', key: entry.key, data: entry.value, revision: entry.revision });
  }

  #forget(key: string, revision: number): void {
    if (this.#known.delete(key)) this.#subscriber.next({ kind: 'deleted', key, revision });
  }

  #forgetAllBut(existing: ReadonlySet<string>): void {
    for (const key of this.#known) if (!existing.has(key)) this.#forget(key, this.#lastRevision);
  }

  #restart(why: string): void {
    if (this.#entries === undefined) return; // it is starting already
    this.#link.log?.debug({ bucket: this.#bucket.bucket, why, lastRevision: this.#lastRevision }, 'watch restarts');
    this.#entries.stop();
  }

  #beat(): void {
    if (!this.#mayPublish()) return;
    this.#publishHeartbeat();
    const now = performance.now();
    if (now - this.#lastHeartbeatAt <= HEARTBEAT_LOST_MS) return;
    // The next restart comes one interval later at the earliest.
    this.#lastHeartbeatAt = Math.max(this.#lastHeartbeatAt, now - HEARTBEAT_LOST_MS + HEARTBEAT_EVERY_MS);
    this.#restart('heartbeat lost');
  }

  /** One try: the next heartbeat is only a second away. */
  #publishHeartbeat(): void {
    this.#link.js
      .publish(this.#bucket.subject(this.#heartbeatKey), '{}', { timeout: HEARTBEAT_EVERY_MS })
      .catch((error: unknown) => {
        this.#link.log?.debug({ error: String(error) }, 'heartbeat of a watch was not stored');
      });
  }

  #mayPublish(): boolean {
    const { nc, isConnected } = this.#link;
    return isConnected() && !nc.isClosed() && !nc.isDraining();
  }
}
