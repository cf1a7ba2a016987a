/** Lines that wait to be stored, as bytes in one buffer. */
import { isBehind, type LogCursor } from '../../core/log/cursor.ts';
import { MAX_LOG_CHUNK_BYTES } from '../../wire/streams.ts';

/** Initial buffer size: enough for most logs. */
const FIRST_BYTES = 4 * 1024;

/**
 * At most `MAX_LOG_CHUNK_BYTES` of lines. One string per line would take several times the memory of its text and keep the decoded network buffers
 * alive; this buffer is reused for the next chunk.
 */
export class LogChunk {
  #memory = Buffer.allocUnsafeSlow(FIRST_BYTES);
  #length = 0;
  /** Of each line: its position in the container's log, and where its text ends in the buffer. */
  #positions: LogCursor[] = [];
  #ends: number[] = [];

  /** The text of all lines; valid until the next `push` or `clear`. */
  get bytes(): Uint8Array {
    return this.#memory.subarray(0, this.#length);
  }

  /** Position of the last line; `undefined` while there is none. */
  get to(): LogCursor | undefined {
    return this.#positions.at(-1);
  }

  /** Whether a text of this many bytes fits; the first one always does. */
  hasRoomFor(bytes: number): boolean {
    return this.#length === 0 || this.#length + bytes <= MAX_LOG_CHUNK_BYTES;
  }

  /** Adds a line. @param bytes length of `text` in UTF-8 */
  push(at: LogCursor, text: string, bytes: number): void {
    const needed = this.#length + bytes;
    if (needed > this.#memory.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(needed, Math.min(this.#memory.length * 4, MAX_LOG_CHUNK_BYTES)));
      this.#memory.copy(larger, 0, 0, this.#length);
      this.#memory = larger;
    }
    this.#length += this.#memory.write(text, this.#length, 'utf8');
    this.#positions.push(at);
    this.#ends.push(this.#length);
  }

  /** Drops the lines up to a cursor. Lines are in order, so these are the first ones. */
  dropBehind(cursor: LogCursor | undefined): void {
    const past = this.#positions.findLastIndex((at) => isBehind(at, cursor)) + 1;
    const from = this.#ends[past - 1] ?? 0;
    this.#memory.copyWithin(0, from, this.#length);
    this.#length -= from;
    this.#positions = this.#positions.slice(past);
    this.#ends = this.#ends.slice(past).map((end) => end - from);
  }

  clear(): void {
    this.#length = 0;
    this.#positions = [];
    this.#ends = [];
  }
}
