import { ApiFailure, statusOf } from './failure.ts';
import { type ApiResponse, breakOff, sendHead } from './http.ts';
import { jsonOf, type JsonObject, type KubeObject } from './objects.ts';
import type { Selector } from './selectors.ts';
import type { Store, StoreEvent } from './store.ts';

/** A client's watch request. */
export interface WatchRequest {
  readonly resource: string;
  readonly kind: string;
  /** Undefined: all namespaces. */
  readonly namespace: string | undefined;
  readonly selects: Selector;
  /** Undefined: all existing objects as ADDED, then changes. */
  readonly since: number | undefined;
  /** Whether a bookmark marks the end of the initial events (WatchList). */
  readonly initialEventsEnd: boolean;
  readonly bookmarks: boolean;
  readonly timeoutMs: number;
  /** Converts an object for an event: a table for kubectl. Undefined: the object itself. */
  readonly render: ((object: KubeObject, first: boolean) => JsonObject) | undefined;
}

/** A watcher with more unread bytes is too slow, and its stream is ended, as in the real server. */
const MAX_UNREAD_BYTES = 16 * 1024 * 1024;

/** All open watches. */
export class Watches {
  readonly #store: Store;
  readonly #bookmarkMs: number;
  readonly #open = new Set<Watch>();
  #frozenUntilMs = 0;
  #thaw: NodeJS.Timeout | undefined;

  constructor(store: Store, bookmarkMs: number) {
    this.#store = store;
    this.#bookmarkMs = bookmarkMs;
  }

  /** Number of open watches. */
  get size(): number {
    return this.#open.size;
  }

  /** Streams events to `response` until it is closed or the time-out has elapsed. */
  start(request: WatchRequest, response: ApiResponse): void {
    const watch = new Watch(this.#store, request, response, this.#bookmarkMs);
    this.#open.add(watch);
    response.once('close', () => {
      watch.stop();
      this.#open.delete(watch);
    });
    if (this.#frozenUntilMs > Date.now()) watch.freeze(true);
    watch.start();
  }

  /** Ends all watches. */
  close(how: 'end' | 'reset' | 'cutLine'): void {
    for (const watch of [...this.#open]) watch.close(how);
  }

  /** Keeps all watches, also new ones, silent for `ms`; 0 ends the silence. */
  freeze(ms: number): void {
    clearTimeout(this.#thaw);
    this.#frozenUntilMs = Date.now() + ms;
    for (const watch of this.#open) watch.freeze(ms > 0);
    if (ms === 0) return;
    this.#thaw = setTimeout(() => {
      for (const watch of this.#open) watch.freeze(false);
    }, ms);
    this.#thaw.unref();
  }

  /** Sends a bookmark to all watches that want them. */
  bookmark(): void {
    for (const watch of this.#open) watch.bookmark();
  }
}

class Watch {
  readonly #store: Store;
  readonly #request: WatchRequest;
  readonly #response: ApiResponse;
  readonly #bookmarkMs: number;
  #timers: NodeJS.Timeout[] = [];
  #unlisten = (): void => undefined;
  #held: string[] | undefined;
  #first = true;

  constructor(store: Store, request: WatchRequest, response: ApiResponse, bookmarkMs: number) {
    this.#store = store;
    this.#request = request;
    this.#response = response;
    this.#bookmarkMs = bookmarkMs;
  }

  start(): void {
    const { resource, namespace, since, selects, initialEventsEnd, timeoutMs, bookmarks } = this.#request;
    sendHead(this.#response, { 'content-type': 'application/json' });
    if (since === undefined) {
      for (const object of this.#store.list(resource, namespace)) if (selects(object)) this.#send('ADDED', object);
      if (initialEventsEnd) this.#bookmark({ 'k8s.io/initial-events-end': 'true' });
    } else {
      try {
        for (const event of this.#store.since(resource, since)) this.#take(event);
      } catch (error) {
        if (!(error instanceof ApiFailure)) throw error;
        // Not a 410 reply: the real watch cache has already begun its reply when it notices.
        this.#write(`{"type":"ERROR","object":${JSON.stringify(statusOf(error))}}\n`);
        this.#response.end();
        return;
      }
    }
    this.#unlisten = this.#store.listen(resource, (event) => {
      this.#take(event);
    });
    if (bookmarks) {
      this.#timers.push(
        setInterval(() => {
          this.bookmark();
        }, this.#bookmarkMs),
      );
      // The last one lets the client resume from here after the time-out.
      if (timeoutMs > 2000)
        this.#timers.push(
          setTimeout(() => {
            this.bookmark();
          }, timeoutMs - 2000),
        );
    }
    this.#timers.push(
      setTimeout(() => {
        this.close('end');
      }, timeoutMs),
    );
  }

  #take(event: StoreEvent): void {
    const { namespace, selects } = this.#request;
    if (namespace !== undefined && event.object.metadata.namespace !== namespace) return;
    const before = event.previous !== undefined && selects(event.previous);
    const after = event.type !== 'DELETED' && selects(event.object);
    if (before && after) this.#send('MODIFIED', event.object);
    else if (after) this.#send('ADDED', event.object);
    else if (before) {
      // An object that leaves the selection is shown in its last matching version, with the resource version of the change.
      const { resourceVersion } = event.object.metadata;
      const shown =
        event.type === 'DELETED'
          ? event.object
          : { ...event.previous, metadata: { ...event.previous.metadata, resourceVersion } };
      this.#send('DELETED', shown);
    }
  }

  #send(type: string, object: KubeObject): void {
    const { render } = this.#request;
    const text = render === undefined ? jsonOf(object) : JSON.stringify(render(object, this.#first));
    this.#first = false;
    this.#write(`{"type":"${type}","object":${text}}\n`);
  }

  bookmark(): void {
    if (this.#request.bookmarks) this.#bookmark(undefined);
  }

  #bookmark(annotations: JsonObject | undefined): void {
    const metadata = {
      resourceVersion: String(this.#store.resourceVersion),
      creationTimestamp: null,
      ...(annotations && { annotations }),
    };
    this.#write(
      `${JSON.stringify({ type: 'BOOKMARK', object: { kind: this.#request.kind, apiVersion: 'v1', metadata } })}\n`,
    );
  }

  #write(line: string): void {
    if (this.#held !== undefined) {
      this.#held.push(line);
      return;
    }
    if (this.#response.writableEnded) return;
    this.#response.write(line);
    if (this.#response.writableLength > MAX_UNREAD_BYTES) this.close('end');
  }

  freeze(frozen: boolean): void {
    if (frozen) {
      this.#held ??= [];
      return;
    }
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const line of held) this.#write(line);
  }

  close(how: 'end' | 'reset' | 'cutLine'): void {
    switch (how) {
      case 'end':
        this.#response.end();
        break;
      case 'reset':
        breakOff(this.#response);
        break;
      case 'cutLine':
        this.#response.end('{"type":"MODIFIED","object":{"kind":"Po');
        break;
    }
    this.stop();
  }

  stop(): void {
    this.#unlisten();
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers = [];
  }
}
