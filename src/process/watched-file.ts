/** A configuration file, read again when it changes, so that no process has to be restarted. A version that is invalid changes nothing. */
import { readFileSync, statSync } from 'node:fs';
import { interval, ignoreElements, startWith, tap } from 'rxjs';
import type { Observable } from 'rxjs';
import { messageOf, ReentryError } from '../errors.ts';
import type { Log, Meter } from '../ports/ambient.ts';
import { unreadable } from './files.ts';

/** Minimum interval between two checks for a change. */
const CHECK_EVERY_MS = 1_000;
/** How often it is checked where nothing asks for it. */
const LOOK_EVERY_MS = 5_000;

/** What a file is watched with. */
export interface WatchedFileOptions<T> {
  /** What the file is, in messages and in the metric. */
  readonly kind: 'policy' | 'connections';
  readonly path: string;
  /** @throws ReentryError CONFIG_INVALID with file, path in the file and problem */
  readonly parse: (path: string, content: string) => T;
  readonly log: Log;
  readonly meter: Meter;
  /** Epoch milliseconds. Default `Date.now`. */
  readonly now?: () => number;
}

/** The last valid content of a file. */
export class WatchedFile<T> {
  readonly #options: WatchedFileOptions<T>;
  readonly #now: () => number;
  #value: T | undefined;
  #problem: string | undefined;
  #version: string | undefined;
  #checkedAt = Number.NEGATIVE_INFINITY;

  /** Reads the file. One that is invalid or missing is logged and has no value until it is mended. */
  constructor(options: WatchedFileOptions<T>) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#look();
  }

  /** The last valid content; `undefined`: there has been none since this process started. */
  get value(): T | undefined {
    this.#look();
    return this.#value;
  }

  /** What is wrong with the file as it is now, and what is used instead; `undefined`: nothing. */
  get problem(): string | undefined {
    this.#look();
    const { kind } = this.#options;
    if (this.#problem === undefined) return undefined;
    const used = this.#value === undefined ? 'there is none to use instead' : 'the last valid one stays in force';
    return `the ${kind} file is invalid, and ${used}: ${this.#problem}`;
  }

  /** Looks for changes every 5 s, whether or not a run needs the file. Never completes. */
  get looks$(): Observable<never> {
    return interval(LOOK_EVERY_MS).pipe(
      startWith(0),
      tap(() => {
        this.#look();
      }),
      ignoreElements(),
    );
  }

  #look(): void {
    const { kind, path, parse, log, meter } = this.#options;
    const at = this.#now();
    if (at >= this.#checkedAt && at - this.#checkedAt < CHECK_EVERY_MS) return;
    this.#checkedAt = at;
    const version = versionOf(path);
    if (version === this.#version) return;
    const isFirst = this.#version === undefined;
    this.#version = version;
    try {
      this.#value = parse(path, contentOf(path));
      this.#problem = undefined;
      if (!isFirst) log.info({ file: path }, `${kind} file reloaded`);
    } catch (error) {
      this.#problem = oneLine(error);
      log.error({ file: path, error: messageOf(error) }, this.problem ?? '');
    }
    meter.gauge('config_file_valid', this.#problem === undefined ? 1 : 0, { file: kind });
  }
}

function contentOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

/** Identifies a version of the file. The inode is part of it because a mounted ConfigMap changes by swapping a link. */
function versionOf(path: string): string {
  try {
    const { mtimeMs, size, ino } = statSync(path);
    return `${String(mtimeMs)}/${String(size)}/${String(ino)}`;
  } catch {
    return 'missing';
  }
}

/** The first problems of the file, on one line. */
function oneLine(error: unknown): string {
  const problems = error instanceof ReentryError ? error.problems : [];
  if (problems.length === 0) return messageOf(error);
  const first = problems.slice(0, 3).map(({ path, message }) => `${path}: ${message}`);
  const more = problems.length - first.length;
  return `${first.join('; ')}${more > 0 ? ` (and ${String(more)} more)` : ''}`;
}
