/** Publishing to JetStream: events, steps, dead letters and run requests, each repeated until it is acknowledged. */
import { headers } from 'nats';
import type { MsgHdrs, PubAck } from 'nats';
import { ReentryError } from '../errors.ts';
import type { PublishedRequest, Publisher } from '../ports/broker.ts';
import { CLOUD_EVENT_CONTENT_TYPE, cloudEvent } from '../wire/events.ts';
import type { CompletedData, LifecycleData } from '../wire/events.ts';
import { keys } from '../wire/subjects.ts';
import type { RunKey, EventType } from '../wire/subjects.ts';
import { sleep } from './connection.ts';
import { isTransient, faultOf, natsError } from './errors.ts';
import { CALL_TIMEOUT_MS } from './link.ts';
import type { Link } from './link.ts';

/** Retry period of a publish or read, in milliseconds. A Raft election takes up to 9 s. */
export const RETRY_FOR_MS = 15_000;

/** Pause between two tries, in milliseconds. A server restarts within about a second. */
const PAUSE_MS = 250;

interface PublishOptions {
  readonly msgID?: string;
  readonly headers?: MsgHdrs;
  /** Expected last sequence of the subject; 0: none. */
  readonly expect?: number;
  readonly retryForMs?: number;
  /** Retry period for "no responders", in milliseconds. Default: `retryForMs`. */
  readonly retryNoRespondersForMs?: number;
}

/**
 * Publishes to JetStream, with the same message id, until it is acknowledged. Resolves to `wrongSequence` where `expect` is given and does not
 * hold.
 * @throws ReentryError what NATS refused, or NATS_UNAVAILABLE after the retry period
 */
export async function publishAcked(
  { js }: Pick<Link, 'js'>,
  subject: string,
  data: Uint8Array | string,
  options: PublishOptions = {},
): Promise<{ readonly kind: 'stored'; readonly ack: PubAck } | { readonly kind: 'wrongSequence' }> {
  const { retryForMs = RETRY_FOR_MS } = options;
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
      const limitMs =
        fault === 'noResponders' ? Math.min(retryForMs, options.retryNoRespondersForMs ?? retryForMs) : retryForMs;
      if (!isTransient(fault) || performance.now() - startedAt > limitMs)
        throw natsError(`publishing to ${subject}`, error);
      await sleep(PAUSE_MS);
    }
  }
}

/** Retries a read until it succeeds. @throws ReentryError what NATS refused, or NATS_UNAVAILABLE after the retry period */
export async function withRetry<T>(doing: string, read: () => Promise<T>, retryForMs = RETRY_FOR_MS): Promise<T> {
  const startedAt = performance.now();
  for (;;) {
    try {
      return await read();
    } catch (error) {
      if (!isTransient(faultOf(error)) || performance.now() - startedAt > retryForMs) throw natsError(doing, error);
      await sleep(PAUSE_MS);
    }
  }
}

/**
 * Publishes a run request. `retryUnknownQueueForMs`: retry period for "no stream takes this subject", which may be a broker that restarts;
 * afterwards the queue is unknown.
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
): Promise<PublishedRequest> {
  const header = headers();
  if (traceparent !== undefined) header.set('traceparent', traceparent);
  try {
    const outcome = await publishAcked(link, link.subjects.run.of(queue, run), data, {
      retryNoRespondersForMs: unknownQueueMs,
      ...(msgID === undefined ? {} : { msgID }),
      ...(traceparent === undefined ? {} : { headers: header }),
    });
    if (outcome.kind === 'wrongSequence') throw natsError('publishing a request', new Error('unexpected sequence'));
    return { seq: outcome.ack.seq, duplicate: outcome.ack.duplicate };
  } catch (error) {
    if (error instanceof ReentryError && faultOf(error.cause) === 'noResponders')
      throw new ReentryError(
        'NOT_FOUND',
        `unknown queue ${queue}; check its name (\`reentry queue list\`), or create it with \`reentry setup --queues\` and start a worker for it`,
        { transient: false, cause: error },
      );
    throw error;
  }
}

/** Retry period for an unknown queue, in milliseconds: less than a client waits for one answer to `submit`. */
const UNKNOWN_QUEUE_MS = 1_500;

/** Most bytes that the headers of a dead letter take beside its data. */
const HEADER_BYTES = 16 * 1024;

/** What roles publish. `now`: broker time, epoch milliseconds. */
export function publisher(link: Link, now: () => number): Publisher {
  const { nc, subjects } = link;

  const event = async (run: RunKey, type: EventType, step: number, data: CompletedData | LifecycleData) => {
    const header = headers();
    header.set('Content-Type', CLOUD_EVENT_CONTENT_TYPE);
    // At most once per run: the expected sequence outlives the window of message ids.
    const once = type === 'accepted' || type === 'completed';
    await publishAcked(link, subjects.event.of(run, type), JSON.stringify(cloudEvent(run, type, step, data, now())), {
      headers: header,
      // Ids are unique per stream and header-safe: the kind, then encoded tokens.
      msgID: `ev:${keys.run(run)}:${step}:${type}`,
      ...(once ? { expect: 0 } : {}),
    });
  };

  const send = async (subject: string, message: object, id: string) => {
    await publishAcked(link, subject, JSON.stringify(message), { msgID: id });
  };

  return {
    event,
    run: (run, queue, data, id, traceparent) =>
      publishRun(link, queue, run, data, { msgID: id, retryUnknownQueueForMs: UNKNOWN_QUEUE_MS, traceparent }),
    start: (run, queue, message, id) => send(subjects.step.of(queue, 'start', run), message, id),
    resume: (run, queue, message, id) => send(subjects.step.of(queue, 'resume', run), message, id),
    ctl: (run, queue, message, id) => send(subjects.step.of(queue, 'ctl', run), message, id),
    async deadLetter(kind, run, data, why, { stream, seq }) {
      const header = headers();
      // Headers cannot carry line ends or non-ASCII characters.
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
        // With the run: a recreated stream counts from 1 again.
        msgID: `dlq:${stream}:${String(seq)}:${keys.run(run)}`,
      });
    },
    async nudge(worker, run) {
      nc.publish(subjects.nudge.of(worker), JSON.stringify(run));
      // A hint: the worker also looks by itself, should the connection break now.
      await nc.flush().catch(() => undefined);
    },
  };
}
