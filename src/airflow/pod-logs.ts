/** Following a container's log, for programs that run a pod themselves. @see spec pod-operator §6.5, §6.12 */
import { forwarded, isLogGroupMarker, parsedLogLine, parseLogLevel } from '../core/log/records.ts';
import type { PodRef } from '../core/pod/projection.ts';
import { KubernetesError } from '../errors.ts';
import type { Log } from '../ports/ambient.ts';
import type { Cluster } from '../ports/cluster.ts';
import type { Clock } from './defaults.ts';
import { ExecutionMode, type PodCallbacks, RunCallbacks } from '../operator/callbacks.ts';

/** Where following a log has come to. */
export interface PodLoggingStatus {
  /** Whether the container still runs. */
  readonly running: boolean;
  /** Time of the newest record read; absent where none was. */
  readonly lastLogTime: Date | undefined;
}

/** How a log is read. */
export interface FetchLogOptions {
  readonly follow?: boolean;
  readonly sinceTime?: Date;
  /** Puts `[container] ` before each line. Default true. */
  readonly containerNameLogPrefixEnabled?: boolean;
  /** Replaces the prefix. */
  readonly logFormatter?: (containerName: string, message: string) => string;
}

/** Whose log is followed, and with what. */
export interface LogFollow {
  readonly client: Cluster;
  readonly pod: PodRef;
  readonly containerName: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly callbacks: readonly PodCallbacks[];
  isRunning(): Promise<boolean>;
  /** Lines `<RFC 3339 time> <text>`; one without a time belongs to the one before. */
  open(from: { readonly sinceSeconds?: number }): AsyncIterable<string>;
}

/** Timestamp and text of a line; only RFC 3339 at its start is a time. */
export function parseLogLine(line: string): { readonly timestamp: Date | undefined; readonly message: string } {
  const { nanos, message } = parsedLogLine(line);
  return { timestamp: nanos === undefined ? undefined : new Date(Number(nanos / 1_000_000n)), message };
}

/** Levels of our log for those that a line may begin with. */
const LEVELS = { debug: 'debug', info: 'info', warning: 'warn', error: 'error', critical: 'error' } as const;

/** What the log is told of a record: with a prefix, unless it opens or closes a group. */
function shown(containerName: string, message: string, options: FetchLogOptions): string {
  if (options.logFormatter !== undefined && !isLogGroupMarker(message))
    return options.logFormatter(containerName, message);
  return forwarded(message, containerName, options.containerNameLogPrefixEnabled);
}

interface Consumed {
  readonly last: Date | undefined;
  readonly error: unknown;
}

/**
 * Reads to the end of what there is, with `follow` until the container has stopped. An interrupted stream is opened again where it stood;
 * up to a second of lines may come twice. @throws KubernetesError of the API itself (401, 404)
 */
export async function fetchContainerLogs(follow: LogFollow, options: FetchLogOptions): Promise<PodLoggingStatus> {
  let last = options.sinceTime;
  for (;;) {
    const consumed = await consume(follow, options, last);
    last = consumed.last ?? last;
    if (!(await follow.isRunning())) return { running: false, lastLogTime: last };
    if (options.follow !== true) return { running: true, lastLogTime: last };
    if (consumed.error !== undefined)
      follow.log.warn(
        { pod: follow.pod.name, err: consumed.error },
        'the log was interrupted; a second of it may repeat',
      );
    await follow.clock.sleep(1000);
  }
}

async function consume(follow: LogFollow, options: FetchLogOptions, since: Date | undefined): Promise<Consumed> {
  const { clock, containerName, client, pod, log } = follow;
  const sinceSeconds = since === undefined ? undefined : Math.ceil((clock.now() - since.getTime()) / 1000);
  const callbacks = new RunCallbacks(follow.callbacks, log);
  let last: Date | undefined;
  let record: { timestamp: Date; text: string } | undefined;
  const emit = async (): Promise<void> => {
    if (record === undefined) return;
    const { timestamp, text } = record;
    record = undefined;
    const scene = { line: text, client, mode: ExecutionMode.SYNC, containerName, timestamp, pod };
    await callbacks.fire('progressCallback', scene);
    log[LEVELS[parseLogLevel(text)]]({ container: containerName }, shown(containerName, text, options));
  };
  let broken: unknown;
  try {
    for await (const line of follow.open(sinceSeconds === undefined || sinceSeconds <= 0 ? {} : { sinceSeconds })) {
      const { timestamp, message } = parseLogLine(line);
      if (timestamp !== undefined) {
        await emit();
        record = { timestamp, text: message };
        last = timestamp;
      } else {
        const rest = message.replace(/\n+$/, '');
        if (record !== undefined) record.text += `\n${rest}`;
        // A stream that begins in the middle of a record: nothing of it is lost.
        else record = { timestamp: last ?? since ?? new Date(clock.now()), text: rest };
      }
    }
  } catch (error) {
    await emit();
    if (!(error instanceof KubernetesError) || error.status !== 0) throw error;
    broken = error;
  }
  await emit();
  return { last, error: broken };
}
