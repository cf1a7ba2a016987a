/** The seed's `log_events_on_startup` where nobody polls: what Kubernetes said of a start that was slow or failed, in a log of its own name. @see spec pod-operator §4.4, §6.4 */
import { podVerdict } from '../../core/pod/judge.ts';
import { formatCursor, formatNanos, isBehind, type LogCursor, LogPlaces, parseCursor } from '../../core/log/cursor.ts';
import type { PodProjection } from '../../core/pod/projection.ts';
import type { Cluster, PodEventLine } from '../../ports/cluster.ts';
import { MAX_LOG_CHUNK_BYTES } from '../../wire/streams.ts';
import { baseOf } from '../deferral.ts';
import type { PodParams } from '../pod-params.ts';
import type { PodStep } from '../pod-step.ts';

/** Name that no container can have: the log of how a pod started. */
export const STARTUP_LOG = 'pod.startup';

/** A start is slow after this time, or after half its time-out, in milliseconds: one that goes well costs no look at the events. */
const SLOW_START_MS = 30_000;
/** The kubelet's times are whole seconds. */
const CLUSTER_TIME_STEP_MS = 1_000;
/** Readings at a time per cluster; where more starts are slow than that, looking why would make them slower. */
const MOST_AT_ONCE = 4;
/** One event's text, in characters. */
const MAX_TEXT = 1_024;

const nanosOf = (ms: number): bigint => BigInt(Math.round(ms)) * 1_000_000n;

/** When the base container began; `undefined` for one that never did (the kubelet gives it the epoch's time). */
function beganAt(pod: PodProjection): number | undefined {
  const at = baseOf(pod)?.startedAt;
  return at === undefined || at < pod.createdAt - CLUSTER_TIME_STEP_MS ? undefined : at;
}

/**
 * Whether the pod's start is worth a look at its events. Pure.
 * @param told where the log of the start ends; a start that still goes on is told of once, then when it is over
 * @param now epoch milliseconds
 */
export function isStartToTell(
  { logEventsOnStartup, startupTimeoutSeconds }: Pick<PodParams, 'logEventsOnStartup' | 'startupTimeoutSeconds'>,
  pod: PodProjection,
  told: LogCursor | undefined,
  now: number,
): boolean {
  if (!logEventsOnStartup) return false;
  const began = beganAt(pod);
  const hasFailed = began === undefined && podVerdict(pod).kind === 'failed';
  const slowMs = Math.min(SLOW_START_MS, startupTimeoutSeconds * 500);
  if (!hasFailed && (began ?? now) - pod.createdAt < slowMs) return false;
  if (told === undefined) return true;
  return hasFailed || (began !== undefined && told.nanos <= nanosOf(began));
}

/** The log of a start: when the pod was made, what Kubernetes said of it, and when its base container began. Epoch milliseconds. Pure. */
export function startLines(
  pod: PodProjection,
  events: readonly PodEventLine[],
): readonly { readonly at: number; readonly text: string }[] {
  const began = beganAt(pod);
  const until = began === undefined ? Infinity : began + CLUSTER_TIME_STEP_MS;
  const told = events
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
    ...told,
    ...(began === undefined
      ? []
      : [
          {
            // Behind the events of the same second, so that a log which ends here is whole.
            at: Math.max(began, told.at(-1)?.at ?? began) + 1,
            text: `container ${pod.baseContainer} started after ${String(seconds)} s`,
          },
        ]),
  ];
}

const reading = new WeakMap<Cluster, number>();

/**
 * Stores what there is to tell of the pod's start, each line once, and gives the cursors with that log's own. A start that is neither slow nor
 * failed costs nothing. Never fails the run.
 */
export async function storeStart(
  { context, params, cluster, pods }: PodStep,
  pod: PodProjection,
  cursors: Readonly<Record<string, string>>,
): Promise<Readonly<Record<string, string>>> {
  if (!isStartToTell(params, pod, parseCursor(cursors[STARTUP_LOG]), context.now())) return cursors;
  const others = reading.get(cluster) ?? 0;
  if (others >= MOST_AT_ONCE) return cursors;
  reading.set(cluster, others + 1);
  try {
    const to = await append(context, startLines(pod, await pods.readEvents(pod)));
    return to === undefined ? cursors : { ...cursors, [STARTUP_LOG]: formatCursor(to) };
  } catch (error) {
    context.log.warn({ pod: pod.name, err: error }, 'the events of the start could not be stored');
    return cursors;
  } finally {
    reading.set(cluster, (reading.get(cluster) ?? 1) - 1);
  }
}

/** Stores the lines that are not there yet, as far as one chunk holds them; where the log ends then. */
async function append(
  { logs, run, state: { attempt } }: PodStep['context'],
  lines: ReturnType<typeof startLines>,
): Promise<LogCursor | undefined> {
  const end = await logs.end(run, attempt, STARTUP_LOG);
  const places = new LogPlaces();
  let to = end.cursor;
  let chunk = '';
  for (const { at, text } of lines) {
    const place = places.next(nanosOf(at));
    if (isBehind(place, end.cursor)) continue;
    const line = `${formatNanos(place.nanos)} ${text}\n`;
    if (Buffer.byteLength(chunk) + Buffer.byteLength(line) > MAX_LOG_CHUNK_BYTES) break;
    chunk += line;
    to = place;
  }
  if (chunk === '' || to === undefined) return to;
  const stored = await logs.append(run, attempt, STARTUP_LOG, { text: chunk, to }, end.sequence);
  return stored.kind === 'stored' ? to : end.cursor;
}
