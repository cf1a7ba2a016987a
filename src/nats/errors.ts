/** Errors of NATS, classified. Version 2 of the client library uses code 503 for several faults; only `api_error` distinguishes them. */
import { NatsError } from 'nats';
import { messageOf, ReentryError } from '../errors.ts';

/** JetStream error codes with a meaning of their own here. @see https://github.com/nats-io/nats-server/blob/main/server/errors.json */
const API = {
  consumerNotFound: 10014,
  messageNotFound: 10037,
  streamNotFound: 10059,
  storageFull: 10047,
  wrongLastSequence: 10071,
  /** Storing failed: a stream with discard `new` is at its limit. */
  storeFailed: 10077,
  wrongLastSequenceConstant: 10164,
} as const;

/** Meaning of a failed call to NATS. */
export type NatsFault =
  | 'wrongSequence'
  | 'notFound'
  /** No such stream, no leader, or JetStream not up yet. */
  | 'noResponders'
  /** The call may or may not have been applied. */
  | 'unknownOutcome'
  | 'full'
  | 'tooLarge'
  | 'forbidden'
  | 'unauthorized'
  | 'closed'
  | 'refused';

/** Classifies an error of the NATS library by its codes. */
export function faultOf(error: unknown): NatsFault {
  // An error of this adapter: only NATS_UNAVAILABLE stands for a lost answer.
  if (error instanceof ReentryError) return error.code === 'NATS_UNAVAILABLE' ? 'unknownOutcome' : 'refused';
  if (!(error instanceof NatsError)) return 'unknownOutcome'; // socket errors surface raw
  const { api_error: api, code } = error;
  if (api !== undefined) {
    if (api.err_code === API.wrongLastSequence || api.err_code === API.wrongLastSequenceConstant)
      return 'wrongSequence';
    if (
      api.err_code === API.messageNotFound ||
      api.err_code === API.streamNotFound ||
      api.err_code === API.consumerNotFound
    )
      return 'notFound';
    if (api.err_code === API.storeFailed || api.err_code === API.storageFull) return 'full';
    if (api.code === 503) return 'noResponders';
    if (api.code === 404) return 'notFound';
    return 'refused';
  }
  switch (code) {
    case '503':
      return 'noResponders';
    case '404':
      return 'notFound';
    case 'MAX_PAYLOAD_EXCEEDED':
      return 'tooLarge';
    case 'PERMISSIONS_VIOLATION':
      return 'forbidden';
    case 'AUTHORIZATION_VIOLATION':
    case 'AUTHENTICATION_EXPIRED':
    case 'AUTHENTICATION_TIMEOUT':
    case 'ACCOUNT_EXPIRED':
    case 'BAD_AUTHENTICATION':
    case 'BAD_CREDS':
      return 'unauthorized';
    case 'CONNECTION_CLOSED':
    case 'CONNECTION_DRAINING':
      return 'closed';
    case 'INVALID_OPTION':
    case 'BAD_SUBJECT':
    case 'BAD_PAYLOAD':
    case 'BAD_HEADER':
      return 'refused';
    default:
      return 'unknownOutcome'; // TIMEOUT, DISCONNECT, CONNECTION_*, …
  }
}

/** Whether retrying the same call can help. */
export function isTransient(fault: NatsFault): boolean {
  return fault === 'unknownOutcome' || fault === 'noResponders' || fault === 'full';
}

/** The error of a failed call. `doing`: what was tried, on what. */
export function natsError(doing: string, error: unknown): ReentryError {
  if (error instanceof ReentryError) return error;
  const message = messageOf(error);
  const fault = faultOf(error);
  const transient = isTransient(fault);
  const make = (code: ReentryError['code'], hint: string) =>
    new ReentryError(code, `${doing}: ${hint} (NATS: ${message})`, { transient, cause: error });
  switch (fault) {
    case 'forbidden':
      return make('FORBIDDEN', "the user of this connection lacks the permission; give it its role's permissions");
    case 'unauthorized':
      return make('UNAUTHORIZED', 'the server refused the credentials');
    case 'full':
      return make(
        'STREAM_FULL',
        'the stream has reached its limit; raise the storage limits with `reentry setup` or remove old runs',
      );
    case 'tooLarge':
      return make('TOO_LARGE', "the message is larger than the server's max_payload");
    case 'noResponders':
      return make('NATS_UNAVAILABLE', 'no stream responds; was `reentry setup` run, and is JetStream up?');
    case 'notFound':
      return make('NOT_FOUND', 'not found; was `reentry setup` run?');
    case 'closed':
    case 'unknownOutcome':
      return make('NATS_UNAVAILABLE', 'the broker did not answer in time');
    case 'wrongSequence':
    case 'refused':
      return make('INTERNAL', 'the broker refused the request');
  }
}
