/** The services of the workers: requests of clients, answered in order, with bounds on what waits. */
import type { Msg } from 'nats';
import { EMPTY, defer, finalize, ignoreElements, mergeMap } from 'rxjs';
import { z } from 'zod';
import { ReentryError } from '../errors.ts';
import type { Problem } from '../errors.ts';
import type { ServiceHost } from '../ports/broker.ts';
import type { ServiceReply } from '../wire/services.ts';
import { dec } from '../wire/tokens.ts';
import type { Link } from './link.ts';
import { coreMessages$ } from './messages.ts';

/** Requests that wait for their turn in one process. */

/** Time in which one worker must answer, in milliseconds. Then a client asks another, so a request that has waited that long is refused. */
export const ANSWER_WITHIN_MS = 3_000;

/** Most requests of one service that wait in one process, and their bytes. */
const MAX_WAITING = 4_096;

const MAX_WAITING_BYTES = 16 * 1024 * 1024;

interface Entry<T> {
  readonly request: T;
  readonly bytes: number;
  readonly since: number;
}

/** Waiting requests of one service: first come, first served; bounded in number, bytes and age. Times are monotonic milliseconds. */
export class WaitingRequests<T> {
  readonly #entries = new Set<Entry<T>>();
  #bytes = 0;

  get size(): number {
    return this.#entries.size;
  }

  /** Adds a request; `false` where there is no room for it. */
  put(request: T, bytes: number, now: number): boolean {
    if (this.#entries.size >= MAX_WAITING || this.#bytes + bytes > MAX_WAITING_BYTES) return false;
    this.#entries.add({ request, bytes, since: now });
    this.#bytes += bytes;
    return true;
  }

  /** Removes the requests that have waited too long. */
  expired(now: number): readonly T[] {
    const found: T[] = [];
    for (const entry of this.#entries) {
      if (now - entry.since < ANSWER_WITHIN_MS) break;
      this.#remove(entry);
      found.push(entry.request);
    }
    return found;
  }

  /** Removes the next request. */
  next(): T | undefined {
    const [first] = this.#entries;
    if (first !== undefined) this.#remove(first);
    return first?.request;
  }

  #remove(entry: Entry<T>): void {
    this.#entries.delete(entry);
    this.#bytes -= entry.bytes;
  }
}

/** Requests of one service that one process answers at a time. */
const CONCURRENT = 64;

/** Subjects to answer to: replies are published with this process's permissions. */
const INBOX = /^_INBOX[A-Za-z0-9_=-]*\./;

type ServiceHandler = (tenant: string, data: Uint8Array) => Promise<ServiceReply>;

/** Services of this process. One worker answers each request. */
export function serviceHost(link: Link): ServiceHost {
  return {
    serve$: (verb, handle) =>
      defer(() => {
        const waiting = new WaitingRequests<Msg>();
        let lanes = 0;
        let ended = false;
        const refuseExpired = (now: number) => {
          for (const late of waiting.expired(now)) refuse(link, late);
        };
        /** Answers one request after the other until none waits. */
        const lane = async () => {
          lanes += 1;
          try {
            while (!ended) {
              refuseExpired(performance.now());
              const message = waiting.next();
              if (message === undefined) return;
              await answer(link, message, handle);
            }
          } finally {
            lanes -= 1;
          }
        };
        return coreMessages$(link, link.subjects.service.verb(verb), 'reentry').pipe(
          mergeMap((message) => {
            const now = performance.now();
            refuseExpired(now);
            if (!waiting.put(message, message.data.byteLength, now)) refuse(link, message);
            return lanes < CONCURRENT ? lane() : EMPTY;
          }),
          ignoreElements(),
          // Clients ask another worker for what still waits.
          finalize(() => {
            ended = true;
          }),
        );
      }),
  };
}

/** Answers one request. Never rejects. */
async function answer({ log, nc }: Link, message: Msg, handle: ServiceHandler): Promise<void> {
  const { subject } = message;
  // The reply subject is published to with this process's permissions: only inboxes are allowed.
  if (!INBOX.test(message.reply ?? '')) {
    log?.warn({ subject, reply: message.reply }, 'ignoring a request whose reply subject is no inbox');
    return;
  }
  const tenant = dec(subject.split('.').at(-2) ?? '');
  let reply: ServiceReply;
  try {
    reply =
      tenant === undefined
        ? failed('INVALID_REQUEST', 'the tenant in the subject is not a canonical token')
        : await handle(tenant, message.data);
  } catch (error) {
    reply = errorReply(error);
    if (!('error' in reply) || reply.error.code === 'INTERNAL')
      log?.error({ subject, error: String(error) }, 'a service failed');
  }
  try {
    respond({ log, nc }, message, reply);
  } catch (error) {
    log?.error({ subject, error: String(error) }, 'answering a request failed');
  }
}

/** Refuses a request that waited too long, or that there is no room for. */
function refuse({ log, nc }: Link, message: Msg): void {
  log?.debug({ subject: message.subject }, 'refusing a request: it waited too long, or too many do');
  // The client library has asked again by now; other clients get the reason.
  if (!INBOX.test(message.reply ?? '') || nc.isClosed() || nc.isDraining()) return;
  respond({ log, nc }, message, failed('BUSY', 'this worker has too many requests waiting; ask again'));
}

function respond({ log, nc }: Pick<Link, 'log' | 'nc'>, message: Msg, reply: ServiceReply): void {
  try {
    message.respond(JSON.stringify(reply));
  } catch (error) {
    log?.warn({ subject: message.subject, error: String(error) }, 'sending an answer failed');
    const tooLarge = failed('TOO_LARGE', 'the answer is larger than one message; ask for less at a time');
    if (!nc.isClosed()) message.respond(JSON.stringify(tooLarge));
  }
}

const failed = (code: string, message: string, problems?: readonly Problem[]): ServiceReply => ({
  error: {
    code,
    message,
    ...(problems === undefined || problems.length === 0
      ? {}
      : { problems: problems.map((problem) => ({ ...problem })) }),
  },
});

/** The reply for an error: never a stack or an internal message. */
function errorReply(error: unknown): ServiceReply {
  if (error instanceof ReentryError) return failed(error.code, error.message, error.problems);
  if (error instanceof z.ZodError)
    return failed(
      'INVALID_REQUEST',
      'the request is not valid',
      error.issues.map(({ path, message }) => ({ path: path.join('.') || '$', message })),
    );
  if (error instanceof SyntaxError)
    return failed('INVALID_REQUEST', 'the request is not JSON', [{ path: '$', message: error.message }]);
  return failed('INTERNAL', 'the worker failed to answer; see its log');
}
