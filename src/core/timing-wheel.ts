/**
 * A timing wheel of two levels. Fine slots cover about a minute; later deadlines wait in coarse slots and move to the fine ones when their
 * time comes near, so a wait of days costs one more move and no timer. It has no clock: `turn` takes the time. Nothing is returned early;
 * late is at most one slot plus the time between two turns. An entry takes tens of bytes, where a timer takes about 900.
 */

/** Width of a fine slot. */
export const SLOT_MS = 100;
/** Number of fine slots. A coarse slot is exactly as wide as all of them (51.2 s), so it empties into them completely. */
const FINE_SLOTS = 512;
/** A clock that goes back by more than this was set back: everything is scheduled anew. */
const SET_BACK_MS = 1_000;

/** Deadlines by key; at most one per key. */
export class TimingWheel<K> {
  /** Slot number (not index) → keys. Empty slots are removed. */
  readonly #fine = new Map<number, Set<K>>();
  readonly #coarse = new Map<number, Set<K>>();
  readonly #dueAt = new Map<K, number>();
  /** Number of the first fine slot that was not emptied yet. */
  #next: number;

  /** `now`: epoch milliseconds, as everywhere in this class. */
  constructor(now: number) {
    this.#next = Math.floor(now / SLOT_MS);
  }

  /** Number of entries. */
  get size(): number {
    return this.#dueAt.size;
  }

  /** When `key` is due; `undefined` when it has no entry. */
  dueAt(key: K): number | undefined {
    return this.#dueAt.get(key);
  }

  /** Schedules `key` for `at`, epoch milliseconds, in place of an earlier instant. An instant in the past is due at the next turn. */
  schedule(key: K, at: number): void {
    if (this.#dueAt.get(key) === at) return;
    this.cancel(key);
    this.#dueAt.set(key, at);
    this.#insert(key, at);
  }

  cancel(key: K): void {
    const at = this.#dueAt.get(key);
    if (at === undefined) return;
    this.#dueAt.delete(key);
    const slot = Math.max(this.#slotOf(at), this.#next);
    // It is in one of the two levels, depending on when it was placed.
    if (!remove(this.#fine, slot, key)) remove(this.#coarse, Math.floor(slot / FINE_SLOTS), key);
  }

  /** Removes and returns all keys that are due at `now`. */
  turn(now: number): readonly K[] {
    const current = Math.floor(now / SLOT_MS);
    if (now < this.#next * SLOT_MS - SET_BACK_MS) this.#restart(current);
    const due: K[] = [];
    // After a jump (suspended machine, clock set), visiting each key is cheaper than visiting each slot in between.
    if (current - this.#next > 2 * FINE_SLOTS) {
      for (const [key, at] of this.#dueAt) if (at <= now) due.push(key);
      for (const key of due) this.#dueAt.delete(key);
      this.#restart(current);
      return due;
    }
    for (; this.#next <= current; this.#next += 1) {
      if (this.#next % FINE_SLOTS === 0) this.#cascade(this.#next / FINE_SLOTS);
      const slot = this.#fine.get(this.#next);
      if (slot === undefined) continue;
      this.#fine.delete(this.#next);
      for (const key of slot) {
        this.#dueAt.delete(key);
        due.push(key);
      }
    }
    return due;
  }

  /** First slot that begins at or after `at`: when it is emptied, nothing in it is early. */
  #slotOf(at: number): number {
    return Math.ceil(at / SLOT_MS);
  }

  #insert(key: K, at: number): void {
    const slot = Math.max(this.#slotOf(at), this.#next);
    // Fine up to the end of the current coarse slot, or of the next one once that has been emptied.
    const horizon = Math.ceil(this.#next / FINE_SLOTS) * FINE_SLOTS;
    if (slot < horizon) add(this.#fine, slot, key);
    else add(this.#coarse, Math.floor(slot / FINE_SLOTS), key);
  }

  #cascade(coarse: number): void {
    const keys = this.#coarse.get(coarse);
    if (keys === undefined) return;
    this.#coarse.delete(coarse);
    for (const key of keys) {
      const at = this.#dueAt.get(key);
      if (at !== undefined) add(this.#fine, Math.max(this.#slotOf(at), this.#next), key);
    }
  }

  #restart(current: number): void {
    this.#next = current;
    this.#fine.clear();
    this.#coarse.clear();
    for (const [key, at] of this.#dueAt) this.#insert(key, at);
  }
}

function add<K>(slots: Map<number, Set<K>>, slot: number, key: K): void {
  const keys = slots.get(slot);
  if (keys === undefined) slots.set(slot, new Set([key]));
  else keys.add(key);
}

function remove<K>(slots: Map<number, Set<K>>, slot: number, key: K): boolean {
  const keys = slots.get(slot);
  if (keys?.delete(key) !== true) return false;
  if (keys.size === 0) slots.delete(slot);
  return true;
}
