/**
 * Watches pods: a stream of signals over HTTP watches that are renewed without end.
 * @see https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
 */
import { Observable } from 'rxjs';
import { backOffMs } from '../core/back-off.ts';
import { type JsonRecord, numberIn, recordIn, textIn } from '../core/json.ts';
import { type PodProjection, projectPod } from '../core/pod/projection.ts';
import { KubernetesError, messageOf } from '../errors.ts';
import type { PodSignal } from '../ports/cluster.ts';
import { type Attempted, brokenConnection, isWatchListRefused, streamRefusal } from './errors.ts';
import { chunksOf, type Http, pause } from './http.ts';
import { LineSplitter } from './line-splitter.ts';
import { listPods, type PodScope } from './list-pods.ts';
import { getPod, podsPath } from './pods.ts';
import type { Tuning } from './settings.ts';

/** Shared by all watches of a cluster: until when WatchList is not tried, by the monotonic clock. */
export interface WatchListMemory {
  refusedUntil: number;
}

/** Which pods, and whether pods that disappeared without a deletion event are verified. */
export interface PodSelection extends PodScope {
  /** `false`: reported as unconfirmed at once, and the subscriber verifies. Default true. */
  readonly confirms?: boolean | undefined;
}

/** Longest event; etcd accepts objects of 1.5 MiB. */
const MAX_EVENT_BYTES = 8 * 1024 * 1024;
/** Minimum interval between two `alive` signals. */
const ALIVE_MS = 1000;
/** Reconnections after a normal end are spread over this time, because a restarted server loses all watches at once. */
const SPREAD_MS = 1000;
/** Longest wait while connections are refused. */
const REFUSED_MOST_MS = 3_000;
/**
 * After this many streams in a row without an event or a bookmark, pods are listed again: some servers do not report that a version is
 * unknown.
 */
const MAX_EMPTY_STREAMS = 2;
/** Concurrent GETs that verify pods that disappeared. */
const CONFIRMATIONS = 4;
const END_MARK = 'k8s.io/initial-events-end';

