/** The one place where a refusal of the Kubernetes API, or a broken connection to it, gets its meaning. */
import { KubernetesError, type KubernetesFault, type Problem } from '../errors.ts';
import { isRecord, numberIn, recordIn, recordsIn, textIn } from '../core/json.ts';
import { secondsAsked } from './retry-after.ts';

/** What was tried, for the message: `create pod a/b on cluster "prod"`. */
export interface Attempted {
  readonly what: string;
  readonly connection: string;
  /** Whether the request changes something: then a lost reply leaves its outcome unknown. */
  readonly writes: boolean;
}

/** A refusal as the server said it. */
interface Refusal {
  readonly status: number;
  readonly reason: string;
  readonly message: string;
  readonly kind: string;
  /** Said in a `Status`, as only an API server does. */
  readonly isStatus: boolean;
  readonly writes: boolean;
}

/**
 * First row that fits decides. Texts are matched here and nowhere else.
 * @see https://github.com/kubernetes/apimachinery/blob/master/pkg/api/errors/errors.go for reasons and codes
 */
const REFUSALS: readonly { readonly fault: KubernetesFault; readonly when: (refusal: Refusal) => boolean }[] = [
  { fault: 'unauthorized', when: ({ status }) => status === 401 },
  { fault: 'quota', when: ({ status, message }) => status === 403 && message.includes('exceeded quota') },
  // Only the quota controller can say so, and only until it has seen the namespace: soon over.
  { fault: 'quota', when: ({ status, message }) => status === 403 && message.includes('status unknown for quota') },
  { fault: 'invalid', when: ({ status, message }) => status === 403 && /admission webhook .* denied/.test(message) },
  { fault: 'forbidden', when: ({ status }) => status === 403 },
  { fault: 'notFound', when: ({ status, isStatus }) => status === 404 && isStatus },
  // A page of a proxy or a balancer says nothing of an object: an absence is believed of the API server only.
  { fault: 'unavailable', when: ({ status }) => status === 404 },
  { fault: 'alreadyExists', when: ({ status, reason }) => status === 409 && reason === 'AlreadyExists' },
  // Bursts of creations race for the quota object. @see https://github.com/kubernetes/kubernetes/issues/67761
  { fault: 'quota', when: ({ status, kind }) => status === 409 && kind === 'resourcequotas' },
  { fault: 'conflict', when: ({ status }) => status === 409 || status === 412 },
  { fault: 'expired', when: ({ status }) => status === 410 },
  { fault: 'throttled', when: ({ status }) => status === 429 },
  // etcd's word for a request that is too large comes as a 500.
  {
    fault: 'invalid',
    when: ({ status, message }) => status === 500 && /request is too large|trying to send message larger/.test(message),
  },
  // A proxy that says 502 or 504 may have passed the write on before it lost the answer.
  { fault: 'unknownOutcome', when: ({ status, writes }) => writes && (status === 502 || status === 504) },
  {
    fault: 'unknownOutcome',
    when: ({ status, reason, writes }) =>
      writes && status >= 500 && (reason === 'Timeout' || reason === 'ServerTimeout'),
  },
  {
    fault: 'unknownOutcome',
    when: ({ status, message, writes }) =>
      writes &&
      status >= 500 &&
      /etcdserver: (request timed out|leader changed)|context deadline exceeded/.test(message),
  },
  { fault: 'unavailable', when: ({ status }) => status >= 500 || status === 408 },
  { fault: 'invalid', when: ({ status }) => status >= 400 },
  // A redirect or another success where none is expected: a proxy that is not an API server.
  { fault: 'unavailable', when: () => true },
];

/** Codes of errors that say that no byte of the request reached a server. */
const NOT_SENT: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
  'ENOENT',
  'EACCES',
]);

/**
 * The longest wait that a server can ask for. A proxy in maintenance says an hour and is back after a minute, and for all that time a
 * watch would see nothing; an API server itself asks for seconds. Longer waits than 2^31 ms also make a timer fire at once.
 */
const MOST_WAIT_SECONDS = 60;

/**
 * The error for a reply of the API server that is not a success; `body` is a `Status`, or whatever a proxy or flow control wrote.
 * @param nowMs epoch milliseconds: `retryAfter` may be a date
 */
export function refusal(
  attempted: Attempted,
  reply: { readonly status: number; readonly body: string; readonly retryAfter?: string | undefined },
  nowMs: number,
): KubernetesError {
  const said = statusIn(reply.body);
  return refusalOf(attempted, reply.status, said, reply.body, secondsAsked(reply.retryAfter, nowMs));
}

/** The error for a `Status` object that came inside a stream (a watch's ERROR event). */
export function streamRefusal(attempted: Attempted, status: unknown): KubernetesError {
  return refusalOf(attempted, numberIn(status, 'code') ?? 500, status, 'an error event without text');
}

