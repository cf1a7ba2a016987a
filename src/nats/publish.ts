/** Publishing to JetStream: events, steps, dead letters and run requests, each repeated until it is acknowledged. */
import { headers } from 'nats';
import type { MsgHdrs, PubAck } from 'nats';
import { ReentryError } from '../errors.ts';
import type { Publisher } from '../ports/broker.ts';
import { CLOUD_EVENT_CONTENT_TYPE, cloudEvent } from '../wire/events.ts';
import type { CompletedData, LifecycleData } from '../wire/events.ts';
import { keys } from '../wire/subjects.ts';
import type { RunKey, EventType } from '../wire/subjects.ts';
import { pause } from './connection.ts';
import { isTransient, faultOf, natsError } from './errors.ts';
import { CALL_TIMEOUT_MS } from './link.ts';
import type { Link } from './link.ts';

/** How long a publish is repeated: a Raft election takes up to 9 s. */
export const RETRY_FOR_MS = 15_000;

/** Pause between two tries; a server restarts within a second or so. */
const PAUSE_MS = 250;

interface PublishOptions {
  readonly msgID?: string;
  readonly headers?: MsgHdrs;
  /** Expected last sequence of the subject; 0: nothing there yet. */
  readonly expect?: number;
  readonly retryForMs?: number;
  /** How long "nobody listens" is taken for a restart. Default: all the patience. */
  readonly retryNoRespondersForMs?: number;
}

/**
 * Publishes to JetStream until it is acknowledged, with the same message id. There is no reconnect buffer, so each try is a publish of its own.
 * Answers `wrongSequence` instead of throwing: it is an answer where `expect` is given.
 */
export async function publishAcked(
  { js }: Pick<Link, 'js'>,
  subject: string,
  data: Uint8Array | string,
  options: PublishOptions = {},
): Promise<{ readonly kind: 'stored'; readonly ack: PubAck } | { readonly kind: 'wrongSequence' }> {
  const patienceMs = options.retryForMs ?? RETRY_FOR_MS;
  const startedAt = performance.now();
  for (;;) {
    try {
      const ack = await js.publish(subject, data, {
        timeout: CALL_TIMEOUT_MS,
        ...(options.msgID === undefined ? {} : { msgID: options.msgID }),
        ...(options.headers === undefined ? {} : { headers: options.headers }),
        ...(options.expect === undefined ? {} : { expect: { lastSubjectSequence: options.expect } }),
      });
      return { kind: 'stored', ack };
    } catch (error) {
      const fault = faultOf(error);
      if (fault === 'wrongSequence') return { kind: 'wrongSequence' };
      const patience =
        fault === 'noResponders' ? Math.min(patienceMs, options.retryNoRespondersForMs ?? patienceMs) : patienceMs;
      if (!isTransient(fault) || performance.now() - startedAt > patience)
        throw natsError(`publishing to ${subject}`, error);
      await pause(PAUSE_MS);
    }
  }
}

/** Repeats a read until it answers; what the server refused is not asked again. */
export async function withRetry<T>(
  doing: string,
  read: () => Promise<T>,
  patienceMs = RETRY_FOR_MS,
): Promise<T> {
  const startedAt = performance.now();
  for (;;) {
    try {
      return await read();
    } catch (error) {
      if (!isTransient(faultOf(error)) || performance.now() - startedAt > patienceMs) throw natsError(doing, error);
      await pause(PAUSE_MS);
    }
  }
}

/**
 * Publishes a run request. `unknownQueueMs`: how long "no stream takes this subject" is taken for a broker that restarts, and not
 * for an unknown queue.
 * @throws ReentryError NOT_FOUND for a queue that no stream takes
 */
