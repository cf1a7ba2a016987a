/** A queue inside the process: first in, first out, each item acknowledged. @see spec executor §1.2 */

/** Takes never wait. Whoever took an item says `done` for it, whatever came of it. */
export class TaskQueue<T> {
  readonly #items: T[] = [];
  #unfinished = 0;

  /** At the tail. */
  put(item: T): void {
    this.#items.push(item);
    this.#unfinished += 1;
  }

  /** The head, if there is one. */
  tryGet(): T | undefined {
    return this.#items.shift();
  }

  /** One item that was taken is dealt with. @throws RangeError for more than were taken */
  done(): void {
    if (this.#unfinished <= this.#items.length)
      throw new RangeError('done() was called more often than items were taken');
    this.#unfinished -= 1;
  }

  /** Items waiting. */
  get size(): number {
    return this.#items.length;
  }

  /** Items waiting or not acknowledged. */
  get unfinished(): number {
    return this.#unfinished;
  }

  /** Takes out and acknowledges every waiting item that `which` fits; gives them. */
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
