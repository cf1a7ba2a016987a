import type { Msg } from 'nats';
import { Observable, take } from 'rxjs';
import type { Credits, Delivery, WorkQueues } from '../ports/broker.ts';
import { ReentryError } from '../errors.ts';
import { WORKING_EVERY_MS, consumers } from '../wire/streams.ts';
import { CALL_TIMEOUT_MS } from './link.ts';
import type { Link } from './link.ts';
import { pullFrom } from './pulls.ts';
import { undelivered } from './inspection.ts';

/** Longest pause before a failed message comes again. @see spec protocol §10 */
const MAX_NAK_DELAY_MS = 60_000;

/** Pause before the next delivery of a message whose handler failed. */
export function nakDelayMs(deliveries: number): number {
  return Math.min(1_000 * 2 ** Math.min(deliveries - 1, 16), MAX_NAK_DELAY_MS);
}

/**
 * What the ack subject says of a message. Two forms: `$JS.ACK.<stream>.<consumer>.…` and, with domain and account hash, two tokens more.
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

/** Work queues over durable pull consumers that `setup` made. */
export function workQueues(link: Link): WorkQueues {
  const { nc, log } = link;

  const deliveryOf = (message: Msg): { readonly delivery: Delivery; readonly isSettled: () => boolean } => {
    const reply = message.reply ?? '';
    const info = deliveryInfo(reply);
    const tokens = message.subject.split('.');
    let settled = false;
    const heartbeat = setInterval(() => {
      if (!nc.isClosed() && !nc.isDraining()) nc.publish(reply, '+WPI');
    }, WORKING_EVERY_MS);
    const settle = () => {
      clearInterval(heartbeat);
      const first = !settled;
      settled = true;
      return first;
    };
    /** A lost answer means a redelivery, which every handler stands; so it is said and no more. */
    const answer = async (text: string) => {
      if (!settle()) return;
      try {
        await nc.request(reply, text, { timeout: CALL_TIMEOUT_MS });
      } catch (error) {
        log?.debug(
          { subject: message.subject, error: String(error) },
          'acknowledgement unanswered; the message may come again',
        );
      }
    };
    return {
      isSettled: () => settled,
      delivery: {
        ...info,
        subject: message.subject,
        tenantToken: tokens.at(-2) ?? '',
        runIdToken: tokens.at(-1) ?? '',
        data: message.data,
        ...(message.headers?.has('traceparent') === true ? { traceparent: message.headers.get('traceparent') } : {}),
        ack: () => answer('+ACK'),
        nak: (delayMs) =>
          answer(delayMs === undefined ? '-NAK' : `-NAK ${JSON.stringify({ delay: Math.round(delayMs * 1e6) })}`),
        abandon: () => void settle(),
      },
    };
  };

  const consume$ = (
    stream: string,
    consumer: string,
    credits: Credits,
    handle: (delivery: Delivery) => Promise<void>,
    stop$: Observable<unknown>,
  ) =>
    new Observable<never>((subscriber) => {
      const most = typeof credits === 'number' ? credits : credits.max;
      const free = () =>
        typeof credits === 'number' ? credits - held : Math.min(credits.max - held, credits.room(held));
      let held = 0;
      let stopping = false;
      let drained = false;
      const finish = () => {
        if (drained && held === 0) subscriber.complete();
      };
      const work = async (message: Msg) => {
        const { delivery, isSettled } = deliveryOf(message);
        // Sent before the server heard that we stop: a sibling takes it at once.
        if (stopping) return delivery.nak();
        try {
          await handle(delivery);
          if (!isSettled()) {
            log?.error(
              { subject: delivery.subject, seq: delivery.seq },
              'a handler settled nothing; the message is given back',
            );
            await delivery.nak(nakDelayMs(delivery.deliveries));
          }
        } catch (error) {
          const delayMs = nakDelayMs(delivery.deliveries);
          const code = error instanceof ReentryError ? error.code : undefined;
          log?.warn(
            {
              subject: delivery.subject,
              seq: delivery.seq,
              deliveries: delivery.deliveries,
              delayMs,
              code,
              error: String(error),
            },
            'a handler failed; the message comes again',
          );
          await delivery.nak(delayMs);
        }
      };
      const source = pullFrom(link, stream, consumer, most, free, (message) => {
        held += 1;
        void work(message).finally(() => {
          held -= 1;
          source.refill();
          finish();
        });
      });
      source.refill();
      const moves =
        typeof credits === 'number'
          ? undefined
          : credits.changes$.subscribe({
              next: () => {
                source.refill();
              },
              error: (error: unknown) => {
                subscriber.error(error);
              },
            });
      const stop = () => {
        if (stopping) return;
        stopping = true;
        void source.stop().then(() => {
          drained = true;
          finish();
        });
      };
      const stops = stop$.pipe(take(1)).subscribe({
        next: stop,
        error: (error: unknown) => {
          subscriber.error(error);
        },
      });
      return () => {
        stops.unsubscribe();
        moves?.unsubscribe();
        stop();
      };
    });

  return {
    intake$: (queue, credits, handle, stop$) =>
      consume$(link.assets.runs, consumers.intake(queue), credits, handle, stop$),
    undelivered: (queue) => undelivered(link, queue),
    steps$: (queue, lane, credits, handle, stop$) =>
      consume$(link.assets.steps, consumers.step(lane, queue), credits, handle, stop$),
  };
}
