/** A first-in, first-out queue in memory. Taking never waits; every item taken is acknowledged by `done`. */
export class TaskQueue<T> {
  readonly #items: T[] = [];
  #unfinished = 0;

  /** Appends an item. */
  put(item: T): void {
    this.#items.push(item);
    this.#unfinished += 1;
  }

  /** Takes the first item; `undefined` when the queue is empty. */
  tryGet(): T | undefined {
    return this.#items.shift();
  }

  /** Acknowledges one item that was taken. @throws RangeError when called more often than items were taken */
  done(): void {
    if (this.#unfinished <= this.#items.length)
      throw new RangeError('done() was called more often than items were taken');
    this.#unfinished -= 1;
  }

  /** Number of waiting items. */
  get size(): number {
    return this.#items.length;
  }

  /** Number of items that wait or are not acknowledged. */
  get unfinished(): number {
    return this.#unfinished;
  }

  /** Removes and acknowledges every waiting item that `which` accepts; returns them. */
  remove(which: (item: T) => boolean): readonly T[] {
    const removed: T[] = [];
    for (let index = this.#items.length - 1; index >= 0; index -= 1) {
      const item = this.#items[index];
      if (item === undefined || !which(item)) continue;
      this.#items.splice(index, 1);
      this.#unfinished -= 1;
      removed.unshift(item);
    }
    return removed;
  }
}
