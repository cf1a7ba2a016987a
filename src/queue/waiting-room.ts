import { tenantKey } from '../core/tenant-key.ts';
import { ADMISSION_WINDOW, places } from './order.ts';
import type { Gated, Place } from './order.ts';
import type { GateChange } from '../ports/stores.ts';
import type { QueuePosition, QueueRecord, ConcurrencySlots } from '../wire/queues.ts';
import type { Subscription } from '../wire/triggers.ts';
import type { RunKey } from '../wire/subjects.ts';

/** Runs of a queue by what keeps them. */
type Kept = Readonly<Record<Exclude<Place<Gated>['verdict'], 'admitted'>, number>>;

interface Room {
  readonly gated: Map<string, Gated>;
  record: QueueRecord | undefined;
  /** In order; as of `orderedAt`. */
  places: readonly Place<Gated>[];
  admitted: ReadonlySet<string>;
  kept: Kept;
  orderedAt: number;
  isStale: boolean;
}

/** A queue is put in order at most every n/100 ms: 10,000 waiting runs cost about 10 ms each time. */
const GAP_MS_PER_RUN = 0.01;

/** The runs that wait for their turn, by queue, and the gates. Every triggerer holds all of it and comes to the same order. */
export class WaitingRoom {
  readonly #rooms = new Map<string, Room>();
  #isComplete = false;
  /** `tenant` and key → slots. */
  readonly #slots = new Map<string, ConcurrencySlots>();
  /** Run → its queue. */
  readonly #queueOf = new Map<string, string>();

  #room(queue: string): Room {
    let room = this.#rooms.get(queue);
    if (room === undefined) {
      room = {
        gated: new Map(),
        record: undefined,
        places: [],
        admitted: new Set(),
        kept: { turn: 0, key: 0, paused: 0 },
        orderedAt: -Infinity,
        isStale: false,
      };
      this.#rooms.set(queue, room);
    }
    return room;
  }

  /**
   * All subscriptions and gates are known. Before, no gate is open: a pause might be told last. Answers the queues to put in order.
   */
  complete(): readonly string[] {
    this.#isComplete = true;
    return this.queues;
  }

  /** Queues that somebody waits in or whose gate was told. */
  get queues(): readonly string[] {
    return [...this.#rooms.keys()];
  }

  /** A subscription came or changed; the queue to put in order where it concerns one. */
  put(id: string, run: RunKey, { queue, await: { gate } }: Subscription): string | undefined {
    const before = this.remove(id);
    if (gate === undefined) return before;
    const { since, priority = 'normal', concurrencyKey } = gate;
    const room = this.#room(queue);
    room.gated.set(id, { id, tenant: run.tenant, runId: run.runId, priority, since, concurrencyKey });
    room.isStale = true;
    this.#queueOf.set(id, queue);
    return queue;
  }

  /** It waits no longer. */
  remove(id: string): string | undefined {
    const queue = this.#queueOf.get(id);
    if (queue === undefined) return undefined;
    const room = this.#room(queue);
    room.gated.delete(id);
    room.isStale = true;
    this.#queueOf.delete(id);
    return queue;
  }

  /** A gate opened or shut: the queues to put in order. */
  gate(change: GateChange): readonly string[] {
    if (change.kind === 'queue') {
      const room = this.#room(change.queue);
      room.record = change.record;
      room.isStale = true;
      return [change.queue];
    }
    const { tenant, concurrencyKey, slots } = change;
    if (slots === undefined) this.#slots.delete(tenantKey(tenant, concurrencyKey));
    else this.#slots.set(tenantKey(tenant, concurrencyKey), slots);
    const concerned = [...this.#rooms].filter(([, { gated }]) => gated.size > 0);
    for (const [, room] of concerned) room.isStale = true;
    return concerned.map(([queue]) => queue);
  }

  /** Whether the gate of this run is open. */
  admits(id: string): boolean {
    const queue = this.#queueOf.get(id);
    return queue === undefined || this.#room(queue).admitted.has(id);
  }

  /** Puts a queue in order: runs whose gate has opened by it, the next one first; or when to ask again. */
  order(queue: string, now: number): { readonly opened: readonly string[]; readonly againAt?: number } {
    const room = this.#room(queue);
    if (!this.#isComplete || !room.isStale) return { opened: [] };
    const dueAt = room.orderedAt + room.gated.size * GAP_MS_PER_RUN;
    if (now < dueAt) return { opened: [], againAt: dueAt };
    const before = room.admitted;
    room.places = places(room.gated.values(), {
      paused: room.record?.paused === true,
      window: ADMISSION_WINDOW,
      slotsOf: (tenant, key) => this.#slots.get(tenantKey(tenant, key)),
    });
    const admitted = room.places.flatMap(({ gated, verdict }) => (verdict === 'admitted' ? [gated.id] : []));
    room.admitted = new Set(admitted);
    const kept = { turn: 0, key: 0, paused: 0 };
    for (const { verdict } of room.places) if (verdict !== 'admitted') kept[verdict] += 1;
    room.kept = kept;
    room.orderedAt = now;
    room.isStale = false;
    return { opened: admitted.filter((id) => !before.has(id)) };
  }

  /** Where a run stands. */
  queuePositionOf(id: string): QueuePosition | undefined {
    const queue = this.#queueOf.get(id);
    if (queue === undefined) return undefined;
    const room = this.#room(queue);
    const place = room.places.find(({ gated }) => gated.id === id);
    if (place === undefined) return undefined;
    const { position, verdict } = place;
    const reason = room.record?.reason;
    return { position, of: room.gated.size, why: verdict, ...(reason === undefined ? {} : { reason }) };
  }

  /** How many runs of a queue are kept by what, as of when it was last put in order. */
  heldBackOf(queue: string): Kept | undefined {
    return this.#rooms.get(queue)?.kept;
  }

  /** A queue's gate as told. */
  recordOf(queue: string): QueueRecord | undefined {
    return this.#rooms.get(queue)?.record;
  }
}
