/** The order of a container's log: which line is where, and which ones a reader has had. */
import type { LogCursor, LogLine } from '../ports.ts';

const STAMP = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ?/;
/** Longest stamp: 19 + 10 + 6 and a space. */
const STAMP_LENGTH = 36;
const NANOS_PER_MS = 1_000_000n;

/** A node's time stamp at the start of a line: nanoseconds since the epoch, and the length of the stamp with its space. */
function stampOf(line: string): { readonly nanos: bigint; readonly length: number } | undefined {
  const match = STAMP.exec(line.slice(0, STAMP_LENGTH));
  if (match === null) return undefined;
  // Nodes print their own zone: times are compared as numbers only.
  const ms = Date.parse(`${match[1] ?? ''}${match[3] ?? ''}`);
  if (Number.isNaN(ms)) return undefined;
  return { nanos: BigInt(ms) * NANOS_PER_MS + BigInt((match[2] ?? '').padEnd(9, '0')), length: match[0].length };
}

/**
 * Numbers the lines of one reading and drops those that are behind `from`.
 * A cursor stands right after its line: `lines` counts the line itself. A line without a stamp, a piece of a long line, and a line whose stamp
 * goes back (two streams, one clock) count as further lines of the greatest time so far, so that positions only grow.
 */
export class LogOrder {
  readonly #from: LogCursor | undefined;
  readonly #watchForGap: boolean;
  #nanos = -1n;
  #lines = 0;
  #behind = 0;
  #begun = false;

  /** `watchForGap`: the reading was to begin at or before `from`, so its line must be there. */
  constructor(from: LogCursor | undefined, watchForGap: boolean) {
    this.#from = from;
    this.#watchForGap = watchForGap && from !== undefined && from.lines > 0;
  }

  /** The line, if it is new. `continues`: a later piece of a long line. */
  next(bytes: Buffer, continues: boolean): LogLine | undefined {
    const line = bytes.toString('utf8');
    const stamp = continues ? undefined : stampOf(line);
    if (stamp !== undefined && stamp.nanos > this.#nanos) {
      this.#nanos = stamp.nanos;
      this.#lines = 1;
    } else this.#lines += 1;
    const at: LogCursor = { nanos: this.#nanos < 0n ? 0n : this.#nanos, lines: this.#lines };
    if (this.#from !== undefined && !isAfter(at, this.#from)) {
      this.#behind += 1;
      return undefined;
    }
    const gap = !this.#begun && this.#watchForGap && this.#behind === 0;
    this.#begun = true;
    const text = stamp === undefined ? line : line.slice(stamp.length);
    return gap ? { at, text, gap } : { at, text };
  }
}

/** Whether `at` lies behind `other` in reading direction. */
function isAfter(at: LogCursor, other: LogCursor): boolean {
  return at.nanos === other.nanos ? at.lines > other.lines : at.nanos > other.nanos;
}

/**
 * The time to ask a node for, so that the cursor's own line is among the answer: whole seconds (finer ones are cut off on the way), one second
 * early for lines whose stamp went back.
 */
export function sinceTime(from: LogCursor): string | undefined {
  const seconds = Number(from.nanos / 1_000_000_000n) - 1;
  return seconds <= 0 ? undefined : new Date(seconds * 1000).toISOString().replace('.000Z', 'Z');
}
