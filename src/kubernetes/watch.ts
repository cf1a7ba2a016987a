/** The shared pod watch: one HTTP stream that is renewed for ever, told as signals. @see spec kubernetes-notes §3.5, §5 */
import { Observable } from 'rxjs';
import { type JsonRecord, numberIn, recordIn, textIn } from '../core/json.ts';
import { type PodProjection, projectPod } from '../core/pod/projection.ts';
import { KubernetesError } from '../errors.ts';
import type { PodSignal } from '../ports/cluster.ts';
import { type Attempted, brokenConnection, isWatchListRefused, streamRefusal } from './errors.ts';
import { chunksOf, type Http, pause } from './http.ts';
import { LineSplitter } from './lines.ts';
import { listPods, type PodScope } from './list.ts';
import { podsPath } from './paths.ts';
import { getPod } from './pods.ts';
import type { Tuning } from './settings.ts';

/** What all watches of a cluster know together: until when WatchList need not be tried, by this process's steady clock. */
export interface WatchListMemory {
  refusedUntil: number;
}

/** Which pods, and whether one that vanished without a sign of its deletion is asked for. */
export interface WatchedPods extends PodScope {
  /** `false`: told as not confirmed at once; whoever waits for it asks. Default true. */
  readonly confirms?: boolean | undefined;
}

/** Longest event; etcd takes objects of 1.5 MiB. */
const MAX_EVENT_BYTES = 8 * 1024 * 1024;
/** `alive` is said no oftener than this. */
const ALIVE_MS = 1000;
/** Reconnection after a normal end is spread over this, because a restarted server loses all watches at once. */
const SPREAD_MS = 1000;
/** Longest wait while connections are refused. */
const REFUSED_MOST_MS = 3_000;
/** A stream that ended without an event or a bookmark, so often in a row: the server no longer knows the place, and does not say so. */
const BARREN_MOST = 2;
/** GETs at once that confirm what vanished. */
const CONFIRMATIONS = 4;
const END_MARK = 'k8s.io/initial-events-end';

/** Watches the pods of a scope until unsubscription, or the end of the cluster's connection. Never completes, never errors. */
export function watchPods$(
  http: Http,
  scope: WatchedPods,
  tuning: Tuning,
  memory: WatchListMemory,
): Observable<PodSignal> {
  return new Observable<PodSignal>((subscriber) => {
    const stop = new AbortController();
    const watch = new PodWatch(http, scope, tuning, memory, stop.signal, (signal) => {
      subscriber.next(signal);
    });
    const end = (): void => {
      stop.abort();
    };
    // Whoever closes the cluster and forgets a subscription must not be left with a loop.
    http.closed.addEventListener('abort', end, { once: true });
    if (http.closed.aborted) end();
    void watch.run();
    return () => {
      http.closed.removeEventListener('abort', end);
      end();
    };
  });
}

type StreamEnd = 'resume' | 'relist';

class PodWatch {
  readonly #http: Http;
  readonly #scope: WatchedPods;
  readonly #tuning: Tuning;
  readonly #memory: WatchListMemory;
  readonly #stop: AbortSignal;
  readonly #say: (signal: PodSignal) => void;
  readonly #attempted: Attempted;
  /** By uid: a name may come back as another pod. */
  readonly #known = new Map<string, PodProjection>();
  readonly #vanished: PodProjection[] = [];
  #confirming = 0;
  /** Where a watch may go on; undefined: everything must be listed first. */
  #version: string | undefined;
  /** By the steady clock; undefined: not said since the watch was down. */
  #aliveAt: number | undefined;
  /** How many events and bookmarks have been heard. */
  #heard = 0;

