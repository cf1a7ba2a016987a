/** Places in a container's log, and its lines as they are stored and sent: one idea for the node, the store, live text and clients. @see spec protocol §9 */

/** A place in a container's log: nanoseconds since the epoch, and how many lines of that nanosecond are behind it. */
export interface LogCursor {
  readonly nanos: bigint;
  readonly lines: number;
}

/** Stands, with a time, in the place of lines that a node's rotation took away. */
export const LOG_GAP_TEXT = '[reentry: lines before this one were rotated away on the node]';

const STAMP = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)(?: |$)/;
/** Longest stamp: 19 + 10 + 6 and a space. */
const STAMP_LENGTH = 36;
const NANOS_PER_MS = 1_000_000n;

/** A cursor as state and headers carry it, `<nanoseconds>:<lines>`. */
export function formatCursor({ nanos, lines }: LogCursor): string {
  return `${String(nanos)}:${String(lines)}`;
}

/** The cursor in a text; `undefined` where there is none. */
export function parseCursor(text: string | undefined): LogCursor | undefined {
  const [, nanos, lines] = /^(\d+):(\d+)$/.exec(text ?? '') ?? [];
  return nanos === undefined || lines === undefined ? undefined : { nanos: BigInt(nanos), lines: Number(lines) };
}

/** Whether `place` is at or behind the cursor: had already. */
export function isBehind(place: LogCursor, cursor: LogCursor | undefined): boolean {
  if (cursor === undefined) return false;
  return place.nanos < cursor.nanos || (place.nanos === cursor.nanos && place.lines <= cursor.lines);
}

/** The one of two cursors that is further on. */
export function furthest(one: LogCursor | undefined, other: LogCursor | undefined): LogCursor | undefined {
  return one === undefined || (other !== undefined && isBehind(one, other)) ? other : one;
}

/** A time stamp at the start of a line: nanoseconds since the epoch, and the length of the stamp with its space. */
export function stampOf(line: string): { readonly nanos: bigint; readonly length: number } | undefined {
  const match = STAMP.exec(line.slice(0, STAMP_LENGTH));
  if (match === null) return undefined;
  // Nodes print their own zone: times are compared as numbers only.
  const ms = Date.parse(`${match[1] ?? ''}${match[3] ?? ''}`);
  if (Number.isNaN(ms)) return undefined;
  return { nanos: BigInt(ms) * NANOS_PER_MS + BigInt((match[2] ?? '').padEnd(9, '0')), length: match[0].length };
}

/** RFC 3339 with nanoseconds, in UTC. */
export function formatNanos(nanos: bigint): string {
  const seconds = new Date(Number(nanos / NANOS_PER_MS)).toISOString().slice(0, 19);
  return `${seconds}.${String(nanos % 1_000_000_000n).padStart(9, '0')}Z`;
}

/** Places of lines that come one after the other, by their times: a time that does not go on counts as one more line of the greatest so far. */
export class LogPlaces {
  #last: LogCursor | undefined;

  /** `last`: the place of the line before; absent at a log's beginning. */
  constructor(last?: LogCursor) {
    this.#last = last;
  }

  /** Where the line before stands; the very beginning where there was none. */
  get last(): LogCursor {
    return this.#last ?? { nanos: 0n, lines: 0 };
  }

  /** The next line's place. `nanos` undefined: it has no time of its own. */
  next(nanos: bigint | undefined): LogCursor {
    const { last } = this;
    const goesOn = nanos !== undefined && (this.#last === undefined || nanos > last.nanos);
    this.#last = goesOn ? { nanos, lines: 1 } : { nanos: last.nanos, lines: last.lines + 1 };
    return this.#last;
  }
}

/** A line of a stored or live chunk. */
export interface PlacedLine {
  /** `line`: the container's own. `gap`: the mark before a line. `more`: goes on from the line before, as a formatter made it. */
  readonly kind: 'line' | 'gap' | 'more';
  /** Place of the container's own line that it is, follows or goes on from. */
  readonly at: LogCursor;
  /** RFC 3339 with nanoseconds; empty on a line that goes on. */
  readonly time: string;
  readonly text: string;
}

/** The lines of a chunk (`<time> <text>` lines). Marks and further lines have no place of their own. `places`: of the container's lines so far. */
export function* placedLines(chunk: string, places: LogPlaces): Generator<PlacedLine> {
  const lines = chunk.split('\n');
  if (lines.at(-1) === '') lines.pop();
  for (const line of lines) {
    const stamp = stampOf(line);
    if (stamp === undefined) {
      yield { kind: 'more', at: places.last, time: '', text: line };
      continue;
    }
    const time = line.slice(0, stamp.length).trimEnd();
    const text = line.slice(stamp.length);
    if (text === LOG_GAP_TEXT) yield { kind: 'gap', at: places.last, time, text };
    else yield { kind: 'line', at: places.next(stamp.nanos), time, text };
  }
}
