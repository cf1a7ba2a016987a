import type { Msg, NatsConnection } from 'nats';
import { EMPTY, Observable, concatMap, of } from 'rxjs';
import type { z } from 'zod';
import type { Log } from '../ports/ambient.ts';
import { decoded } from './codec.ts';

/** Header of messages that only try a permission; nobody acts on them. */
export const PROBE_HEADER = 'Reentry-Probe';

/** Core messages of a subject, from now on; goes on over reconnects, never completes by itself. A refused subscription errors. */
export function coreMessages$(
  { nc }: { readonly nc: NatsConnection; readonly log?: Log | undefined },
  subject: string,
  queue?: string,
): Observable<Msg> {
  return new Observable<Msg>((subscriber) => {
    const subscription = nc.subscribe(subject, {
      ...(queue === undefined ? {} : { queue }),
      callback: (error, message) => {
        if (error !== null) subscriber.error(error);
        else if (message.headers?.has(PROBE_HEADER) !== true) subscriber.next(message);
      },
    });
    return () => {
      if (!nc.isClosed() && !nc.isDraining()) subscription.unsubscribe();
    };
  });
}

/** What the messages of a subject say. One that does not fit the schema is logged and passed over: whoever sent it must not end the hearing. */
export function decodedMessages$<S extends z.ZodType>(
  link: { readonly nc: NatsConnection; readonly log?: Log | undefined },
  subject: string,
  schema: S,
): Observable<z.output<S>> {
  return coreMessages$(link, subject).pipe(
    concatMap(({ data, subject: from }) => {
      try {
        return of(decoded(schema, data, from));
      } catch (error) {
        link.log?.warn({ subject: from, error: String(error) }, 'message not understood');
        return EMPTY;
      }
    }),
  );
}
