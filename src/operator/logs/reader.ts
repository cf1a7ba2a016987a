/** A container's log from the node into the store, each line once. @see spec protocol §9 */
import {
  formatCursor,
  formatNanos,
  furthest,
  isBehind,
  LOG_GAP_TEXT,
  type LogCursor,
  parseCursor,
} from '../../core/log/cursor.ts';
import { ReentryError } from '../../errors.ts';
import type { PodRef } from '../../core/pod/projection.ts';
import type { Log } from '../../ports/ambient.ts';
import type { Cluster, LogLine } from '../../ports/cluster.ts';
import type { LogStore } from '../../ports/stores.ts';
import { MAX_LOG_CHUNK_BYTES } from '../../wire/streams.ts';
import type { RunKey } from '../../wire/subjects.ts';
import { LogChunk } from './chunk.ts';

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
  readonly format?: LineFormat | undefined;
  /** How often the container was started again: the log of its run before is read first. */
  readonly restartCount?: number | undefined;
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

/** Cuts on a character's border. */
function cutBytes(text: string, bytes: number): string {
  return new TextDecoder().decode(new TextEncoder().encode(text).subarray(0, bytes)).replace(/\uFFFD+$/, '');
}

/** What is stored of a line instead of its text: the seed's `log_formatter`. May give several lines. */
export type LineFormat = (containerName: string, text: string) => string;

/** A line as it stands in stored and live chunks, a gap before it marked. */
export function storedLine(line: LogLine, container: string, format?: LineFormat): string {
  const stamp = formatNanos(line.at.nanos);
  const mark = line.gap === true ? `${stamp} ${LOG_GAP_TEXT}\n` : '';
  const whole = `${mark}${stamp} ${format === undefined ? line.text : formatted(line.text, container, format)}\n`;
  // The adapter gives long lines in pieces; this only guards the broker's limit.
  return Buffer.byteLength(whole) > MAX_LOG_CHUNK_BYTES ? `${cutBytes(whole, MAX_LOG_CHUNK_BYTES - 64)}…\n` : whole;
}

/** A formatter that throws is no reason to lose a line. */
function formatted(text: string, container: string, format: LineFormat): string {
  try {
    return format(container, text);
  } catch {
    return text;
  }
}

/** Appends lines behind the stored end; two writers at once store each line once between them. Holds at most one chunk. */
class Appender {
  readonly #source: LogSource;
  #cursor: LogCursor | undefined;
  #sequence = 0;
  readonly #pending = new LogChunk();

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
    const text = storedLine(line, this.#source.container, this.#source.format);
    const bytes = Buffer.byteLength(text);
    if (!this.#pending.hasRoomFor(bytes)) {
      await this.flush();
      // Another writer may have stored this very line meanwhile.
      if (isBehind(line.at, this.#cursor)) return;
    }
    this.#pending.push(line.at, text, bytes);
  }

  async flush(): Promise<void> {
    const { store, run, attempt, container } = this.#source;
    for (let turn = 0; turn < MAX_TURNS; turn += 1) {
      const { bytes, to } = this.#pending;
      if (to === undefined) return;
      const stored = await store.append(run, attempt, container, { text: bytes, to }, this.#sequence);
      if (stored.kind === 'stored') {
        this.#sequence = stored.sequence;
        this.#cursor = to;
        this.#pending.clear();
        return;
      }
      await this.open();
      this.#pending.dropBehind(this.#cursor);
    }
    if (this.#pending.to !== undefined)
      throw new ReentryError('BUSY', `the log of container ${container} is being stored by somebody else`, {
        transient: true,
      });
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
    .logs(pod, container, {
      from: appender.cursor,
      restarted: (source.restartCount ?? 0) > 0,
      ...(signal === undefined ? {} : { signal }),
    })
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
