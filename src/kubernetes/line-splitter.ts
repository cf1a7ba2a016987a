/** Splits a byte stream into lines at `\n` only, in bounded memory. */

const NEWLINE = 10;

/** A line exceeds the reader's limit. */
export class LineTooLong extends Error {
  override readonly name = 'LineTooLong';
}

/**
 * Splits chunks into lines, without the newline. (`readline` would also split at `\r`, U+2028 and U+2029.) A line of more than `maxBytes`
 * is an error, or with `long: 'split'` is returned in pieces of `maxBytes`. Pieces depend only on the bytes of the line, not on how they
 * arrived, so reading again yields the same pieces.
 */
export class LineSplitter {
  readonly #maxBytes: number;
  readonly #long: 'fail' | 'split';
  #held: Buffer[] = [];
  #heldBytes = 0;
  #begun = false;
  /** Whether the last returned line is a further piece of a long one. */
  continues = false;

  constructor(maxBytes: number, long: 'fail' | 'split') {
    this.#maxBytes = maxBytes;
    this.#long = long;
  }

  /** The lines that `chunk` completes. */
  *push(chunk: Buffer): Generator<Buffer> {
    let from = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, from)) {
      const tail = chunk.subarray(from, end);
      from = end + 1;
      if (this.#heldBytes === 0) {
        yield* this.#whole(tail);
        continue;
      }
      this.#held.push(tail);
      yield* this.#whole(this.#take());
    }
    if (from === chunk.length) return;
    // A copy: a slice would keep the whole chunk in memory while its line is incomplete.
    this.#held.push(Buffer.from(chunk.subarray(from)));
    this.#heldBytes += chunk.length - from;
    if (this.#heldBytes <= this.#maxBytes) return;
    if (this.#long === 'fail') throw new LineTooLong(`a line of more than ${this.#maxBytes} bytes`);
    const pieces = [...this.#pieces(this.#take())];
    const last = pieces.pop();
    for (const piece of pieces) yield this.#given(piece, true);
    if (last !== undefined) {
      this.#held.push(last);
      this.#heldBytes = last.length;
    }
  }

  /** What follows the last newline; undefined when the stream ended with one. */
  rest(): Buffer | undefined {
    if (this.#heldBytes === 0) return undefined;
    return this.#given(this.#take(), false);
  }

  #given(piece: Buffer, more: boolean): Buffer {
    this.continues = this.#begun;
    this.#begun = more;
    return piece;
  }

  #take(): Buffer {
    const all = Buffer.concat(this.#held);
    this.#held = [];
    this.#heldBytes = 0;
    return all;
  }

  *#whole(line: Buffer): Generator<Buffer> {
    if (line.length <= this.#maxBytes) {
      yield this.#given(line, false);
      return;
    }
    if (this.#long === 'fail') throw new LineTooLong(`a line of more than ${this.#maxBytes} bytes`);
    const pieces = [...this.#pieces(line)];
    for (const [index, piece] of pieces.entries()) yield this.#given(piece, index + 1 < pieces.length);
  }

  *#pieces(line: Buffer): Generator<Buffer> {
    let from = 0;
    while (line.length - from > this.#maxBytes) {
      let to = from + this.#maxBytes;
      // Bytes 10xxxxxx continue a UTF-8 character, so the cut must not be here.
      while (to > from + this.#maxBytes - 4 && ((line[to] ?? 0) & 0xc0) === 0x80) to -= 1;
      yield line.subarray(from, to);
      from = to;
    }
    yield line.subarray(from);
  }
}