function refusalOf(
  attempted: Attempted,
  status: number,
  said: unknown,
  text: string,
  headerSeconds?: number,
): KubernetesError {
  const details = recordIn(said, 'details');
  const reason = textIn(said, 'reason') ?? 'Unknown';
  const message = textIn(said, 'message') ?? text.trim().slice(0, 1024);
  const kind = textIn(details, 'kind') ?? '';
  const isStatus = textIn(said, 'kind') === 'Status';
  const facts = { status, reason, message, kind, isStatus, writes: attempted.writes };
  const fault = REFUSALS.find(({ when }) => when(facts))?.fault ?? 'unavailable';
  const waitSeconds = headerSeconds ?? wholeIn(details, 'retryAfterSeconds');
  const problems = [...causesIn(details), ...unknownFieldsIn(message)];
  return new KubernetesError(
    fault,
    `${attempted.what} on cluster "${attempted.connection}" was answered ${status}${reason === 'Unknown' ? '' : ` ${reason}`}: ${message}`,
    {
      status,
      reason,
      problems,
      ...(waitSeconds === undefined ? {} : { retryAfterMs: Math.min(waitSeconds, MOST_WAIT_SECONDS) * 1000 }),
    },
  );
}

/** The error for a connection that failed or a deadline that passed. Before the request was sent: `unavailable`, whatever it was. */
export function brokenConnection(attempted: Attempted, cause: unknown): KubernetesError {
  const code = codeOf(cause);
  const timedOut = cause instanceof Error && cause.name === 'TimeoutError';
  const fault = attempted.writes && !NOT_SENT.has(code) ? 'unknownOutcome' : 'unavailable';
  const why = timedOut ? 'no answer within the deadline' : cause instanceof Error ? cause.message : String(cause);
  const outcome = fault === 'unknownOutcome' ? '; whether it happened is unknown' : '';
  return new KubernetesError(fault, `${attempted.what} on cluster "${attempted.connection}" failed: ${why}${outcome}`, {
    status: 0,
    reason: timedOut ? 'Timeout' : code,
    cause,
  });
}

/**
 * The error for credentials that could not be had (a token file, an exec plugin): nothing was sent. Those that were only not had in time
 * (`leftAlone`: not waited for any longer; or `TimeoutError`) may be there soon: `unavailable`.
 */
export function noCredentials(attempted: Attempted, cause: unknown, leftAlone: boolean): KubernetesError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new KubernetesError(
    leftAlone || (cause instanceof Error && cause.name === 'TimeoutError') ? 'unavailable' : 'unauthorized',
    `${attempted.what} on cluster "${attempted.connection}" was not tried: its credentials could not be had: ${why}`,
    { status: 0, reason: 'NoCredentials', cause },
  );
}

function causesIn(details: unknown): readonly Problem[] {
  return recordsIn(details, 'causes').map((cause) => ({
    path: textIn(cause, 'field') ?? '$',
    message: textIn(cause, 'message') ?? textIn(cause, 'reason') ?? 'refused',
  }));
}

/** Strict decoding names the fields in its text only. */
function unknownFieldsIn(message: string): readonly Problem[] {
  if (!message.includes('strict decoding error')) return [];
  return [...message.matchAll(/(unknown|duplicate) field "([^"]+)"/g)].map(([, what, path]) => ({
    path: path ?? '$',
    message: `${what ?? 'unknown'} field`,
  }));
}

/** Whether a patch that carried a uid met a pod with another one. */
export function isOtherUid(error: unknown): boolean {
  return (
    error instanceof KubernetesError &&
    error.status === 422 &&
    error.problems.some(({ path }) => path === 'metadata.uid')
  );
}

/** Whether the kubelet says that a container has no log yet (or has lost it for good): an empty log, not an error. */
export function isLogNotThereYet(error: unknown): boolean {
  return (
    error instanceof KubernetesError &&
    error.status === 400 &&
    /is waiting to start|is not available|PodInitializing|ContainerCreating|does not have a host assigned/.test(
      error.message,
    )
  );
}

/** Whether a WatchList request was refused for being one: the server is too old or has the feature off. */
export function isWatchListRefused(error: unknown): boolean {
  return error instanceof KubernetesError && (error.status === 422 || error.status === 400);
}

function statusIn(body: string): unknown {
  try {
    const parsed: unknown = JSON.parse(body);
    return isRecord(parsed) ? parsed : {};
  } catch {
    // Flow control's 429 and proxies' pages are plain text.
    return {};
  }
}

function wholeIn(value: unknown, key: string): number | undefined {
  const number = numberIn(value, key);
  return number !== undefined && number >= 0 && Number.isInteger(number) ? number : undefined;
}

function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return 'Unknown';
  if ('code' in error && typeof error.code === 'string') return error.code;
  return error.cause === undefined ? error.name : codeOf(error.cause);
}
