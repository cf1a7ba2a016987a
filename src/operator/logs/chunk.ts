/** Lines on their way into the store, as bytes in one piece of memory. */
import { isBehind, type LogCursor } from '../../core/log/cursor.ts';
import { MAX_LOG_CHUNK_BYTES } from '../../wire/streams.ts';

/** What most logs need; more is taken when it is needed. */
const FIRST_BYTES = 4 * 1024;

/**
 * At most `MAX_LOG_CHUNK_BYTES` of lines. A string for each line costs several times its text, and what was decoded stays alive with it;
 * bytes are written once and used again for the next chunk.
 */
export class LogChunk {
  #memory = Buffer.allocUnsafeSlow(FIRST_BYTES);
  #length = 0;
  /** Of each line: where it stands in the container's log, and where its text ends here. */
  #places: LogCursor[] = [];
  #ends: number[] = [];

  /** The text of all lines; holds until the next `push` or `clear`. */
  get bytes(): Uint8Array {
    return this.#memory.subarray(0, this.#length);
  }

  /** The place of the last line; absent where there is none. */
  get to(): LogCursor | undefined {
    return this.#places.at(-1);
  }

  /** Whether a text of so many bytes still goes in; the first one always does. */
  hasRoomFor(bytes: number): boolean {
    return this.#length === 0 || this.#length + bytes <= MAX_LOG_CHUNK_BYTES;
  }

  /** Adds a line. @param bytes what `text` has in UTF-8 */
  push(at: LogCursor, text: string, bytes: number): void {
    this.#grow(this.#length + bytes);
    this.#length += this.#memory.write(text, this.#length, 'utf8');
    this.#places.push(at);
    this.#ends.push(this.#length);
  }

  /** Drops the lines that a cursor is past: lines come in order, so they are the first ones. */
  dropBehind(cursor: LogCursor | undefined): void {
    const past = this.#places.findLastIndex((at) => isBehind(at, cursor)) + 1;
    const from = this.#ends[past - 1] ?? 0;
    this.#memory.copyWithin(0, from, this.#length);
    this.#length -= from;
    this.#places = this.#places.slice(past);
    this.#ends = this.#ends.slice(past).map((end) => end - from);
  }

  clear(): void {
    this.#length = 0;
    this.#places = [];
    this.#ends = [];
  }

  #grow(needed: number): void {
    if (needed <= this.#memory.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, Math.min(this.#memory.length * 4, MAX_LOG_CHUNK_BYTES)));
    this.#memory.copy(larger, 0, 0, this.#length);
    this.#memory = larger;
  }
}
