import { randomUUID } from 'node:crypto';
import { alreadyExists, expired } from './failure.ts';
import { rfc3339, withMetadata, type KubeObject } from './objects.ts';

/** One change of one object. `previous` is the version before it, by which a selector sees objects enter and leave. */
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
  /** The latest changes, oldest first; `droppedUpTo` is the version of the newest change no longer in it. */
  history: StoreEvent[];
  droppedUpTo: number;
}

interface Snapshot {
  readonly items: readonly KubeObject[];
  readonly resourceVersion: number;
  readonly madeAtMs: number;
}

/** How long a paged list can be continued; a real server keeps 5 to 10 minutes. */
const SNAPSHOT_LIFE_MS = 300_000;
const MAX_SNAPSHOTS = 200;

/** All objects of the cluster, by resource, with one counter of versions and a bounded history for watches to resume from. */
export class Store {
  readonly #shelves = new Map<string, Shelf>();
  readonly #snapshots = new Map<string, Snapshot>();
  readonly #historyEvents: number;
  // As with etcd, the first versions are taken before any client looks; 0 would mean "any version" to a client.
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

  /** The object, or undefined. `namespace` is empty for cluster-wide resources. */
  get(resource: string, namespace: string, name: string): KubeObject | undefined {
    return this.#shelf(resource).objects.get(`${namespace}/${name}`);
  }

  /** All objects of a resource, of one namespace or (undefined) of all, by namespace and name. */
  list(resource: string, namespace: string | undefined): readonly KubeObject[] {
    const entries = [...this.#shelf(resource).objects];
    const chosen = namespace === undefined ? entries : entries.filter(([key]) => key.startsWith(`${namespace}/`));
    return chosen.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, object]) => object);
  }

  /** How many objects a resource has. */
  count(resource: string): number {
    return this.#shelf(resource).objects.size;
  }

  /** Stores a new object with its own uid, version and time. @throws ApiFailure 409 when the name is taken. */
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

  /** Replaces a stored object by a new version of it. An equal object is left alone, as a real server does. */
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

  /** Removes an object and gives its last version (numbered anew), or undefined when there was none. */
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
    // Dropped in blocks: cutting the head of a long list at each event would cost more than the event.
    if (shelf.history.length > this.#historyEvents * 1.25) {
      const dropped = shelf.history.splice(0, shelf.history.length - this.#historyEvents);
      shelf.droppedUpTo = dropped.at(-1)?.resourceVersion ?? shelf.droppedUpTo;
    }
    for (const listener of [...shelf.listeners]) listener(event);
  }

  /** Calls `listener` at each change of a resource, in order, until the returned function is called. */
  listen(resource: string, listener: Listener): () => void {
    const { listeners } = this.#shelf(resource);
    listeners.add(listener);
    return () => {
      listeners.delete(listener);
    };
  }

  /** The changes of a resource after `version`. @throws ApiFailure 410 when some of them are no longer known. */
  since(resource: string, version: number): readonly StoreEvent[] {
    const shelf = this.#shelf(resource);
    if (version < shelf.droppedUpTo) {
      throw expired(`too old resource version: ${String(version)} (${String(shelf.droppedUpTo)})`);
    }
    return shelf.history.filter((event) => event.resourceVersion > version);
  }

  /** Forgets the history and every begun paged list: older versions answer 410, as after a compaction. */
  expireHistory(): void {
    // A version nothing else has: whoever is up to date can resume, whoever is not cannot.
    for (const shelf of this.#shelves.values()) {
      shelf.history = [];
      shelf.droppedUpTo = this.#version;
    }
    this.#snapshots.clear();
  }

  /** Keeps a list so that later pages show what the first one showed. Gives the key for {@link snapshot}. */
  keep(items: readonly KubeObject[], resourceVersion: number, nowMs: number): string {
    for (const [key, { madeAtMs }] of this.#snapshots) {
      if (nowMs - madeAtMs > SNAPSHOT_LIFE_MS || this.#snapshots.size >= MAX_SNAPSHOTS) this.#snapshots.delete(key);
    }
    const key = randomUUID();
    this.#snapshots.set(key, { items, resourceVersion, madeAtMs: nowMs });
    return key;
  }

  /** A kept list. @throws ApiFailure 410 when it is no longer known. */
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
