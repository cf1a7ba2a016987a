/** A container's log from the node into the store, each line once. @see spec protocol §9 */
import { ReentryError } from '../errors.ts';
import type { PodRef } from '../core/pod.ts';
import type { Cluster, Log, LogCursor, LogLine, LogStore } from '../ports.ts';
import { MAX_LOG_CHUNK_BYTES } from '../wire/messages.ts';
import type { RunKey } from '../wire/subjects.ts';

/** Where to read and where to store. */
export interface LogSource {
  readonly cluster: Cluster;
  readonly pod: PodRef;
  readonly container: string;
  readonly run: RunKey;
  readonly attempt: number;
  readonly store: LogStore;
  /** The state's copy of the cursor: where to go on when the stored log has been evicted. */
  readonly cursor?: string | undefined;
  readonly log: Log;
  /** Told of each line that is about to be stored. */
  readonly onLine?: ((line: LogLine) => Promise<void>) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What a reading came to. */
export interface LogReading {
  /** Where the stored log ends now, `<nanoseconds>:<lines>`; absent where nothing is stored. */
  readonly cursor: string | undefined;
  /** Gaps that the node's rotation made, found in this reading. */
  readonly gaps: number;
  /** False when the node could not be read to its end. */
  readonly complete: boolean;
}

/** How often two writers may take turns before this one lets the other finish. */
const MAX_TURNS = 20;
const GAP_TEXT = '[reentry: lines before this one were rotated away on the node]';

/** A cursor as state and headers carry it. */
export function formatCursor({ nanos, lines }: LogCursor): string {
  return `${String(nanos)}:${String(lines)}`;
}

/** The cursor in a text; `undefined` where there is none. */
export function parseCursor(text: string | undefined): LogCursor | undefined {
  const [, nanos, lines] = /^(\d+):(\d+)$/.exec(text ?? '') ?? [];
  return nanos === undefined || lines === undefined ? undefined : { nanos: BigInt(nanos), lines: Number(lines) };
}

/** Whether `place` is at or behind the cursor: stored already. */
function isBehind(place: LogCursor, cursor: LogCursor | undefined): boolean {
  if (cursor === undefined) return false;
  return place.nanos < cursor.nanos || (place.nanos === cursor.nanos && place.lines <= cursor.lines);
}

const furthest = (one: LogCursor | undefined, other: LogCursor | undefined): LogCursor | undefined =>
  one === undefined || (other !== undefined && isBehind(one, other)) ? other : one;

/** RFC 3339 with nanoseconds, in UTC. */
export function formatNanos(nanos: bigint): string {
  const seconds = new Date(Number(nanos / 1_000_000n)).toISOString().slice(0, 19);
  return `${seconds}.${String(nanos % 1_000_000_000n).padStart(9, '0')}Z`;
}

interface Pending {
  readonly at: LogCursor;
  readonly text: string;
  readonly bytes: number;
}

/** Cuts on a character's border. */
function cutBytes(text: string, bytes: number): string {
  return new TextDecoder().decode(new TextEncoder().encode(text).subarray(0, bytes)).replace(/\uFFFD+$/, '');
}

function pendingOf(line: LogLine): Pending {
  const stamp = formatNanos(line.at.nanos);
  const mark = line.gap === true ? `${stamp} ${GAP_TEXT}\n` : '';
  const whole = `${mark}${stamp} ${line.text}\n`;
  // The adapter gives long lines in pieces; this only guards the broker's limit.
  const text =
    Buffer.byteLength(whole) > MAX_LOG_CHUNK_BYTES ? `${cutBytes(whole, MAX_LOG_CHUNK_BYTES - 64)}…\n` : whole;
  return { at: line.at, text, bytes: Buffer.byteLength(text) };
}

/** Appends lines behind the stored end; two writers at once store each line once between them. Holds at most one chunk. */
class Appender {
  readonly #source: LogSource;
  #cursor: LogCursor | undefined;
  #sequence = 0;
  #pending: Pending[] = [];
  #bytes = 0;

  constructor(source: LogSource) {
    this.#source = source;
  }

  get cursor(): LogCursor | undefined {
    return this.#cursor;
  }

  /** Reads where the stored log ends. */
  async open(): Promise<void> {
    const { store, run, attempt, container, cursor } = this.#source;
    const end = await store.end(run, attempt, container);
    this.#sequence = end.sequence;
    this.#cursor = furthest(end.cursor, furthest(this.#cursor, parseCursor(cursor)));
  }

  async push(line: LogLine): Promise<void> {
    if (isBehind(line.at, this.#cursor)) return;
    await this.#source.onLine?.(line);
    const pending = pendingOf(line);
    if (this.#bytes + pending.bytes > MAX_LOG_CHUNK_BYTES) {
      await this.flush();
      // Another writer may have stored this very line meanwhile.
      if (isBehind(line.at, this.#cursor)) return;
    }
    this.#pending.push(pending);
    this.#bytes += pending.bytes;
  }

  async flush(): Promise<void> {
    const { store, run, attempt, container } = this.#source;
    for (let turn = 0; turn < MAX_TURNS; turn += 1) {
      const last = this.#pending.at(-1);
      if (last === undefined) break;
      const text = this.#pending.map((line) => line.text).join('');
      const stored = await store.append(run, attempt, container, { text, to: last.at }, this.#sequence);
      if (stored.kind === 'stored') {
        this.#sequence = stored.sequence;
        this.#cursor = last.at;
        this.#pending = [];
        break;
      }
      await this.open();
      this.#pending = this.#pending.filter(({ at }) => !isBehind(at, this.#cursor));
    }
    if (this.#pending.length > 0)
      throw new ReentryError('BUSY', `the log of container ${container} is being stored by somebody else`, {
        transient: true,
      });
    this.#bytes = 0;
  }
}

/**
 * Reads a container's log from where the stored one ends to where it ends now, and stores it in chunks of at most 64 KiB.
 * Whatever the node does, it does not fail: what could not be read makes the reading incomplete.
 * @throws ReentryError when the broker cannot store (transient): the step is to be repeated, and goes on where this one stopped.
 */
export async function storeContainerLog(source: LogSource): Promise<LogReading> {
  const { cluster, pod, container, log, signal } = source;
  const appender = new Appender(source);
  await appender.open();
  let gaps = 0;
  let complete = true;
  const lines = cluster
    .logs(pod, container, { from: appender.cursor, ...(signal === undefined ? {} : { signal }) })
    [Symbol.asyncIterator]();
  for (;;) {
    let next: IteratorResult<LogLine>;
    try {
      next = await lines.next();
    } catch (error) {
      // The node or the API, not the broker: logs never fail a run.
      log.warn({ container, pod: pod.name, err: error }, 'log could not be read to its end');
      complete = false;
      break;
    }
    if (next.done === true) break;
    if (next.value.gap === true) gaps += 1;
    await appender.push(next.value);
  }
  await appender.flush();
  return { cursor: appender.cursor === undefined ? undefined : formatCursor(appender.cursor), gaps, complete };
}
