/** Work queues over the durable pull consumers that `setup` creates. */
import type { Msg } from 'nats';
import { Observable, take } from 'rxjs';
import { backOffMs } from '../core/back-off.ts';
import { ReentryError } from '../errors.ts';
import type { Credits, Delivery, DeliveryHandler, WorkQueues } from '../ports/broker.ts';
import { WORKING_EVERY_MS, consumers } from '../wire/streams.ts';
import { keys } from '../wire/subjects.ts';
import { leaderGet } from './buckets.ts';
import { undelivered } from './inspection.ts';
import { CALL_TIMEOUT_MS } from './link.ts';
import type { Link } from './link.ts';
import { withRetry } from './publish.ts';
import { pullFrom } from './pulls.ts';

/** Delay of the next delivery after a handler failed: 1 s, doubled with each delivery, at most 60 s. */
export function nakDelayMs(deliveries: number): number {
  return backOffMs(deliveries, 1_000, 60_000);
}

/** Work queues of one connection. */
export function workQueues(link: Link): WorkQueues {
  const { runs, steps } = link.assets;
  return {
    undelivered: (queue) => undelivered(link, queue),
    async firstRequest(run) {
      const query = { nextOf: link.subjects.run.anyQueue(run), from: 1 };
      const message = await withRetry(`reading the first request of ${keys.run(run)}`, () =>
        leaderGet(link, runs, query),
      );
      if (message === undefined) return undefined;
      return { queue: message.subject.split('.').at(-3) ?? '', seq: message.seq, data: message.data };
    },
    intake$: (queue, credits, handle, stop$) => consume$(link, runs, consumers.intake(queue), credits, handle, stop$),
    steps$: (queue, lane, credits, handle, stop$) =>
      consume$(link, steps, consumers.step(lane, queue), credits, handle, stop$),
  };
}

/**
 * The facts in an ack subject. Two forms: `$JS.ACK.<stream>.<consumer>.…`, and one with domain and account hash, two tokens longer.
 * @see https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-15.md
 */
function deliveryInfo(reply: string) {
  const tokens = reply.split('.');
  const [stream, , deliveries, seq, , nanos] = tokens.slice(tokens.length === 9 ? 2 : 4);
  return {
    stream: stream ?? '',
    deliveries: Number(deliveries),
    seq: Number(seq),
    publishedAt: Math.floor(Number(nanos) / 1e6),
  };
}

/** A message as a delivery, whose ack deadline is extended until it is settled. */
function deliveryOf(
  { nc, log }: Link,
  message: Msg,
): { readonly delivery: Delivery; readonly isSettled: () => boolean } {
  const reply = message.reply ?? '';
  const tokens = message.subject.split('.');
  let settled = false;
  const extending = setInterval(() => {
    if (!nc.isClosed() && !nc.isDraining()) nc.publish(reply, '+WPI');
  }, WORKING_EVERY_MS);
  /** Whether this call was the first to settle it. */
  const settle = () => {
    clearInterval(extending);
    const isFirst = !settled;
    settled = true;
    return isFirst;
  };
  /** A lost acknowledgement means a redelivery, which every handler tolerates; so it is only logged. */
  const acknowledge = async (text: string) => {
    if (!settle()) return;
    try {
      await nc.request(reply, text, { timeout: CALL_TIMEOUT_MS });
    } catch (error) {
      log?.debug({ subject: message.subject, error: String(error) }, 'acknowledgement lost; expecting a redelivery');
    }
  };
  return {
    isSettled: () => settled,
    delivery: {
      ...deliveryInfo(reply),
      subject: message.subject,
      tenantToken: tokens.at(-2) ?? '',
      runIdToken: tokens.at(-1) ?? '',
      data: message.data,
      ...(message.headers?.has('traceparent') === true ? { traceparent: message.headers.get('traceparent') } : {}),
      ack: () => acknowledge('+ACK'),
      nak: (delayMs) =>
        acknowledge(delayMs === undefined ? '-NAK' : `-NAK ${JSON.stringify({ delay: Math.round(delayMs * 1e6) })}`),
      abandon: () => void settle(),
    },
  };
}

/** Handles one delivery, and naks it where the handler failed or settled nothing. */
async function handled({ log }: Link, message: ReturnType<typeof deliveryOf>, handle: DeliveryHandler): Promise<void> {
  const { delivery, isSettled } = message;
  const { subject, seq, deliveries } = delivery;
  try {
    await handle(delivery);
    if (isSettled()) return;
    log?.error({ subject, seq }, 'a handler did not settle its message; requeueing it');
  } catch (error) {
    const code = error instanceof ReentryError ? error.code : undefined;
    log?.warn(
      { subject, seq, deliveries, delayMs: nakDelayMs(deliveries), code, error: String(error) },
      'a handler failed; its message will be redelivered',
    );
  }
  await delivery.nak(nakDelayMs(deliveries));
}

/** Pulls and handles messages of one consumer, `credits` at a time. Completes once `stop$` has emitted and all begun is settled. */
function consume$(
  link: Link,
  stream: string,
  consumer: string,
  credits: Credits,
  handle: DeliveryHandler,
  stop$: Observable<unknown>,
): Observable<never> {
  return new Observable<never>((subscriber) => {
    let held = 0;
    let stopping = false;
    let drained = false;
    const free = () =>
      typeof credits === 'number' ? credits - held : Math.min(credits.max - held, credits.room(held));
    const finish = () => {
      if (drained && held === 0) subscriber.complete();
    };
    const work = async (message: Msg) => {
      const made = deliveryOf(link, message);
      // Sent before the server received the end of the pull: another worker takes it at once.
      await (stopping ? made.delivery.nak() : handled(link, made, handle));
    };
    const source = pullFrom(link, {
      stream,
      consumer,
      credits: typeof credits === 'number' ? credits : credits.max,
      free,
      take: (message) => {
        held += 1;
        void work(message).finally(() => {
          held -= 1;
          source.refill();
          finish();
        });
      },
    });
    source.refill();
    const error = (cause: unknown) => {
      subscriber.error(cause);
    };
    const changes =
      typeof credits === 'number'
        ? undefined
        : credits.changes$.subscribe({
            next: () => {
              source.refill();
            },
            error,
          });
    const stop = () => {
      if (stopping) return;
      stopping = true;
      void source.stop().then(() => {
        drained = true;
        finish();
      });
    };
    const stops = stop$.pipe(take(1)).subscribe({ next: stop, error });
    return () => {
      stops.unsubscribe();
      changes?.unsubscribe();
      stop();
    };
  });
}
