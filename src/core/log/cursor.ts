/**
 * Cursors of a container's log, and the lines of its stored and live chunks. Used by the Kubernetes adapter, the log store, live logs and
 * clients.
 */

/** A position in a container's log: nanoseconds since the epoch, and the number of lines with that time up to here. */
export interface LogCursor {
  readonly nanos: bigint;
  readonly lines: number;
}

/** Text of the mark that replaces lines lost to log rotation on the node. */
export const LOG_GAP_TEXT = '[reentry: lines before this one were rotated away on the node]';

const STAMP = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)(?: |$)/;
/** Longest time stamp: 19 + 10 + 6 characters and a space. */
const STAMP_LENGTH = 36;
const NANOS_PER_MS = 1_000_000n;

/** A cursor as text, `<nanoseconds>:<lines>`, for states and headers. */
export function formatCursor({ nanos, lines }: LogCursor): string {
  return `${String(nanos)}:${String(lines)}`;
}

/** Parses a cursor; `undefined` when the text is none. */
export function parseCursor(text: string | undefined): LogCursor | undefined {
  const [, nanos, lines] = /^(\d+):(\d+)$/.exec(text ?? '') ?? [];
  return nanos === undefined || lines === undefined ? undefined : { nanos: BigInt(nanos), lines: Number(lines) };
}

/** Whether `position` is at or before the cursor, that is, was read already. */
export function isBehind(position: LogCursor, cursor: LogCursor | undefined): boolean {
  if (cursor === undefined) return false;
  return position.nanos < cursor.nanos || (position.nanos === cursor.nanos && position.lines <= cursor.lines);
}

/** The later of two cursors. */
export function furthest(one: LogCursor | undefined, other: LogCursor | undefined): LogCursor | undefined {
  return one === undefined || (other !== undefined && isBehind(one, other)) ? other : one;
}

/** The time stamp at the start of a line, in nanoseconds since the epoch, and its length including the space. */
export function stampOf(line: string): { readonly nanos: bigint; readonly length: number } | undefined {
  const match = STAMP.exec(line.slice(0, STAMP_LENGTH));
  if (match === null) return undefined;
  // Nodes write stamps in their own time zone, so times are compared as numbers only.
  const [, local = '', , zone = ''] = match;
  const ms = Date.parse(`${local}${zone}`);
  if (Number.isNaN(ms) || !exists(local)) return undefined;
  return { nanos: BigInt(ms) * NANOS_PER_MS + BigInt((match[2] ?? '').padEnd(9, '0')), length: match[0].length };
}

/** Whether a date is in the calendar and the hour below 24: `Date.parse` takes 30 February for 2 March, and 24:00 for the next day. */
function exists(local: string): boolean {
  if (local.slice(8, 10) <= '28' && local.slice(11, 13) < '24') return true;
  return new Date(`${local}Z`).toISOString().startsWith(local.slice(0, 13));
}

/** RFC 3339 with nanoseconds, in UTC. */
export function formatNanos(nanos: bigint): string {
  const seconds = new Date(Number(nanos / NANOS_PER_MS)).toISOString().slice(0, 19);
  return `${seconds}.${String(nanos % 1_000_000_000n).padStart(9, '0')}Z`;
}

/** Assigns cursors to successive lines by their times. A time that does not increase counts as one more line of the greatest time so far. */
export class LogCursors {
  #last: LogCursor | undefined;

  /** `last`: cursor of the line before; absent at the beginning of a log. */
  constructor(last?: LogCursor) {
    this.#last = last;
  }

  /** Cursor of the last line; zero when there was none. */
  get last(): LogCursor {
    return this.#last ?? { nanos: 0n, lines: 0 };
  }

  /** Cursor of the next line. `nanos` undefined: it has no time of its own. */
  next(nanos: bigint | undefined): LogCursor {
    const { last } = this;
    const goesOn = nanos !== undefined && (this.#last === undefined || nanos > last.nanos);
    this.#last = goesOn ? { nanos, lines: 1 } : { nanos: last.nanos, lines: last.lines + 1 };
    return this.#last;
  }
}

/** A line of a stored or live chunk. */
export interface ChunkLine {
  /**
   * `line`: written by the container. `gap`: the mark of lost lines before the next line. `more`: continues the line before, made by a
   * formatter.
   */
  readonly kind: 'line' | 'gap' | 'more';
  /** Cursor of the container's line that this is, follows or continues. */
  readonly at: LogCursor;
  /** RFC 3339 with nanoseconds; empty on a line of kind `more`. */
  readonly time: string;
  readonly text: string;
}

/** The lines of a chunk (`<time> <text>` lines). Only lines of kind `line` advance `cursors`. */
export function* chunkLines(chunk: string, cursors: LogCursors): Generator<ChunkLine> {
  const lines = chunk.split('\n');
  if (lines.at(-1) === '') lines.pop();
  for (const line of lines) {
    const stamp = stampOf(line);
    if (stamp === undefined) {
      yield { kind: 'more', at: cursors.last, time: '', text: line };
      continue;
    }
    const time = line.slice(0, stamp.length).trimEnd();
    const text = line.slice(stamp.length);
    if (text === LOG_GAP_TEXT) yield { kind: 'gap', at: cursors.last, time, text };
    else yield { kind: 'line', at: cursors.next(stamp.nanos), time, text };
  }
}
