import { closeSync, existsSync, openSync, readSync, renameSync, writeSync } from 'node:fs';

/** When a log file is rotated, and how many are retained. The kubelet's defaults are 10 MiB and 5. */
export interface LogRotation {
  readonly maxBytes: number;
  readonly maxFiles: number;
}

/** Longer lines are stored in parts, as container runtimes do. */
const MAX_PART_BYTES = 16 * 1024;
const NEWLINE = 0x0a;

/** Bytes before the content of a stored line: time, space, `F` (full) or `P` (partial), space. */
export const STAMP_BYTES = 30;
export const PREFIX_BYTES = STAMP_BYTES + 3;

/** The log of one run of a container: written here, followed by {@link LogReader}s. */
export class LogFile {
  readonly path: string;
  readonly #rotation: LogRotation;
  #fd: number;
  #bytes = 0;
  #rest = Buffer.alloc(0);
  #wake: (() => void)[] = [];
  /** How often the file was rotated; a reader that sees it change opens the new file. */
  generation = 0;
  /** Whether the log is complete. */
  ended = false;

  constructor(path: string, rotation: LogRotation) {
    this.path = path;
    this.#rotation = rotation;
    this.#fd = openSync(path, 'w', 0o600);
  }

  /** Appends output of the container. */
  write(chunk: Buffer): void {
    const stamp = timestamp();
    const parts: Buffer[] = [];
    let data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    for (;;) {
      const end = data.indexOf(NEWLINE);
      if (end < 0 && data.length < MAX_PART_BYTES) break;
      const full = end >= 0 && end <= MAX_PART_BYTES;
      const length = full ? end : MAX_PART_BYTES;
      parts.push(Buffer.from(`${stamp} ${full ? 'F' : 'P'} `), data.subarray(0, length), Buffer.from('\n'));
      data = data.subarray(full ? end + 1 : length);
    }
    this.#rest = Buffer.from(data);
    this.#append(parts);
  }

  /** Writes an unfinished last line and closes the file. */
  end(): void {
    if (this.ended) return;
    if (this.#rest.length > 0) this.#append([Buffer.from(`${timestamp()} P `), this.#rest, Buffer.from('\n')]);
    this.ended = true;
    closeSync(this.#fd);
    this.#notify();
  }

  #append(parts: readonly Buffer[]): void {
    if (parts.length === 0) return;
    // Before writing, not after: else the output of a short container could be rotated away at its end, unread.
    if (this.#bytes >= this.#rotation.maxBytes) this.#rotate();
    const data = Buffer.concat(parts);
    writeSync(this.#fd, data);
    this.#bytes += data.length;
    this.#notify();
  }

  #rotate(): void {
    closeSync(this.#fd);
    for (let index = this.#rotation.maxFiles - 1; index >= 1; index -= 1) {
      const from = index === 1 ? this.path : `${this.path}.${String(index - 1)}`;
      if (existsSync(from)) renameSync(from, `${this.path}.${String(index)}`);
    }
    this.#fd = openSync(this.path, 'w', 0o600);
    this.#bytes = 0;
    this.generation += 1;
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = [];
    for (const resolve of wake) resolve();
  }

  /** Resolves when something was written or the log ended. */
  changed(): Promise<void> {
    return this.ended ? Promise.resolve() : new Promise((resolve) => this.#wake.push(resolve));
  }
}

/** Reads a log file from its start, across rotations. */
export class LogReader {
  readonly #log: LogFile;
  #fd: number;
  #generation: number;

  constructor(log: LogFile) {
    this.#log = log;
    this.#generation = log.generation;
    this.#fd = openSync(log.path, 'r');
  }

  /** What was written since the last call, in whole stored lines; empty when there is nothing new. */
  read(): Buffer {
    const chunks: Buffer[] = [];
    for (;;) {
      const chunk = Buffer.alloc(256 * 1024);
      const bytes = readSync(this.#fd, chunk);
      if (bytes > 0) {
        chunks.push(chunk.subarray(0, bytes));
        continue;
      }
      if (this.#generation === this.#log.generation) break;
      // The old file was read to its end; continue with the newest. Files in between are lost, as with a kubelet.
      closeSync(this.#fd);
      this.#generation = this.#log.generation;
      this.#fd = openSync(this.#log.path, 'r');
    }
    return Buffer.concat(chunks);
  }

  close(): void {
    closeSync(this.#fd);
  }
}

const startedNs = BigInt(Date.now()) * 1_000_000n - process.hrtime.bigint();

/** The current time as stored: RFC 3339 with nine fractional digits, of constant length, never decreasing. */
function timestamp(): string {
  const ns = startedNs + process.hrtime.bigint();
  const seconds = new Date(Number(ns / 1_000_000n)).toISOString().slice(0, 19);
  return `${seconds}.${String(ns % 1_000_000_000n).padStart(9, '0')}Z`;
}
