/** Queries between roles, as core request and reply. */
import type { Msg } from 'nats';
import { EMPTY, catchError, concatMap, defer } from 'rxjs';
import { z } from 'zod';
import type { RoleQueries } from '../ports/broker.ts';
import { rolePresenceSchema } from '../wire/presence.ts';
import { queueLoadSchema, queuePositionSchema } from '../wire/queues.ts';
import type { RoleQuery } from '../wire/subjects.ts';
import { sleep } from './connection.ts';
import { faultOf, natsError } from './errors.ts';
import type { Link } from './link.ts';
import { parseMessage, coreMessages$ } from './messages.ts';

/** Time-out of a query, in milliseconds. A triggerer answers from memory. */
const ANSWER_WITHIN_MS = 1_000;

/** Queries of one connection. A missing or invalid answer is `undefined`. */
export function roleQueries(link: Link): RoleQueries {
  const { nc, subjects, log } = link;

  const request = async (query: RoleQuery, payload: object): Promise<Msg | undefined> => {
    try {
      return await nc.request(subjects.query.of(query), JSON.stringify(payload), { timeout: ANSWER_WITHIN_MS });
    } catch (error) {
      const fault = faultOf(error);
      if (fault === 'noResponders' || fault === 'unknownOutcome') return undefined;
      throw natsError(`querying ${query}`, error);
    }
  };

  const answerIn = <S extends z.ZodType>(schema: S, message: Msg | undefined): z.output<S> | undefined => {
    if (message === undefined || message.data.byteLength === 0) return undefined;
    try {
      return parseMessage(schema, message.data, 'answer');
    } catch (error) {
      log?.warn({ subject: message.subject, error: String(error) }, 'ignoring an invalid answer');
      return undefined;
    }
  };

  return {
    async queuePosition(run) {
      return answerIn(queuePositionSchema.nullable(), await request('queuePosition', run)) ?? undefined;
    },
    async queues() {
      return answerIn(z.array(queueLoadSchema), await request('queues', {}));
    },
    async roles(withinMs) {
      const inbox = `${link.inboxPrefix}.${link.name.replace(/[^\w-]/g, '-')}.roles.${String(performance.now()).replace('.', '-')}`;
      const found: z.infer<typeof rolePresenceSchema>[] = [];
      const subscription = nc.subscribe(inbox, {
        callback: (error, message) => {
          const presence = error === null ? answerIn(rolePresenceSchema, message) : undefined;
          if (presence !== undefined) found.push(presence);
        },
      });
      try {
        nc.publish(subjects.query.of('roles'), '{}', { reply: inbox });
        await sleep(withinMs);
      } finally {
        subscription.unsubscribe();
      }
      return found;
    },
    answer$: (query, handle) =>
      coreMessages$(link, subjects.query.of(query), query === 'roles' ? undefined : 'reentry').pipe(
        concatMap((message) =>
          defer(() => {
            const data: unknown = message.data.byteLength === 0 ? {} : message.json();
            message.respond(JSON.stringify(handle(data) ?? null));
            return EMPTY;
          }).pipe(
            catchError((error: unknown) => {
              log?.warn({ query, error: String(error) }, 'answering a query failed');
              return EMPTY;
            }),
          ),
        ),
      ),
  };
}
