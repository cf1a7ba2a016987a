/** Airflow's `log_events_on_startup` without polling: the Kubernetes events of a start that was slow or failed, in a log of their own. */
import { podVerdict } from '../../core/pod/judge.ts';
import { formatCursor, formatNanos, isBehind, type LogCursor, LogCursors, parseCursor } from '../../core/log/cursor.ts';
import { baseContainerOf, type PodProjection } from '../../core/pod/projection.ts';
import type { Cluster, PodEventLine } from '../../ports/cluster.ts';
import { MAX_LOG_CHUNK_BYTES } from '../../wire/streams.ts';
import type { PodParams } from '../pod-params.ts';
import { eventsOf, type PodStep } from '../pod-step.ts';

/** Log of a pod's start; no container can have this name. */
const STARTUP_LOG = 'pod.startup';

/** A start is slow after this time or after half its time-out, in milliseconds. A normal start costs no read of events. */
const SLOW_START_MS = 30_000;
/** Resolution of the kubelet's times, in milliseconds. */
const CLUSTER_TIME_STEP_MS = 1_000;
/** Concurrent reads of events per cluster; with more slow starts than that, further reads would make them slower. */
const MAX_CONCURRENT_READS = 4;
/** Limit of one event's text, in characters. */
const MAX_TEXT = 1_024;

const nanosOf = (ms: number): bigint => BigInt(Math.round(ms)) * 1_000_000n;

/** When the base container started; `undefined` for one that never did (the kubelet then gives time zero). */
function beganAt(pod: PodProjection): number | undefined {
  const at = baseContainerOf(pod)?.startedAt;
  return at === undefined || at < pod.createdAt - CLUSTER_TIME_STEP_MS ? undefined : at;
}

/**
 * Whether the events of the pod's start are to be read and stored. Pure.
 * @param stored where the log of the start ends; a start is logged once while it is slow and once when it is over
 * @param now epoch milliseconds
 */
export function isStartToLog(
  { logEventsOnStartup, startupTimeoutSeconds }: Pick<PodParams, 'logEventsOnStartup' | 'startupTimeoutSeconds'>,
  pod: PodProjection,
  stored: LogCursor | undefined,
  now: number,
): boolean {
  if (!logEventsOnStartup) return false;
  const began = beganAt(pod);
  const hasFailed = began === undefined && podVerdict(pod).kind === 'failed';
  const slowMs = Math.min(SLOW_START_MS, startupTimeoutSeconds * 500);
  if (!hasFailed && (began ?? now) - pod.createdAt < slowMs) return false;
  if (stored === undefined) return true;
  return hasFailed || (began !== undefined && stored.nanos <= nanosOf(began));
}

/** Lines of a start's log: creation of the pod, its events, start of the base container. `at`: epoch milliseconds. Pure. */
function startLines(
  pod: PodProjection,
  events: readonly PodEventLine[],
): readonly { readonly at: number; readonly text: string }[] {
  const began = beganAt(pod);
  const until = began === undefined ? Infinity : began + CLUSTER_TIME_STEP_MS;
  const lines = events
    .filter(({ lastSeenAt }) => lastSeenAt <= until)
    .toSorted((a, b) => a.lastSeenAt - b.lastSeenAt)
    .map(({ type, reason, message, count, lastSeenAt }) => {
      const times = count > 1 ? ` (${String(count)} times)` : '';
      const text = message.replaceAll(/\s*\n\s*/g, ' ').slice(0, MAX_TEXT);
      return { at: lastSeenAt, text: `${type} ${reason}: ${text}${times}` };
    });
  const seconds = Math.round(((began ?? 0) - pod.createdAt) / 1_000);
  return [
    { at: pod.createdAt, text: `pod ${pod.namespace}/${pod.name} created` },
    ...lines,
    ...(began === undefined
      ? []
      : [
          {
            // After the events of the same second, so that a log which ends here is complete.
            at: Math.max(began, lines.at(-1)?.at ?? began) + 1,
            text: `container ${pod.baseContainer} started after ${String(seconds)} s`,
          },
        ]),
  ];
}

const reading = new WeakMap<Cluster, number>();

/** Stores the events of a slow or failed start, each line once, and returns the cursors with this log's own. Never fails the run. */
export async function storeStartupEvents(
  step: PodStep,
  pod: PodProjection,
  cursors: Readonly<Record<string, string>>,
): Promise<Readonly<Record<string, string>>> {
  const { context, params, cluster } = step;
  if (!isStartToLog(params, pod, parseCursor(cursors[STARTUP_LOG]), context.now())) return cursors;
  const others = reading.get(cluster) ?? 0;
  if (others >= MAX_CONCURRENT_READS) return cursors;
  reading.set(cluster, others + 1);
  try {
    const to = await append(context, startLines(pod, await eventsOf(step, pod)));
    return to === undefined ? cursors : { ...cursors, [STARTUP_LOG]: formatCursor(to) };
  } catch (error) {
    context.log.warn({ pod: pod.name, err: error }, 'the events of the start could not be stored');
    return cursors;
  } finally {
    reading.set(cluster, (reading.get(cluster) ?? 1) - 1);
  }
}

/** Stores the lines that are not stored yet, up to one chunk, and returns where the log ends then. */
async function append(
  { logs, run, state: { attempt } }: PodStep['context'],
  lines: ReturnType<typeof startLines>,
): Promise<LogCursor | undefined> {
  const end = await logs.end(run, attempt, STARTUP_LOG);
  const places = new LogCursors();
  let to = end.cursor;
  let chunk = '';
  for (const { at, text } of lines) {
    const cursor = places.next(nanosOf(at));
    if (isBehind(cursor, end.cursor)) continue;
    const line = `${formatNanos(cursor.nanos)} ${text}\n`;
    if (Buffer.byteLength(chunk) + Buffer.byteLength(line) > MAX_LOG_CHUNK_BYTES) break;
    chunk += line;
    to = cursor;
  }
  if (chunk === '' || to === undefined) return to;
  const stored = await logs.append(run, attempt, STARTUP_LOG, { text: chunk, to }, end.sequence);
  return stored.kind === 'stored' ? to : end.cursor;
}