export async function publishRun(
  link: Pick<Link, 'js' | 'subjects'>,
  queue: string,
  run: RunKey,
  data: Uint8Array,
  {
    msgID,
    retryUnknownQueueForMs: unknownQueueMs,
    traceparent,
  }: {
    readonly msgID: string | undefined;
    readonly retryUnknownQueueForMs: number;
    readonly traceparent?: string | undefined;
  },
): Promise<{ readonly duplicate: boolean }> {
  const header = headers();
  if (traceparent !== undefined) header.set('traceparent', traceparent);
  try {
    const outcome = await publishAcked(link, link.subjects.run.of(queue, run), data, {
      retryNoRespondersForMs: unknownQueueMs,
      ...(msgID === undefined ? {} : { msgID }),
      ...(traceparent === undefined ? {} : { headers: header }),
    });
    return { duplicate: outcome.kind === 'stored' && outcome.ack.duplicate };
  } catch (error) {
    if (error instanceof ReentryError && faultOf(error.cause) === 'noResponders')
      throw new ReentryError(
        'NOT_FOUND',
        `no stream takes runs of queue ${queue}; check its name (\`reentry queue list\`), or make it with \`reentry setup --queues\` and start a worker with it`,
        { transient: false, cause: error },
      );
    throw error;
  }
}

/** Less than a client waits for one answer to its `submit`. */
const UNKNOWN_QUEUE_MS = 1_500;

/** Room that headers of ours take at most beside a dead letter's data. */
const HEADER_BYTES = 16 * 1024;

/** What roles say; repeated for 15 s with the same id. `now`: broker time. */
export function publisher(link: Link, now: () => number): Publisher {
  const { nc, subjects } = link;

  const event = async (run: RunKey, type: EventType, step: number, data: CompletedData | LifecycleData) => {
    const header = headers();
    header.set('Content-Type', CLOUD_EVENT_CONTENT_TYPE);
    // Said once in a run's life: the subject's own sequence is a memory that outlives the window of message ids.
    const once = type === 'accepted' || type === 'completed';
    await publishAcked(link, subjects.event.of(run, type), JSON.stringify(cloudEvent(run, type, step, data, now())), {
      headers: header,
      // Ids are per stream and header text: so the encoded tokens, behind the kind.
      msgID: `ev:${keys.run(run)}:${step}:${type}`,
      ...(once ? { expect: 0 } : {}),
    });
  };

  const send = async (subject: string, message: object, id: string) => {
    await publishAcked(link, subject, JSON.stringify(message), { msgID: id });
  };

  return {
    event,
    async run(run, queue, data, id, traceparent) {
      await publishRun(link, queue, run, data, { msgID: id, retryUnknownQueueForMs: UNKNOWN_QUEUE_MS, traceparent });
    },
    start: (run, queue, message, id) => send(subjects.step.of(queue, 'start', run), message, id),
    resume: (run, queue, message, id) => send(subjects.step.of(queue, 'resume', run), message, id),
    ctl: (run, queue, message, id) => send(subjects.step.of(queue, 'ctl', run), message, id),
    async deadLetter(kind, run, data, why, { stream, seq }) {
      const header = headers();
      // JSON without line ends and non-ASCII characters, which headers cannot carry.
      header.set(
        'Reentry-Why',
        JSON.stringify({ code: why.code, category: why.category, summary: why.summary.slice(0, 2_000) }).replace(
          /[^\x20-\x7e]/g,
          '?',
        ),
      );
      const room = (nc.info?.max_payload ?? 1024 * 1024) - HEADER_BYTES;
      if (data.length > room) header.set('Reentry-Truncated-From-Bytes', String(data.length));
      await publishAcked(link, subjects.dlq.of(kind, run), data.subarray(0, room), {
        headers: header,
        // With the run: a stream that was lost and made anew counts from 1 again.
        msgID: `dlq:${stream}:${String(seq)}:${keys.run(run)}`,
      });
    },
    async nudge(worker, run) {
      nc.publish(subjects.nudge.of(worker), JSON.stringify(run));
      // A hint: its hearer looks again by itself, should the connection break now.
      await nc.flush().catch(() => undefined);
    },
  };
}
