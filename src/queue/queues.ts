import { tenantKey } from '../core/identity.ts';
import type { GateChange } from '../ports/stores.ts';
import type { ConcurrencySlots, QueuePosition, QueueRecord } from '../wire/queues.ts';
import type { Subscription } from '../wire/triggers.ts';
import type { RunKey } from '../wire/subjects.ts';
import { type Gated, type Position, queuePositions, START_WINDOW } from './order.ts';

/** Runs of a queue by what holds them back. */
type HeldBack = Readonly<Record<Exclude<Position<Gated>['verdict'], 'admitted'>, number>>;

interface Queue {
  readonly gated: Map<string, Gated>;
  record: QueueRecord | undefined;
  /** In order, as of `orderedAt`. */
  positions: readonly Position<Gated>[];
  admitted: ReadonlySet<string>;
  heldBack: HeldBack;
  orderedAt: number;
  isStale: boolean;
}

/** A queue of n waiting runs is put in order at most every n/100 ms: 10,000 cost about 10 ms each time. */
const GAP_MS_PER_RUN = 0.01;
const NONE: readonly string[] = [];

/**
 * The runs that wait for their turn, by queue, and the gates. Every triggerer holds all of it and computes the same order. What changes the
 * order gives the runs whose gate it opened, the next one first; where a queue was put in order a moment ago, `due` gives them later.
 */
export class Queues {
  readonly #queues = new Map<string, Queue>();
  /** Queues to put in order later: a queue and when, epoch milliseconds. */
  readonly #later = new Map<string, number>();
  #isComplete = false;
  /** By tenant and concurrency key. */
  readonly #slots = new Map<string, ConcurrencySlots>();
  /** Run → its queue. */
  readonly #queueOf = new Map<string, string>();

  /** Queues that have or had a waiting run, or whose gate is known. */
  get names(): readonly string[] {
    return [...this.#queues.keys()];
  }

  /** All subscriptions and gates are known. Before that no gate is open: a pause might arrive last. */
  complete(now: number): readonly string[] {
    this.#isComplete = true;
    return this.names.flatMap((queue) => this.#ordered(queue, now));
  }

  /** A subscription was stored or changed. */
  put(id: string, run: RunKey, { queue, await: { gate } }: Subscription, now: number): readonly string[] {
    const before = this.#remove(id);
    if (gate === undefined) return before === undefined ? NONE : this.#ordered(before, now);
    const { since, priority = 'normal', concurrencyKey } = gate;
    const { gated } = this.#changed(queue);
    gated.set(id, { id, tenant: run.tenant, runId: run.runId, priority, since, concurrencyKey });
    this.#queueOf.set(id, queue);
    return this.#ordered(queue, now);
  }

  /** A run waits no longer. */
  remove(id: string, now: number): readonly string[] {
    const queue = this.#remove(id);
    return queue === undefined ? NONE : this.#ordered(queue, now);
  }

  /** A queue was paused or resumed, or a slot of a concurrency key was taken or freed. */
  gate(change: GateChange, now: number): readonly string[] {
    if (change.kind === 'queue') {
      this.#changed(change.queue).record = change.record;
      return this.#ordered(change.queue, now);
    }
    const key = tenantKey(change.tenant, change.concurrencyKey);
    if (change.slots === undefined) this.#slots.delete(key);
    else this.#slots.set(key, change.slots);
    const waiting = [...this.#queues].filter(([, { gated }]) => gated.size > 0);
    for (const [, queue] of waiting) queue.isStale = true;
    return waiting.flatMap(([queue]) => this.#ordered(queue, now));
  }

  /** The runs of queues whose time to be put in order has come. */
  due(now: number): readonly string[] {
    if (this.#later.size === 0) return NONE;
    const due = [...this.#later].filter(([, at]) => at <= now);
    return due.flatMap(([queue]) => this.#ordered(queue, now));
  }

  /** Whether the gate of this run is open. */
  admits(id: string): boolean {
    const queue = this.#queueOf.get(id);
    return queue === undefined || this.#queue(queue).admitted.has(id);
  }

  /** Where a run stands; `undefined`: it does not wait for its turn. */
  positionOf(id: string): QueuePosition | undefined {
    const name = this.#queueOf.get(id);
    if (name === undefined) return undefined;
    const queue = this.#queue(name);
    const found = queue.positions.find(({ gated }) => gated.id === id);
    if (found === undefined) return undefined;
    const { position, verdict } = found;
    const reason = queue.record?.reason;
    return { position, of: queue.gated.size, why: verdict, ...(reason === undefined ? {} : { reason }) };
  }

  /** How many runs of a queue are held back by what, as of when it was last put in order. */
  heldBackOf(queue: string): HeldBack | undefined {
    return this.#queues.get(queue)?.heldBack;
  }

  /** A queue's stored gate. */
  recordOf(queue: string): QueueRecord | undefined {
    return this.#queues.get(queue)?.record;
  }

  #queue(name: string): Queue {
    let queue = this.#queues.get(name);
    if (queue === undefined) {
      queue = {
        gated: new Map(),
        record: undefined,
        positions: [],
        admitted: new Set(),
        heldBack: { turn: 0, key: 0, paused: 0 },
        orderedAt: -Infinity,
        isStale: false,
      };
      this.#queues.set(name, queue);
    }
    return queue;
  }

  #changed(name: string): Queue {
    const queue = this.#queue(name);
    queue.isStale = true;
    return queue;
  }

  #remove(id: string): string | undefined {
    const queue = this.#queueOf.get(id);
    if (queue === undefined) return undefined;
    this.#changed(queue).gated.delete(id);
    this.#queueOf.delete(id);
    return queue;
  }

  /** Puts a queue in order, now or later; gives the runs whose gate that opened, in their order. */
  #ordered(name: string, now: number): readonly string[] {
    const queue = this.#queue(name);
    if (!this.#isComplete || !queue.isStale) return NONE;
    const dueAt = queue.orderedAt + queue.gated.size * GAP_MS_PER_RUN;
    if (now < dueAt) {
      this.#later.set(name, dueAt);
      return NONE;
    }
    this.#later.delete(name);
    const before = queue.admitted;
    queue.positions = queuePositions(queue.gated.values(), {
      paused: queue.record?.paused === true,
      window: START_WINDOW,
      slotsOf: (tenant, key) => this.#slots.get(tenantKey(tenant, key)),
    });
    const admitted = queue.positions.flatMap(({ gated, verdict }) => (verdict === 'admitted' ? [gated.id] : []));
    queue.admitted = new Set(admitted);
    const heldBack = { turn: 0, key: 0, paused: 0 };
    for (const { verdict } of queue.positions) if (verdict !== 'admitted') heldBack[verdict] += 1;
    queue.heldBack = heldBack;
    queue.orderedAt = now;
    queue.isStale = false;
    return admitted.filter((id) => !before.has(id));
  }
}
