import type { Msg, NatsConnection } from 'nats';
import { Observable } from 'rxjs';
import type { Log } from '../ports.ts';

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
