/** All that a client needs of NATS. */
import { EMPTY, concatMap, map, of } from 'rxjs';
import { ReentryError } from '../errors.ts';
import type { ClientBroker, StoredEvent } from '../ports/client.ts';
import { cloudEventSchema, eventStepOf, eventTypeOf } from '../wire/events.ts';
import { serviceReplySchema } from '../wire/services.ts';
import { directGet } from './buckets.ts';
import { connectNats } from './connection.ts';
import { faultOf, natsError } from './errors.ts';
import { linkOf } from './link.ts';
import type { BrokerOptions } from './link.ts';
import { liveChunkOf, logChunkOf } from './logs.ts';
import { heartbeats$ } from './membership.ts';
import { parseMessage, runOfRawTokens, coreMessages$ } from './messages.ts';
import { publishRun, withRetry } from './publish.ts';
import { ANSWER_WITHIN_MS } from './services.ts';

/** Retry period for "no stream takes this subject", which may be a broker that restarts; afterwards the queue is unknown. */
const UNKNOWN_QUEUE_MS = 3_000;

function storedEvent(subject: string, data: Uint8Array): StoredEvent {
  const event = parseMessage(cloudEventSchema, data, subject);
  const tokens = subject.split('.');
  const run = runOfRawTokens(tokens.at(-3) ?? '', tokens.at(-2) ?? '');
  const type = eventTypeOf(event);
  if (type === undefined) throw new ReentryError('INTERNAL', `unknown event type on ${subject}`, { transient: false });
  return { run, type, step: eventStepOf(event), id: event.id, at: event.time, data: event.data };
}

/**
 * Connects a client.
 * @throws ReentryError UNREACHABLE, UNAUTHORIZED or CONFIG_INVALID
 */
export async function openClientBroker(options: BrokerOptions): Promise<ClientBroker> {
  const connection = await connectNats(options);
  const link = await linkOf(connection, options);
  const { nc, subjects, assets, log } = link;
  return {
    publishRun: (queue, run, data, msgID) =>
      publishRun(link, queue, run, data, { msgID, retryUnknownQueueForMs: UNKNOWN_QUEUE_MS }),
    async request(tenant, verb, payload, timeoutMs = 15_000) {
      const subject = subjects.service.of(tenant, verb);
      const endsAt = Date.now() + timeoutMs;
      for (;;) {
        const leftMs = endsAt - Date.now();
        try {
          const timeout = Math.max(1, Math.min(ANSWER_WITHIN_MS, leftMs));
          const answer = await nc.request(subject, JSON.stringify(payload ?? {}), { timeout });
          return parseMessage(serviceReplySchema, answer.data, `answer of ${subject}`);
        } catch (error) {
          const fault = faultOf(error);
          if (fault === 'noResponders')
            throw new ReentryError('UNREACHABLE', `no worker serves ${verb}; is one running (\`reentry worker\`)?`, {
              transient: true,
              cause: error,
            });
          if (fault !== 'unknownOutcome' || error instanceof ReentryError)
            throw natsError(`requesting ${subject}`, error);
          // A frozen worker swallows requests; another one may answer. Every service tolerates a repeated request.
          if (leftMs <= ANSWER_WITHIN_MS)
            throw new ReentryError('TIMEOUT', `no answer to ${verb} within ${timeoutMs} ms`, {
              transient: true,
              cause: error,
            });
        }
      }
    },
    events$: (of_) =>
      coreMessages$(link, 'runId' in of_ ? subjects.event.ofRun(of_) : subjects.event.ofTenant(of_.tenant)).pipe(
        concatMap(({ subject, data }) => {
          try {
            return of(storedEvent(subject, data));
          } catch (error) {
            log?.warn({ subject, error: String(error) }, 'ignoring an invalid event');
            return EMPTY;
          }
        }),
      ),
    async lastEvent(run, type) {
      const subject = subjects.event.of(run, type);
      const message = await withRetry(`reading ${subject}`, () => directGet(link, assets.events, { lastOf: subject }));
      return message === undefined ? undefined : storedEvent(message.subject, message.data);
    },
    live$: (run) =>
      coreMessages$(link, subjects.live.ofRun(run)).pipe(
        map(({ subject, data, headers }) => liveChunkOf(subject, data, headers)),
      ),
    // A core subscription receives what is stored, without its sequence: 0.
    logChunks$: (run) =>
      coreMessages$(link, subjects.log.ofRun(run)).pipe(map(({ subject, data }) => logChunkOf(subject, 0, data))),
    heartbeats$: heartbeats$(link),
    connected$: link.connected$,
    maxPayloadBytes: nc.info?.max_payload ?? 1024 * 1024,
    [Symbol.asyncDispose]: () => connection[Symbol.asyncDispose](),
  };
}
