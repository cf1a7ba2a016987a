/** Core messages as streams, and parsing what messages and stored values contain. */
import type { Msg, NatsConnection } from 'nats';
import { EMPTY, Observable, concatMap, of } from 'rxjs';
import type { z } from 'zod';
import { ReentryError } from '../errors.ts';
import type { Log } from '../ports/ambient.ts';
import { type RunKey, runOfTokens } from '../wire/subjects.ts';

const text = new TextDecoder();

/** Parses a stored value or message. `where`: names it in errors. @throws ReentryError INTERNAL with each problem */
export function parseMessage<S extends z.ZodType>(schema: S, data: Uint8Array, where: string): z.output<S> {
  let json: unknown;
  try {
    json = JSON.parse(text.decode(data));
  } catch (cause) {
    throw new ReentryError('INTERNAL', `${where} is not JSON`, { transient: false, cause });
  }
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const problems = result.error.issues.map(({ path, message }) => ({ path: path.join('.') || '$', message }));
  throw new ReentryError(
    'INTERNAL',
    `${where} does not fit its schema: ${problems.map(({ path, message }) => `${path}: ${message}`).join('; ')}`,
    { transient: false, problems, cause: result.error },
  );
}

/** The field `op` of a stored JSON object, by which a writer recognizes its own write. */
export function operationOf(data: Uint8Array): unknown {
  const json: unknown = JSON.parse(text.decode(data));
  return typeof json === 'object' && json !== null && 'op' in json ? json.op : undefined;
}

/** The run of two tokens. Where they are not canonical, the run carries them as received. */
export function runOfRawTokens(tenantToken: string, runIdToken: string): RunKey {
  return (
    runOfTokens(tenantToken, runIdToken) ?? {
      tenant: tenantToken,
      runId: runIdToken,
      tokens: `${tenantToken}.${runIdToken}`,
    }
  );
}

/** Header of messages that only probe a permission. Roles ignore them. */
export const PROBE_HEADER = 'Reentry-Probe';

/** Core messages of a subject, from now on, through reconnects. Never completes; errors where the server refuses the subscription. */
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

/** The messages of a subject, parsed. An invalid one is logged and ignored: its sender must not end the subscription. */
export function parsedMessages$<S extends z.ZodType>(
  link: { readonly nc: NatsConnection; readonly log?: Log | undefined },
  subject: string,
  schema: S,
): Observable<z.output<S>> {
  return coreMessages$(link, subject).pipe(
    concatMap(({ data, subject: from }) => {
      try {
        return of(parseMessage(schema, data, from));
      } catch (error) {
        link.log?.warn({ subject: from, error: String(error) }, 'ignoring an invalid message');
        return EMPTY;
      }
    }),
  );
}
