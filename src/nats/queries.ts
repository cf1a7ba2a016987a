/** Queries between roles, as core request and reply. */
import type { Msg } from 'nats';
import { EMPTY, catchError, concatMap, defer } from 'rxjs';
import { z } from 'zod';
import type { RoleQueries } from '../ports/broker.ts';
import { rolePresenceSchema } from '../wire/presence.ts';
import { queueLoadSchema, queuePositionSchema } from '../wire/queues.ts';
import type { RoleQuery } from '../wire/subjects.ts';
import { pause } from './connection.ts';
import { faultOf, natsError } from './errors.ts';
import type { Link } from './link.ts';
import { parseMessage, coreMessages$ } from './messages.ts';

/** A triggerer answers from memory. */
const ANSWER_WITHIN_MS = 1_000;

/** Questions between roles, as core request and reply: nothing is stored, and no answer is an answer. */
export function roleQueries(link: Link): RoleQueries {
  const { nc, subjects, log } = link;

  const ask = async (question: RoleQuery, payload: object): Promise<Msg | undefined> => {
    try {
      return await nc.request(subjects.query.of(question), JSON.stringify(payload), { timeout: ANSWER_WITHIN_MS });
    } catch (error) {
      const fault = faultOf(error);
      if (fault === 'noResponders' || fault === 'unknownOutcome') return undefined;
      throw natsError(`asking ${question}`, error);
    }
  };

  /** What an answer says; one that is not understood is none: a question never holds anybody up. */
  const answerIn = <S extends z.ZodType>(schema: S, message: Msg | undefined): z.output<S> | undefined => {
    if (message === undefined || message.data.byteLength === 0) return undefined;
    try {
      return parseMessage(schema, message.data, 'an answer');
    } catch (error) {
      log?.warn({ subject: message.subject, error: String(error) }, 'an answer was not understood');
      return undefined;
    }
  };

  return {
    async queuePosition(run) {
      return answerIn(queuePositionSchema.nullable(), await ask('queuePosition', run)) ?? undefined;
    },
    async queues() {
      return answerIn(z.array(queueLoadSchema), await ask('queues', {}));
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
        await pause(withinMs);
      } finally {
        subscription.unsubscribe();
      }
      return found;
    },
    answer$: (question, handle) =>
      coreMessages$(link, subjects.query.of(question), question === 'roles' ? undefined : 'reentry').pipe(
        concatMap((message) =>
          defer(() => {
            const data: unknown = message.data.byteLength === 0 ? {} : message.json();
            message.respond(JSON.stringify(handle(data) ?? null));
            return EMPTY;
          }).pipe(
            catchError((error: unknown) => {
              log?.warn({ question, error: String(error) }, 'a question could not be answered');
              return EMPTY;
            }),
          ),
        ),
      ),
  };
}
