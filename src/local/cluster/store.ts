import { randomUUID } from 'node:crypto';
import { alreadyExists, expired } from './failure.ts';
import { rfc3339, withMetadata, type KubeObject } from './objects.ts';

/** One change of one object. `previous`: the version before, from which selectors determine whether the object entered or left. */
export interface StoreEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: KubeObject;
  readonly previous: KubeObject | undefined;
  readonly resourceVersion: number;
}

type Listener = (event: StoreEvent) => void;

interface Shelf {
  readonly objects: Map<string, KubeObject>;
  readonly listeners: Set<Listener>;
  /** The latest changes, oldest first; `droppedUpTo` is the version of the newest change that was dropped. */
  history: StoreEvent[];
  droppedUpTo: number;
}

interface Snapshot {
  readonly items: readonly KubeObject[];
  readonly resourceVersion: number;
  readonly madeAtMs: number;
}

/** How long a paged list can be continued; a real server allows 5 to 10 minutes. */
const SNAPSHOT_LIFE_MS = 300_000;
const MAX_SNAPSHOTS = 200;

/** All objects of the cluster by resource, with one version counter and a bounded history from which watches resume. */
export class Store {
  readonly #shelves = new Map<string, Shelf>();
  readonly #snapshots = new Map<string, Snapshot>();
  readonly #historyEvents: number;
  // As with etcd, the first versions are used up before any client reads; 0 would mean "any version" to a client.
  #version = 1;

  /** @param historyEvents how many changes of a resource a watch can resume over */
  constructor(historyEvents: number) {
    this.#historyEvents = historyEvents;
  }

  /** The version of the latest change. */
  get resourceVersion(): number {
    return this.#version;
  }

  #shelf(resource: string): Shelf {
    let shelf = this.#shelves.get(resource);
    if (shelf === undefined) {
      shelf = { objects: new Map(), listeners: new Set(), history: [], droppedUpTo: 0 };
      this.#shelves.set(resource, shelf);
    }
    return shelf;
  }

  /** The object, or undefined. `namespace` is empty for cluster-scoped resources. */
  get(resource: string, namespace: string, name: string): KubeObject | undefined {
    return this.#shelf(resource).objects.get(`${namespace}/${name}`);
  }

  /** All objects of a resource, in one namespace or (undefined) in all, sorted by namespace and name. */
  list(resource: string, namespace: string | undefined): readonly KubeObject[] {
    const entries = [...this.#shelf(resource).objects];
    const chosen = namespace === undefined ? entries : entries.filter(([key]) => key.startsWith(`${namespace}/`));
    return chosen.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, object]) => object);
  }

  /** Number of objects of a resource. */
  count(resource: string): number {
    return this.#shelf(resource).objects.size;
  }

  /** Stores a new object with a new uid, version and time. @throws ApiFailure 409 when the name is taken */
  create(resource: string, object: KubeObject, at: Date): KubeObject {
    const shelf = this.#shelf(resource);
    const key = keyOf(object);
    if (shelf.objects.has(key)) throw alreadyExists(resource, object.metadata.name);
    const version = ++this.#version;
    const stored = withMetadata(object, {
      uid: randomUUID(),
      resourceVersion: String(version),
      creationTimestamp: rfc3339(at),
    });
    shelf.objects.set(key, stored);
    this.#record(shelf, { type: 'ADDED', object: stored, previous: undefined, resourceVersion: version });
    return stored;
  }

  /** Replaces an object by a new version. An equal object is not changed, as in a real server. */
  update(resource: string, object: KubeObject): KubeObject {
    const shelf = this.#shelf(resource);
    const key = keyOf(object);
    const previous = shelf.objects.get(key);
    if (previous === undefined) throw new Error(`${resource} ${key} is not stored`);
    if (JSON.stringify(previous) === JSON.stringify(object)) return previous;
    const version = ++this.#version;
    const stored = withMetadata(object, { resourceVersion: String(version) });
    shelf.objects.set(key, stored);
    this.#record(shelf, { type: 'MODIFIED', object: stored, previous, resourceVersion: version });
    return stored;
  }

  /** Removes an object and returns its last version (with a new number), undefined when there was none. */
  remove(resource: string, namespace: string, name: string): KubeObject | undefined {
    const shelf = this.#shelf(resource);
    const key = `${namespace}/${name}`;
    const previous = shelf.objects.get(key);
    if (previous === undefined) return undefined;
    const version = ++this.#version;
    const last = withMetadata(previous, { resourceVersion: String(version) });
    shelf.objects.delete(key);
    this.#record(shelf, { type: 'DELETED', object: last, previous, resourceVersion: version });
    return last;
  }

  #record(shelf: Shelf, event: StoreEvent): void {
    shelf.history.push(event);
    // Dropped in blocks: shortening a long list at each event would cost more than the event.
    if (shelf.history.length > this.#historyEvents * 1.25) {
      const dropped = shelf.history.splice(0, shelf.history.length - this.#historyEvents);
      shelf.droppedUpTo = dropped.at(-1)?.resourceVersion ?? shelf.droppedUpTo;
    }
    for (const listener of [...shelf.listeners]) listener(event);
  }

  /** Calls `listener` for each change of a resource, in order, until the returned function is called. */
  listen(resource: string, listener: Listener): () => void {
    const { listeners } = this.#shelf(resource);
    listeners.add(listener);
    return () => {
      listeners.delete(listener);
    };
  }

  /** The changes of a resource after `version`. @throws ApiFailure 410 when some of them are no longer known */
  since(resource: string, version: number): readonly StoreEvent[] {
    const shelf = this.#shelf(resource);
    if (version < shelf.droppedUpTo) {
      throw expired(`too old resource version: ${String(version)} (${String(shelf.droppedUpTo)})`);
    }
    return shelf.history.filter((event) => event.resourceVersion > version);
  }

  /** Drops the history and all paged lists: earlier versions get 410, as after a compaction. */
  expireHistory(): void {
    // Uses up a version: a client that is up to date can resume, any other cannot.
    for (const shelf of this.#shelves.values()) {
      shelf.history = [];
      shelf.droppedUpTo = this.#version;
    }
    this.#snapshots.clear();
  }

  /** Stores a list so that later pages show the same state as the first. Returns the key for {@link snapshot}. */
  keep(items: readonly KubeObject[], resourceVersion: number, nowMs: number): string {
    for (const [key, { madeAtMs }] of this.#snapshots) {
      if (nowMs - madeAtMs > SNAPSHOT_LIFE_MS || this.#snapshots.size >= MAX_SNAPSHOTS) this.#snapshots.delete(key);
    }
    const key = randomUUID();
    this.#snapshots.set(key, { items, resourceVersion, madeAtMs: nowMs });
    return key;
  }

  /** A stored list. @throws ApiFailure 410 when it is no longer known */
  snapshot(key: string, nowMs: number): Snapshot {
    const found = this.#snapshots.get(key);
    if (found === undefined || nowMs - found.madeAtMs > SNAPSHOT_LIFE_MS) {
      throw expired(
        'The provided continue parameter is too old to display a consistent list result. You must start a new list without the continue parameter.',
      );
    }
    return found;
  }
}

function keyOf(object: KubeObject): string {
  return `${object.metadata.namespace ?? ''}/${object.metadata.name}`;
}
