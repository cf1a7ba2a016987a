/** Assigns cursors to the lines of a container's log, and drops lines that were read before. */
import { isBehind, type LogCursor, stampOf } from '../core/log/cursor.ts';
import type { LogLine } from '../ports/cluster.ts';

/**
 * Assigns cursors to the lines of one reading and drops those at or before `from`. A cursor is right after its line: `lines` includes the
 * line itself. A line without a time stamp, a further piece of a long line, and a line whose time goes back (two streams, one clock) count
 * as further lines of the greatest time so far, so cursors only grow.
 */
export class LogOrder {
  readonly #from: LogCursor | undefined;
  readonly #watchForGap: boolean;
  #nanos = -1n;
  #lines = 0;
  #behind = 0;
  #begun = false;
  /** Whether the line of cursor `from` has been read. */
  met = false;

  /** `watchForGap`: the reading starts at or before `from`, so that line must appear; else lines were lost. */
  constructor(from: LogCursor | undefined, watchForGap: boolean) {
    this.#from = from;
    this.#watchForGap = watchForGap && from !== undefined && from.lines > 0;
  }

  /** The line, if it is new. `continues`: a further piece of a long line. */
  next(bytes: Buffer, continues: boolean): LogLine | undefined {
    const line = bytes.toString('utf8');
    const stamp = continues ? undefined : stampOf(line);
    if (stamp !== undefined && stamp.nanos > this.#nanos) {
      this.#nanos = stamp.nanos;
      this.#lines = 1;
    } else this.#lines += 1;
    const at: LogCursor = { nanos: this.#nanos < 0n ? 0n : this.#nanos, lines: this.#lines };
    if (isBehind(at, this.#from)) {
      this.#behind += 1;
      if (at.nanos === this.#from?.nanos && at.lines === this.#from.lines) this.met = true;
      return undefined;
    }
    const gap = !this.#begun && this.#watchForGap && this.#behind === 0;
    this.#begun = true;
    const text = stamp === undefined ? line : line.slice(stamp.length);
    return gap ? { at, text, gap } : { at, text };
  }
}

/**
 * The `sinceTime` to request, so that the cursor's own line is in the reply: whole seconds, because fractions are dropped on the way, and
 * one second early for lines whose time went back.
 */
export function sinceTime(from: LogCursor): string | undefined {
  const seconds = Number(from.nanos / 1_000_000_000n) - 1;
  return seconds <= 0 ? undefined : new Date(seconds * 1000).toISOString().replace('.000Z', 'Z');
}