  constructor(
    http: Http,
    scope: WatchedPods,
    tuning: Tuning,
    memory: WatchListMemory,
    stop: AbortSignal,
    say: (signal: PodSignal) => void,
  ) {
    this.#http = http;
    this.#scope = scope;
    this.#tuning = tuning;
    this.#memory = memory;
    this.#stop = stop;
    this.#say = (signal) => {
      if (!stop.aborted) say(signal);
    };
    this.#attempted = {
      what: `watch pods of ${scope.namespace ?? 'all namespaces'}`,
      connection: http.connection,
      writes: false,
    };
  }

  /** Read anew each time: it changes during every wait. */
  #stopped(): boolean {
    return this.#stop.aborted;
  }

  async run(): Promise<void> {
    const [first, most] = this.#tuning.backoffMs;
    let bound = first;
    let listBound = first;
    let barren = 0;
    while (!this.#stopped()) {
      const begunAt = performance.now();
      const livedMs = (): number => performance.now() - begunAt;
      let end: StreamEnd | undefined;
      let failure: unknown;
      const heardBefore = this.#heard;
      try {
        end = await this.#once();
      } catch (error) {
        if (this.#stopped()) return;
        failure = error;
        if (error instanceof KubernetesError && error.fault === 'expired') end = 'relist';
      }
      barren = end === 'resume' && this.#heard === heardBefore ? barren + 1 : 0;
      if (barren >= BARREN_MOST) end = 'relist';
      if (livedMs() >= this.#tuning.healthyMs) bound = first;
      if (livedMs() > SPREAD_MS) listBound = first;
      let waitMs: number;
      if (end === 'resume') waitMs = Math.random() * SPREAD_MS;
      else if (end === 'relist') {
        this.#expired();
        // A list right after a good while need not wait; one right after another must, and ever longer: lists are what hurts a server.
        const again = livedMs() <= SPREAD_MS;
        waitMs = again ? Math.random() * listBound : 0;
        if (again) listBound = Math.min(listBound * 2, most);
      } else {
        this.#lag(failure instanceof Error ? failure.message : String(failure));
        // Nobody listens there: asking costs nobody anything, and every moment after the server's return counts.
        const limit = failure instanceof KubernetesError && failure.reason === 'ECONNREFUSED' ? REFUSED_MOST_MS : most;
        waitMs = Math.random() * Math.min(bound, limit);
        bound = Math.min(bound * 2, most);
        if (failure instanceof KubernetesError) waitMs = Math.max(waitMs, failure.retryAfterMs ?? 0);
      }
      await pause(waitMs, this.#stop);
    }
  }

  #expired(): void {
    this.#version = undefined;
    this.#lag(`${this.#attempted.what}: the place to go on from has expired; listing anew`);
  }

  #lag(why: string): void {
    // However soon it is back: that has to be said.
    this.#aliveAt = undefined;
    this.#say({ kind: 'lagging', why });
  }

  async #once(): Promise<StreamEnd> {
    if (this.#version !== undefined) return await this.#stream(this.#version);
    if (performance.now() >= this.#memory.refusedUntil) {
      try {
        return await this.#stream(undefined);
      } catch (error) {
        if (!(error instanceof NoEndMark) && !isWatchListRefused(error)) throw error;
        this.#memory.refusedUntil = performance.now() + this.#tuning.watchListAgainMs;
      }
    }
    const list = await listPods(this.#http, this.#scope, this.#tuning.pageSize, this.#stop);
    for (const pod of list.pods) this.#see(pod);
    this.#complete(new Set(list.pods.map(({ uid }) => uid)));
    this.#version = list.resourceVersion;
    return await this.#stream(this.#version);
  }

  /** One HTTP stream; without `from` it begins with everything there is (WatchList). */
  async #stream(from: string | undefined): Promise<StreamEnd> {
    const cut = new AbortController();
    const stopped = (): void => {
      cut.abort(this.#stop.reason);
    };
    this.#stop.addEventListener('abort', stopped, { once: true });
    if (this.#stop.aborted) stopped();
    const { watchIdleMs, endMarkMs, watchSeconds } = this.#tuning;
    const idle = setTimeout(() => {
      cut.abort(new Error(`the watch was silent for ${watchIdleMs} ms`));
    }, watchIdleMs);
    const endMark =
      from === undefined
        ? setTimeout(() => {
            cut.abort(new NoEndMark());
          }, endMarkMs)
        : undefined;
    const [least, most] = watchSeconds;
    // While it is there, events are the initial ones, and none of their versions is a place to go on from.
    let initial = from === undefined ? new Set<string>() : undefined;
    try {
      const body = await this.#http.stream(
        {
          method: 'GET',
          path: podsPath(this.#scope.namespace),
          query: {
            watch: true,
            allowWatchBookmarks: true,
            labelSelector: this.#scope.labelSelector || undefined,
            timeoutSeconds: Math.round(least + Math.random() * (most - least)),
            ...(from === undefined
              ? { sendInitialEvents: true, resourceVersionMatch: 'NotOlderThan' }
              : { resourceVersion: from }),
          },
          what: this.#attempted.what,
          count: 'watch',
          signal: this.#stop,
        },
        'watch',
        cut.signal,
      );
      // Until all that there is has been shown, the watch knows less than it did before it broke.
      if (initial === undefined) this.#alive();
      const lines = new LineSplitter(MAX_EVENT_BYTES, 'fail');
      for await (const chunk of chunksOf(body)) {
        idle.refresh();
        if (initial === undefined) this.#alive();
        for (const line of lines.push(chunk)) {
          const told = this.#hear(line, initial);
          if (told === 'expired') return 'relist';
          if (told === 'complete') {
            clearTimeout(endMark);
            initial = undefined;
          }
        }
      }
      if (lines.rest() !== undefined) throw new Error('the stream was cut in the middle of an event');
      // An end before the end mark: a server or a balancer that cannot keep up with one long answer gets the list in pages instead.
      if (initial !== undefined) throw new NoEndMark();
      return 'resume';
    } catch (error) {
      const cause: unknown = cut.signal.aborted ? cut.signal.reason : error;
      if (cause instanceof KubernetesError || cause instanceof NoEndMark) throw cause;
      throw brokenConnection(this.#attempted, cause);
    } finally {
      clearTimeout(idle);
      clearTimeout(endMark);
      this.#stop.removeEventListener('abort', stopped);
      // Leaving the loop early must not leave the stream open.
      cut.abort();
    }
  }

  #hear(line: Buffer, initial: Set<string> | undefined): 'go on' | 'expired' | 'complete' {
    const event: unknown = JSON.parse(line.toString('utf8'));
    const object = recordIn(event, 'object');
    const version = textIn(recordIn(object, 'metadata'), 'resourceVersion');
    this.#heard += 1;
    switch (textIn(event, 'type')) {
      case 'ADDED':
      case 'MODIFIED': {
        const pod = projectPod(this.#http.connection, object);
        initial?.add(pod.uid);
        this.#see(pod);
        break;
      }
      case 'DELETED': {
        const pod = projectPod(this.#http.connection, object);
        initial?.delete(pod.uid);
        this.#known.delete(pod.uid);
        this.#gone(pod);
        break;
      }
      case 'BOOKMARK':
        if (initial !== undefined && isEndMark(object)) {
          this.#complete(initial);
          this.#version = version;
          return 'complete';
        }
        break;
      case 'ERROR':
        if (numberIn(object, 'code') === 410) return 'expired';
        throw streamRefusal(this.#attempted, object);
      case undefined:
      default:
        throw new Error(`not a watch event: ${line.toString('utf8', 0, 200)}`);
    }
    // Only after the event was told: what failed before is heard again.
    if (initial === undefined && version !== undefined) this.#version = version;
    return 'go on';
  }

  #see(pod: PodProjection): void {
    const before = this.#known.get(pod.uid);
    this.#known.set(pod.uid, pod);
    // A relist repeats what has not changed.
    if (before?.resourceVersion !== pod.resourceVersion) this.#say({ kind: 'pod', pod });
  }

  #complete(listed: ReadonlySet<string>): void {
    for (const [uid, pod] of this.#known) {
      if (listed.has(uid)) continue;
      this.#known.delete(uid);
      this.#gone(pod);
    }
    this.#say({ kind: 'synced' });
  }

  /** A pod with a deletion timestamp went for good; any other may only have left the selection, which a GET decides where it is wanted. */
  #gone(pod: PodProjection): void {
    if (pod.deletedAt !== undefined || this.#scope.confirms === false) {
      this.#say({ kind: 'gone', pod, confirmed: pod.deletedAt !== undefined });
      return;
    }
    this.#vanished.push(pod);
    if (this.#confirming < CONFIRMATIONS) void this.#confirm();
  }

  async #confirm(): Promise<void> {
    this.#confirming += 1;
    for (let pod = this.#vanished.shift(); pod !== undefined && !this.#stop.aborted; pod = this.#vanished.shift()) {
      let confirmed = false;
      try {
        const present = await getPod(this.#http, pod.namespace, pod.name);
        confirmed = textIn(recordIn(present, 'metadata'), 'uid') !== pod.uid;
      } catch {
        // The server cannot be asked: it stays unconfirmed, and whoever must know asks again.
      }
      // It may have come back into the selection meanwhile.
      if (!this.#known.has(pod.uid)) this.#say({ kind: 'gone', pod, confirmed });
    }
    this.#confirming -= 1;
  }

  #alive(): void {
    // Not the wall clock, which may be set back.
    const now = performance.now();
    if (this.#aliveAt !== undefined && now - this.#aliveAt < ALIVE_MS) return;
    this.#aliveAt = now;
    this.#say({ kind: 'alive' });
  }
}

/** The server sent no end of the initial events: it does not know WatchList. */
class NoEndMark extends Error {
  override readonly name = 'NoEndMark';
}

function isEndMark(bookmark: JsonRecord): boolean {
  return textIn(recordIn(recordIn(bookmark, 'metadata'), 'annotations'), END_MARK) === 'true';
}
