/**
 * Many deadlines, few slots: a timing wheel of two levels. Fine slots cover about a minute; what is due later waits in
 * coarse slots and moves to the fine ones when its time comes near, so that a wait of days costs one more move and no timer.
 * No clock of its own: the caller passes the time. Nothing comes out early; late is at most one slot and the
 * time between two turns. An entry costs tens of bytes, where a timer of its own takes about 900.
 */

/** Width of a fine slot. */
export const SLOT_MS = 100;
/** Fine slots; a coarse slot is exactly as wide as all of them (51.2 s), so it empties into them without a rest. */
const FINE_SLOTS = 512;
/** A clock that goes back by more than this was set back: everything is scheduled anew. */
const SET_BACK_MS = 1_000;

/** Deadlines by key; at most one per key. */
export class TimingWheel<K> {
  /** Slot number (not index) → keys. Empty slots are removed. */
  readonly #fine = new Map<number, Set<K>>();
  readonly #coarse = new Map<number, Set<K>>();
  readonly #dueAt = new Map<K, number>();
  /** Number of the first fine slot that has not been emptied. */
  #next: number;

  /** `now`: epoch milliseconds, as for all else here. */
  constructor(now: number) {
    this.#next = Math.floor(now / SLOT_MS);
  }

  /** How many keys wait. */
  get size(): number {
    return this.#dueAt.size;
  }

  /** When `key` is due, if it waits. */
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
    // It is in one of both levels; which one depends on when it was placed.
    if (!remove(this.#fine, slot, key)) remove(this.#coarse, Math.floor(slot / FINE_SLOTS), key);
  }

  /** Takes out all that is due at `now`. */
  turn(now: number): readonly K[] {
    const current = Math.floor(now / SLOT_MS);
    if (now < this.#next * SLOT_MS - SET_BACK_MS) this.#restart(current);
    const due: K[] = [];
    // After a leap (suspended machine, clock set) it is cheaper to look at each key than at each slot in between.
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

  /** First slot whose beginning is not before `at`: emptied then, nothing in it is early. */
  #slotOf(at: number): number {
    return Math.ceil(at / SLOT_MS);
  }

  #insert(key: K, at: number): void {
    const slot = Math.max(this.#slotOf(at), this.#next);
    // Fine as far as the present coarse slot reaches, and the one after it once that has been emptied.
    if (slot < this.#horizon()) add(this.#fine, slot, key);
    else add(this.#coarse, Math.floor(slot / FINE_SLOTS), key);
  }

  /** Fine slots end here: at the next coarse slot that has not been emptied. */
  #horizon(): number {
    return Math.ceil(this.#next / FINE_SLOTS) * FINE_SLOTS;
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
