import type { Msg } from 'nats';
import { EMPTY, catchError, from, ignoreElements, mergeMap } from 'rxjs';
import { z } from 'zod';
import { ReentryError } from '../errors.ts';
import type { Problem } from '../errors.ts';
import type { ServiceHost } from '../ports.ts';
import type { ServiceReply } from '../wire/messages.ts';
import { dec } from '../wire/tokens.ts';
import { coreMessages$ } from './core-messages.ts';
import type { Link } from './link.ts';

/** Requests of one verb that one process answers at a time; the rest waits in its memory, bounded by the askers' time-outs. */
const CONCURRENT = 64;

/** Answers to requests, one of all workers each. */
export function serviceHost(link: Link): ServiceHost {
  const { nc, subjects, log } = link;

  const respond = (message: Msg, reply: ServiceReply) => {
    try {
      message.respond(JSON.stringify(reply));
    } catch (error) {
      log?.warn({ subject: message.subject, error: String(error) }, 'answer not sent');
      const tooLarge = { code: 'TOO_LARGE', message: 'the answer is larger than one message; ask for less at a time' };
      if (!nc.isClosed()) message.respond(JSON.stringify({ error: tooLarge }));
    }
  };

  const answer = async (message: Msg, handle: (tenant: string, data: Uint8Array) => Promise<ServiceReply>) => {
    // A reply subject is where we publish, with our permissions: only inboxes.
    if (!/^_INBOX[A-Za-z0-9_=-]*\./.test(message.reply ?? '')) {
      log?.warn({ subject: message.subject, reply: message.reply }, 'request without an inbox to answer to; refused');
      return;
    }
    const tenant = dec(message.subject.split('.').at(-2) ?? '');
    if (tenant === undefined) {
      respond(message, failed('INVALID_REQUEST', 'the tenant in the subject is not a canonical token'));
      return;
    }
    let reply: ServiceReply;
    try {
      reply = await handle(tenant, message.data);
    } catch (error) {
      reply = errorReply(error);
      if (!('error' in reply) || reply.error.code === 'INTERNAL')
        log?.error({ subject: message.subject, error: String(error) }, 'a service failed');
    }
    respond(message, reply);
  };

  return {
    serve$: (verb, handle) =>
      coreMessages$(link, subjects.service.verb(verb), 'reentry').pipe(
        mergeMap(
          (message) =>
            from(answer(message, handle)).pipe(
              catchError((error: unknown) => {
                log?.error({ subject: message.subject, error: String(error) }, 'a service could not answer');
                return EMPTY;
              }),
            ),
          CONCURRENT,
        ),
        ignoreElements(),
      ),
  };
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

/** What the asker hears of an error: never a stack, never an internal text. */
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
  return failed('INTERNAL', 'the worker failed to answer; its log says why');
}
