/** Following a container's log for `PodManager`: joins continued lines, calls `progressCallback`, reconnects after interruptions. */
import {
  forwarded,
  isLogGroupMarker,
  type LogRecord,
  LogRecords,
  parsedLogLine,
  parseLogLevel,
} from '../core/log/records.ts';
import type { PodRef } from '../core/pod/projection.ts';
import { KubernetesError } from '../errors.ts';
import { ExecutionMode, type PodCallbacks } from '../operator/callbacks.ts';
import { RunCallbacks } from '../operator/step-callbacks.ts';
import type { Log } from '../ports/ambient.ts';
import type { Cluster } from '../ports/cluster.ts';
import { isTransientFailure } from './api-retry.ts';
import type { Clock } from './defaults.ts';

/** How far a log was read. */
export interface PodLoggingStatus {
  /** Whether the container is still running. */
  readonly running: boolean;
  /** Time of the last record read; absent when there was none. */
  readonly lastLogTime: Date | undefined;
}

/** Options of reading a log. */
export interface FetchLogOptions {
  readonly follow?: boolean;
  readonly sinceTime?: Date;
  /** Prefix each line with `[container] `. Default true. */
  readonly containerNameLogPrefixEnabled?: boolean;
  /** Formats a line instead of the prefix. */
  readonly logFormatter?: (containerName: string, message: string) => string;
}

/** The log to follow and what following it needs. */
export interface LogFollow {
  readonly client: Cluster;
  readonly pod: PodRef;
  readonly containerName: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly callbacks: readonly PodCallbacks[];
  isRunning(): Promise<boolean>;
  /** Lines of the form `<RFC 3339 time> <text>`; a line without a time continues the previous one. */
  open(from: { readonly sinceSeconds?: number }): AsyncIterable<string>;
}

/** Timestamp and text of a line. Only an RFC 3339 time at its start counts. */
export function parseLogLine(line: string): { readonly timestamp: Date | undefined; readonly message: string } {
  const { nanos, message } = parsedLogLine(line);
  return { timestamp: nanos === undefined ? undefined : dateOf(nanos), message };
}

const dateOf = (nanos: bigint): Date => new Date(Number(nanos / 1_000_000n));

/** Log methods for the levels that a line may start with. */
const LEVELS = { debug: 'debug', info: 'info', warning: 'warn', error: 'error', critical: 'error' } as const;

/** A record as it is logged: with a prefix, unless it opens or closes a log group. */
function shown(containerName: string, message: string, options: FetchLogOptions): string {
  if (options.logFormatter !== undefined && !isLogGroupMarker(message))
    return options.logFormatter(containerName, message);
  return forwarded(message, containerName, options.containerNameLogPrefixEnabled);
}

/** Attempts of reading a log that the API server answers with an error, as in Airflow. */
const READ_ATTEMPTS = 3;

interface Consumed {
  readonly last: Date | undefined;
  readonly error: KubernetesError | undefined;
}

/**
 * Reads the log to its present end, with `follow` until the container has ended. An interrupted stream is reopened at the last record; up to one
 * second of lines may repeat. Where nothing is left to follow, and after an error of the API server that may pass, it is read again, in three attempts.
 * @throws KubernetesError when the API server responds with another error, and after three attempts
 */
export async function fetchContainerLogs(follow: LogFollow, options: FetchLogOptions): Promise<PodLoggingStatus> {
  let last = options.sinceTime;
  for (let failures = 0; ;) {
    const consumed = await consume(follow, options, last);
    last = consumed.last ?? last;
    const { error } = consumed;
    const running = await follow.isRunning();
    const isFollowing = running && options.follow === true;
    if (error !== undefined && (error.status !== 0 || !isFollowing)) {
      failures += 1;
      if (failures === READ_ATTEMPTS || !isTransientFailure(error)) throw error;
      await follow.clock.sleep(1000 * 2 ** (failures - 1));
      continue;
    }
    failures = 0;
    if (!isFollowing) return { running, lastLogTime: last };
    if (error !== undefined)
      follow.log.warn(
        { pod: follow.pod.name, err: error },
        'log stream interrupted; up to one second of lines may repeat',
      );
    await follow.clock.sleep(1000);
  }
}

async function consume(follow: LogFollow, options: FetchLogOptions, since: Date | undefined): Promise<Consumed> {
  const { clock, containerName, client, pod, log } = follow;
  const sinceSeconds = since === undefined ? undefined : Math.ceil((clock.now() - since.getTime()) / 1000);
  const callbacks = new RunCallbacks(follow.callbacks, log);
  let last: Date | undefined;
  const records = new LogRecords();
  const emit = async (record: LogRecord | undefined): Promise<void> => {
    if (record === undefined) return;
    const { nanos, text } = record;
    // The stream starts in the middle of a record; keep the rest of it.
    const timestamp = nanos === undefined ? (since ?? new Date(clock.now())) : dateOf(nanos);
    if (nanos !== undefined) last = timestamp;
    const args = { line: text, client, mode: ExecutionMode.SYNC, containerName, timestamp, pod };
    await callbacks.fire('progressCallback', args);
    log[LEVELS[parseLogLevel(text)]]({ container: containerName }, shown(containerName, text, options));
  };
  let broken: KubernetesError | undefined;
  try {
    for await (const line of follow.open(sinceSeconds === undefined || sinceSeconds <= 0 ? {} : { sinceSeconds })) {
      await emit(records.push(line));
    }
  } catch (error) {
    await emit(records.end());
    if (!(error instanceof KubernetesError)) throw error;
    broken = error;
  }
  await emit(records.end());
  return { last, error: broken };
}