/** Watches the pods of a scope until unsubscription, or until the cluster's connection is closed. Never completes, never errors. */
export function watchPods$(
  http: Http,
  scope: PodSelection,
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
    // Closing the cluster must also end the loop of a subscription that was not unsubscribed.
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
  readonly #scope: PodSelection;
  readonly #tuning: Tuning;
  readonly #memory: WatchListMemory;
  readonly #stop: AbortSignal;
  readonly #emit: (signal: PodSignal) => void;
  readonly #attempted: Attempted;
  /** By uid, because a name can return as another pod. */
  readonly #known = new Map<string, PodProjection>();
  readonly #vanished: PodProjection[] = [];
  #confirming = 0;
  /** Version to resume from. `undefined`: pods must be listed first. */
  #version: string | undefined;
  /** Monotonic clock. `undefined`: no `alive` since the watch was interrupted. */
  #aliveAt: number | undefined;
  /** Number of events and bookmarks received. */
  #received = 0;

  constructor(
    http: Http,
    scope: PodSelection,
    tuning: Tuning,
    memory: WatchListMemory,
    stop: AbortSignal,
    emit: (signal: PodSignal) => void,
  ) {
    this.#http = http;
    this.#scope = scope;
    this.#tuning = tuning;
    this.#memory = memory;
    this.#stop = stop;
    this.#emit = (signal) => {
      if (!stop.aborted) emit(signal);
    };
    this.#attempted = {
      what: `watch pods of ${scope.namespace ?? 'all namespaces'}`,
      connection: http.connection,
      writes: false,
    };
  }

  /** A method, because it changes during every wait and TypeScript would narrow the property. */
  #stopped(): boolean {
    return this.#stop.aborted;
  }

  async run(): Promise<void> {
    const [first, most] = this.#tuning.backoffMs;
    let failures = 0;
    let lists = 0;
    let empty = 0;
    while (!this.#stopped()) {
      const begunAt = performance.now();
      const livedMs = (): number => performance.now() - begunAt;
      let end: StreamEnd | undefined;
      let failure: unknown;
      const receivedBefore = this.#received;
      try {
        end = await this.#once();
      } catch (error) {
        if (this.#stopped()) return;
        failure = error;
        if (error instanceof KubernetesError && error.fault === 'expired') end = 'relist';
      }
      empty = end === 'resume' && this.#received === receivedBefore ? empty + 1 : 0;
      if (empty >= MAX_EMPTY_STREAMS) end = 'relist';
      if (livedMs() >= this.#tuning.healthyMs) failures = 0;
      if (livedMs() > SPREAD_MS) lists = 0;
      let waitMs: number;
      if (end === 'resume') waitMs = Math.random() * SPREAD_MS;
      else if (end === 'relist') {
        this.#expired();
        // The first list after a long watch starts at once; repeated lists wait ever longer, because lists are what loads a server.
        if (livedMs() <= SPREAD_MS) lists += 1;
        waitMs = lists === 0 ? 0 : Math.random() * backOffMs(lists, first, most);
      } else {
        this.#lag(messageOf(failure));
        // No process listens there, so attempts cost nothing, and the sooner the server's return is noticed the better.
        const limit = failure instanceof KubernetesError && failure.reason === 'ECONNREFUSED' ? REFUSED_MOST_MS : most;
        failures += 1;
        waitMs = Math.random() * Math.min(backOffMs(failures, first, most), limit);
        if (failure instanceof KubernetesError) waitMs = Math.max(waitMs, failure.retryAfterMs ?? 0);
      }
      await pause(waitMs, this.#stop);
    }
  }

  #expired(): void {
    this.#version = undefined;
    this.#lag(`${this.#attempted.what}: the resource version has expired; listing all pods again`);
  }

  #lag(why: string): void {
    // The next `alive` must be emitted even if it comes within `ALIVE_MS`.
    this.#aliveAt = undefined;
    this.#emit({ kind: 'lagging', why });
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

  /** One HTTP stream. Without `from` it starts with all existing pods (WatchList). */
  async #stream(from: string | undefined): Promise<StreamEnd> {
    const cut = new AbortController();
    const stopped = (): void => {
      cut.abort(this.#stop.reason);
    };
    this.#stop.addEventListener('abort', stopped, { once: true });
    if (this.#stop.aborted) stopped();
    const { watchIdleMs, endMarkMs, watchSeconds } = this.#tuning;
    const idle = setTimeout(() => {
      cut.abort(new Error(`the watch received nothing for ${watchIdleMs} ms`));
    }, watchIdleMs);
    const endMark =
      from === undefined
        ? setTimeout(() => {
            cut.abort(new NoEndMark());
          }, endMarkMs)
        : undefined;
    const [least, most] = watchSeconds;
    // While this is set, events are the initial ones, in no order of versions: the watch cannot resume from any of them.
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
      // During the initial events the watch knows less than before it broke, so it is not alive yet.
      if (initial === undefined) this.#alive();
      const lines = new LineSplitter(MAX_EVENT_BYTES, 'fail');
      for await (const chunk of chunksOf(body)) {
        idle.refresh();
        if (initial === undefined) this.#alive();
        for (const line of lines.push(chunk)) {
          const outcome = this.#onEvent(line, initial);
          if (outcome === 'expired') return 'relist';
          if (outcome === 'complete') {
            clearTimeout(endMark);
            initial = undefined;
          }
        }
      }
      if (lines.rest() !== undefined) throw new Error('the stream ended in the middle of an event');
      // Ended before the end mark: a server or load balancer that cannot send one long reply. Use the paged list instead.
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

  #onEvent(line: Buffer, initial: Set<string> | undefined): 'continue' | 'expired' | 'complete' {
    const event: unknown = JSON.parse(line.toString('utf8'));
    const object = recordIn(event, 'object');
    const version = textIn(recordIn(object, 'metadata'), 'resourceVersion');
    this.#received += 1;
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
    // Only after the event was emitted: an event that failed is received again.
    if (initial === undefined && version !== undefined) this.#version = version;
    return 'continue';
  }

  #see(pod: PodProjection): void {
    const before = this.#known.get(pod.uid);
    this.#known.set(pod.uid, pod);
    // A list repeats pods that have not changed.
    if (before?.resourceVersion !== pod.resourceVersion) this.#emit({ kind: 'pod', pod });
  }

  #complete(listed: ReadonlySet<string>): void {
    for (const [uid, pod] of this.#known) {
      if (listed.has(uid)) continue;
      this.#known.delete(uid);
      this.#gone(pod);
    }
    this.#emit({ kind: 'synced' });
  }

  /**
   * A pod with a deletion timestamp is gone for good. Any other may only have left the selection, which a GET decides if the subscriber
   * wants it.
   */
  #gone(pod: PodProjection): void {
    if (pod.deletedAt !== undefined || this.#scope.confirms === false) {
      this.#emit({ kind: 'gone', pod, confirmed: pod.deletedAt !== undefined });
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
        // The server cannot be reached: the signal stays unconfirmed, and the subscriber verifies if it must.
      }
      // The pod may have come back into the selection meanwhile.
      if (!this.#known.has(pod.uid)) this.#emit({ kind: 'gone', pod, confirmed });
    }
    this.#confirming -= 1;
  }

  #alive(): void {
    // Not the wall clock, which can be set back.
    const now = performance.now();
    if (this.#aliveAt !== undefined && now - this.#aliveAt < ALIVE_MS) return;
    this.#aliveAt = now;
    this.#emit({ kind: 'alive' });
  }
}

/** The server sent no end mark of the initial events: it does not support WatchList. */
class NoEndMark extends Error {
  override readonly name = 'NoEndMark';
}

function isEndMark(bookmark: JsonRecord): boolean {
  return textIn(recordIn(recordIn(bookmark, 'metadata'), 'annotations'), END_MARK) === 'true';
}
