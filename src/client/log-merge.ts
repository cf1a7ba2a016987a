/** Merges stored and live text of a run into one log: each line once, in order per container. */
import { isBehind, type LogCursor, type ChunkLine, LogCursors, chunkLines } from '../core/log/cursor.ts';
import { prefixOf } from '../core/log/records.ts';
import type { LiveChunk } from '../ports/broker.ts';
import { isNote, type LogText, type StoredText } from './log-lines.ts';

/** Live chunks buffered while history is read. More are dropped and requested again. */
const MAX_WAITING = 1_000;

/** How far one container's log has been given. */
interface Progress {
  /** Places of the stored lines, counted from the first. */
  readonly stored: LogCursors;
  /** The last line given, stored or live. */
  given: LogCursor | undefined;
}

/** Stored and live text as one log. */
export class LogMerge {
  readonly #which: { readonly attempt?: number | undefined; readonly container?: string | undefined };
  readonly #progress = new Map<string, Progress>();
  #waiting: LiveChunk[] = [];
  #lost = true;
  #unfollowed = false;
  #named = false;

  /** `which`: only this attempt or container. */
  constructor(which: { readonly attempt?: number | undefined; readonly container?: string | undefined } = {}) {
    this.#which = which;
  }

  /** Whether the follow must begin from the end of the stored log again: live text was missed, or none was requested yet. Resets it. */
  takeMissed(): boolean {
    const lost = this.#lost || this.#unfollowed;
    this.#lost = false;
    this.#unfollowed = false;
    return lost;
  }

  /** No worker follows yet: the next request asks for the whole again. Not at once, since no worker can answer. */
  markUnfollowed(): void {
    this.#unfollowed = true;
  }

  /** From now on each line has its container's name as prefix, unless one container was selected. */
  nameContainers(): void {
    this.#named = this.#which.container === undefined;
  }

  /** Whether live text was missed. */
  get hasMissed(): boolean {
    return this.#lost;
  }

  /** Buffers a live chunk for the next call of `live`. */
  addLive(chunk: LiveChunk): void {
    const { attempt, container } = this.#which;
    if ((attempt ?? chunk.attempt) !== chunk.attempt || (container ?? chunk.container) !== chunk.container) return;
    if (this.#waiting.length >= MAX_WAITING) {
      this.#waiting = [];
      this.#lost = true;
    }
    this.#waiting.push(chunk);
  }

  /** The lines of a stored chunk that were not given yet. Chunks must come in stream order, from the beginning of the log. */
  *stored(chunk: StoredText): Generator<LogText> {
    const { attempt, container, text } = chunk;
    if (this.#which.container === undefined && isNote(container)) return;
    const progress = this.#of(attempt, container);
    yield* this.#given(progress, attempt, container, chunkLines(text, progress.stored));
  }

  /** The buffered live lines that continue what was given. The others are missed: they come with the history, or when the follow begins again. */
  *live(): Generator<LogText> {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { attempt, container, text, after } of waiting) {
      const progress = this.#of(attempt, container);
      if (after !== undefined && !isBehind(after, progress.given)) {
        this.#lost = true;
        continue;
      }
      yield* this.#given(progress, attempt, container, chunkLines(text, new LogCursors(after)));
    }
  }

  *#given(...of: Parameters<typeof given>): Generator<LogText> {
    for (const line of given(...of)) {
      const prefix = this.#named ? prefixOf(line.container, line.text) : '';
      yield prefix === '' ? line : { ...line, prefix };
    }
  }

  #of(attempt: number, container: string): Progress {
    const key = `${String(attempt)}/${container}`;
    const known = this.#progress.get(key);
    if (known !== undefined) return known;
    const fresh: Progress = { stored: new LogCursors(), given: undefined };
    this.#progress.set(key, fresh);
    return fresh;
  }
}

/** The lines not given yet. A gap mark belongs to the line after it, a line without a time to the one before. */
function* given(
  progress: Progress,
  attempt: number,
  container: string,
  lines: Iterable<ChunkLine>,
): Generator<LogText> {
  let mark: LogText | undefined;
  let gave = false;
  for (const { kind, at, time, text } of lines) {
    const line = { attempt, container, time, text };
    if (kind === 'gap') mark = line;
    else if (kind === 'more') {
      if (gave) yield line;
    } else {
      gave = !isBehind(at, progress.given);
      if (gave) {
        if (mark !== undefined) yield mark;
        progress.given = at;
        yield line;
      }
      mark = undefined;
    }
  }
}
