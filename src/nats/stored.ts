/** Reading single stored messages: directly from any replica (narrowed by subject permissions), or from the leader. */
import type { MsgHdrs } from 'nats';
import { headers } from 'nats';
import { natsError, faultOf } from './errors.ts';
import { CALL_TIMEOUT_MS } from './link.ts';
import type { Link } from './link.ts';

/** A message as it is stored. */
export interface StoredMessage {
  readonly subject: string;
  readonly seq: number;
  readonly header: MsgHdrs;
  readonly data: Uint8Array;
  readonly time: Date;
}

/**
 * Direct get; the library's own is not part of its types. May be stale on a cluster. `undefined`: no such message.
 * @see https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-31.md
 */
export async function directGet(
  { nc }: Pick<Link, 'nc'>,
  stream: string,
  query: { readonly lastOf: string } | { readonly nextOf: string; readonly from: number },
): Promise<StoredMessage | undefined> {
  // The last of a subject is asked for in the API subject, so that permissions can narrow it.
  const message =
    'lastOf' in query
      ? await nc.request(`$JS.API.DIRECT.GET.${stream}.${query.lastOf}`, '', { timeout: CALL_TIMEOUT_MS })
      : await nc.request(
          `$JS.API.DIRECT.GET.${stream}`,
          JSON.stringify({ seq: query.from, next_by_subj: query.nextOf }),
          { timeout: CALL_TIMEOUT_MS },
        );
  const header = message.headers ?? headers();
  if (header.code === 404) return undefined;
  const seq = Number(header.get('Nats-Sequence'));
  if (header.code !== 0 || !Number.isInteger(seq) || seq < 1)
    throw natsError(`reading ${stream}`, new Error(`${header.code} ${header.description}`));
  return {
    subject: header.get('Nats-Subject'),
    seq,
    header,
    data: message.data,
    time: new Date(header.get('Nats-Time-Stamp')),
  };
}

/** The last message of a subject, from the stream's leader: never stale. `undefined`: no such message. */
export async function leaderGet(
  { jsm }: Pick<Link, 'jsm'>,
  stream: string,
  subject: string,
): Promise<StoredMessage | undefined> {
  try {
    return await jsm.streams.getMessage(stream, { last_by_subj: subject });
  } catch (error) {
    if (faultOf(error) === 'notFound') return undefined;
    throw error;
  }
}
