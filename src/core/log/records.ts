/**
 * How Airflow processes a log: lines parsed, joined to records, with a level and a prefix. Pure.
 * @see airflow.providers.cncf.kubernetes.utils.pod_manager
 */
import { stampOf } from './cursor.ts';
import type { ContainerProjection } from '../pod/projection.ts';

/** A line and its time in nanoseconds since the epoch. Without a time it continues the line before. */
export interface ParsedLogLine {
  readonly nanos: bigint | undefined;
  /** Without time and trailing newlines; a line without a time is unchanged. */
  readonly message: string;
}

/** Airflow's `parse_log_line`. A time is RFC 3339 at the start of the line. */
export function parsedLogLine(line: string): ParsedLogLine {
  const stamp = stampOf(line.replace(/\n+$/, ''));
  return stamp === undefined
    ? { nanos: undefined, message: line }
    : { nanos: stamp.nanos, message: line.slice(stamp.length).replace(/\n+$/, '') };
}

/** Levels of forwarded lines. */
export type LogLevel = 'debug' | 'info' | 'warning' | 'error' | 'critical';

const LEVELS: Readonly<Record<string, LogLevel>> = {
  debug: 'debug',
  info: 'info',
  warn: 'warning',
  warning: 'warning',
  error: 'error',
  critical: 'critical',
  fatal: 'critical',
};

/** The level at the start of a message, in brackets or not; `info` when there is none. */
export function parseLogLevel(message: string): LogLevel {
  const word = /^\s*(?:\[\s*)?(critical|fatal|error|warning|warn|debug|info)/i.exec(message)?.[1];
  return LEVELS[word?.toLowerCase() ?? 'info'] ?? 'info';
}

/** Whether a line opens or closes a foldable group. Such lines are forwarded unchanged, without prefix and level. */
export function isLogGroupMarker(line: string): boolean {
  return line.startsWith('::group::') || line.startsWith('::endgroup::');
}

/** A line and those that continue it. */
export interface LogRecord {
  /** Absent on lines before the first time of a reading. */
  readonly nanos: bigint | undefined;
  readonly text: string;
}

/** Joins lines to records. Lines before the first time are one record, and an empty line is a record; Airflow loses both. */
export class LogRecords {
  #open: { readonly nanos: bigint | undefined; text: string } | undefined;

  /** Adds a line; returns the record that it ends, if it begins another one. */
  push(line: string): LogRecord | undefined {
    const { nanos, message } = parsedLogLine(line);
    const text = message.replace(/\n+$/, '');
    if (nanos === undefined && this.#open !== undefined) {
      this.#open.text += `\n${text}`;
      return undefined;
    }
    const ended = this.#open;
    this.#open = { nanos, text };
    return ended;
  }

  /** The last record, once there are no more lines. */
  end(): LogRecord | undefined {
    const ended = this.#open;
    this.#open = undefined;
    return ended;
  }
}

/** Prefix that names the container; empty for group markers. */
export const prefixOf = (container: string, text: string): string => (isLogGroupMarker(text) ? '' : `[${container}] `);

/** A record's text as it is forwarded: prefixed with its container, unless it is a group marker or `withPrefix` is false. */
export function forwarded(text: string, container: string, withPrefix = true): string {
  return withPrefix ? prefixOf(container, text) + text : text;
}

/**
 * Whether a container's log is worth waiting for: it is running, or ended less than `afterEndSeconds` ago.
 * @param now epoch milliseconds
 */
export function logsAvailable(
  container: Pick<ContainerProjection, 'state' | 'finishedAt'> | undefined,
  now: number,
  afterEndSeconds = 120,
): boolean {
  if (container?.state === 'running') return true;
  const { finishedAt } = container ?? {};
  return container?.state === 'terminated' && finishedAt !== undefined && finishedAt + afterEndSeconds * 1000 > now;
}
