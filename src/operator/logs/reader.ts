/** Copies a container's log from its node into the store, each line once. */
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

/** What to read, and where to store it. */
export interface LogSource {
  readonly cluster: Cluster;
  readonly pod: PodRef;
  readonly container: string;
  readonly run: RunKey;
  readonly attempt: number;
  readonly store: LogStore;
  /** The cursor in the run's state: where to continue when the stored log has been evicted. */
  readonly cursor?: string | undefined;
  readonly log: Log;
  /** Called with each line before it is stored. */
  readonly onLine?: ((line: LogLine) => Promise<void>) | undefined;
  readonly format?: LineFormat | undefined;
  /** How often the container was restarted; if it was, the log of its previous run is read first. */
  readonly restartCount?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The result of one reading. */
export interface LogReading {
  /** Where the stored log ends now, `<nanoseconds>:<lines>`; `undefined` where nothing is stored. */
  readonly cursor: string | undefined;
  /** Gaps found in this reading, where the node has rotated lines away. */
  readonly gaps: number;
  /** Why the log could not be read to its end. */
  readonly failure?: unknown;
}

/** How many conflicts with another writer are retried before the step is requeued. */
const MAX_CONFLICTS = 20;

/** Truncates to `bytes` without splitting a character. */
function cutBytes(text: string, bytes: number): string {
  return new TextDecoder().decode(new TextEncoder().encode(text).subarray(0, bytes)).replace(/\uFFFD+$/, '');
}

/** Makes the stored text of a line, as Airflow's `log_formatter`. May return several lines. */
export type LineFormat = (containerName: string, text: string) => string;

/** A line in the form of stored and live chunks, with a mark for a gap before it. */
export function storedLine(line: LogLine, container: string, format?: LineFormat): string {
  const stamp = formatNanos(line.at.nanos);
  const mark = line.gap === true ? `${stamp} ${LOG_GAP_TEXT}\n` : '';
  const whole = `${mark}${stamp} ${format === undefined ? line.text : formatted(line.text, container, format)}\n`;
  // The adapter splits long lines; this only guards the broker's limit.
  return Buffer.byteLength(whole) > MAX_LOG_CHUNK_BYTES ? `${cutBytes(whole, MAX_LOG_CHUNK_BYTES - 64)}…\n` : whole;
}

/** The formatter's text; the line's own where the formatter throws. */
function formatted(text: string, container: string, format: LineFormat): string {
  try {
    return format(container, text);
  } catch {
    return text;
  }
}

/** Appends lines after the stored end. Two writers at the same time store each line once between them. Holds at most one chunk. */
class Appender {
  readonly #source: LogSource;
  /** Where the stored log ends. */
  cursor: LogCursor | undefined;
  #sequence = 0;
  readonly #pending = new LogChunk();

  constructor(source: LogSource) {
    this.#source = source;
  }

  /** Finds where the stored log ends. */
  async open(): Promise<void> {
    const { store, run, attempt, container, cursor } = this.#source;
    const end = await store.end(run, attempt, container);
    this.#sequence = end.sequence;
    this.cursor = furthest(end.cursor, furthest(this.cursor, parseCursor(cursor)));
  }

  async push(line: LogLine): Promise<void> {
    if (isBehind(line.at, this.cursor)) return;
    await this.#source.onLine?.(line);
    const text = storedLine(line, this.#source.container, this.#source.format);
    const bytes = Buffer.byteLength(text);
    if (!this.#pending.hasRoomFor(bytes)) {
      await this.flush();
      // Another writer may have stored this line meanwhile.
      if (isBehind(line.at, this.cursor)) return;
    }
    this.#pending.push(line.at, text, bytes);
  }

  async flush(): Promise<void> {
    const { store, run, attempt, container } = this.#source;
    for (let conflicts = 0; conflicts < MAX_CONFLICTS; conflicts += 1) {
      const { bytes, to } = this.#pending;
      if (to === undefined) return;
      const stored = await store.append(run, attempt, container, { text: bytes, to }, this.#sequence);
      if (stored.kind === 'stored') {
        this.#sequence = stored.sequence;
        this.cursor = to;
        this.#pending.clear();
        return;
      }
      await this.open();
      this.#pending.dropBehind(this.cursor);
    }
    if (this.#pending.to !== undefined)
      throw new ReentryError('BUSY', `another writer is storing the log of container ${container}`, {
        transient: true,
      });
  }
}

/**
 * Reads a container's log from where the stored log ends to where it ends now, and stores it in chunks of at most 64 KiB. An error of the node does not
 * fail it, but is part of the reading.
 * @throws ReentryError when the broker cannot store (transient): the repeated step continues where this one stopped
 */
export async function storeContainerLog(source: LogSource): Promise<LogReading> {
  const { cluster, pod, container, log, signal } = source;
  const appender = new Appender(source);
  await appender.open();
  let gaps = 0;
  let failure: unknown;
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
      log.warn({ container, pod: pod.name, err: error }, 'the log could not be read to its end');
      failure = error ?? new Error('unknown');
      break;
    }
    if (next.done === true) break;
    if (next.value.gap === true) gaps += 1;
    await appender.push(next.value);
  }
  await appender.flush();
  return { cursor: appender.cursor === undefined ? undefined : formatCursor(appender.cursor), gaps, failure };
}
