/** Classifies every refusal of the Kubernetes API and every broken connection to it. */
import { KubernetesError, type KubernetesFault, messageOf, type Problem } from '../errors.ts';
import { isRecord, numberIn, recordIn, recordsIn, textIn } from '../core/json.ts';
import { retryAfterSeconds } from './retry-after.ts';

/** What was attempted, for messages: `create pod a/b`. */
export interface Attempted {
  readonly what: string;
  readonly connection: string;
  /** Whether the request changes something: then a lost reply leaves its outcome unknown. */
  readonly writes: boolean;
}

/** A refusal, as the server sent it. */
interface Refusal {
  readonly status: number;
  readonly reason: string;
  readonly message: string;
  readonly kind: string;
  /** The body is a `Status`, which only an API server sends. */
  readonly isStatus: boolean;
  readonly writes: boolean;
}

/**
 * The first matching row decides. Message texts are matched here and nowhere else.
 * @see https://github.com/kubernetes/apimachinery/blob/master/pkg/api/errors/errors.go for reasons and codes
 */
const REFUSALS: readonly { readonly fault: KubernetesFault; readonly when: (refusal: Refusal) => boolean }[] = [
  { fault: 'unauthorized', when: ({ status }) => status === 401 },
  { fault: 'quota', when: ({ status, message }) => status === 403 && message.includes('exceeded quota') },
  // Sent by the quota controller only, until it has seen a new namespace: transient.
  { fault: 'quota', when: ({ status, message }) => status === 403 && message.includes('status unknown for quota') },
  { fault: 'invalid', when: ({ status, message }) => status === 403 && /admission webhook .* denied/.test(message) },
  { fault: 'forbidden', when: ({ status }) => status === 403 },
  { fault: 'notFound', when: ({ status, isStatus }) => status === 404 && isStatus },
  // A 404 page of a proxy or load balancer does not mean that the object is absent; only a `Status` does.
  { fault: 'unavailable', when: ({ status }) => status === 404 },
  { fault: 'alreadyExists', when: ({ status, reason }) => status === 409 && reason === 'AlreadyExists' },
  // Bursts of creations conflict over the quota object. @see https://github.com/kubernetes/kubernetes/issues/67761
  { fault: 'quota', when: ({ status, kind }) => status === 409 && kind === 'resourcequotas' },
  { fault: 'conflict', when: ({ status }) => status === 409 || status === 412 },
  { fault: 'expired', when: ({ status }) => status === 410 },
  { fault: 'throttled', when: ({ status }) => status === 429 },
  // etcd's error for an oversized request arrives as a 500.
  {
    fault: 'invalid',
    when: ({ status, message }) => status === 500 && /request is too large|trying to send message larger/.test(message),
  },
  // A proxy that replies 502 or 504 may have forwarded the write before it lost the reply.
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
  // A redirect or unexpected success: a proxy that is not an API server.
  { fault: 'unavailable', when: () => true },
];

/** Error codes that mean that no byte of the request reached a server. */
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
 * Upper limit of a `Retry-After`. A proxy in maintenance may ask for an hour and be back after a minute, and until then a watch would
 * receive nothing; API servers ask for seconds. (A timer of more than 2^31 ms would also fire at once.)
 */
const MOST_WAIT_SECONDS = 60;

/**
 * The error for an unsuccessful reply. `body`: a `Status`, or any text of a proxy or of flow control.
 * @param nowMs epoch milliseconds: `retryAfter` can be a date
 */
export function refusal(
  attempted: Attempted,
  reply: { readonly status: number; readonly body: string; readonly retryAfter?: string | undefined },
  nowMs: number,
): KubernetesError {
  const parsed = statusIn(reply.body);
  return refusalOf(attempted, reply.status, parsed, reply.body, retryAfterSeconds(reply.retryAfter, nowMs));
}

/** The error for a `Status` inside a stream (an ERROR event of a watch). */
export function streamRefusal(attempted: Attempted, status: unknown): KubernetesError {
  return refusalOf(attempted, numberIn(status, 'code') ?? 500, status, 'an ERROR event without a message');
}

function refusalOf(
  attempted: Attempted,
  status: number,
  parsed: unknown,
  text: string,
  headerSeconds?: number,
): KubernetesError {
  const details = recordIn(parsed, 'details');
  const reason = textIn(parsed, 'reason') ?? 'Unknown';
  const message = textIn(parsed, 'message') ?? text.trim().slice(0, 1024);
  const kind = textIn(details, 'kind') ?? '';
  const isStatus = textIn(parsed, 'kind') === 'Status';
  const facts = { status, reason, message, kind, isStatus, writes: attempted.writes };
  const fault = REFUSALS.find(({ when }) => when(facts))?.fault ?? 'unavailable';
  const waitSeconds = headerSeconds ?? wholeIn(details, 'retryAfterSeconds');
  const problems = [...causesIn(details), ...unknownFieldsIn(message)];
  return new KubernetesError(
    fault,
    `${attempted.what} on cluster "${attempted.connection}" failed with status ${status}${reason === 'Unknown' ? '' : ` ${reason}`}: ${message}`,
    {
      status,
      reason,
      problems,
      ...(waitSeconds === undefined ? {} : { retryAfterMs: Math.min(waitSeconds, MOST_WAIT_SECONDS) * 1000 }),
    },
  );
}

/** The error for a failed connection or an expired deadline. `unavailable` when the request cannot have been sent. */
export function brokenConnection(attempted: Attempted, cause: unknown): KubernetesError {
  const code = codeOf(cause);
  const timedOut = cause instanceof Error && cause.name === 'TimeoutError';
  const fault = attempted.writes && !NOT_SENT.has(code) ? 'unknownOutcome' : 'unavailable';
  const why = timedOut ? 'no reply within the deadline' : messageOf(cause);
  const outcome = fault === 'unknownOutcome' ? '; whether it happened is unknown' : '';
  return new KubernetesError(fault, `${attempted.what} on cluster "${attempted.connection}" failed: ${why}${outcome}`, {
    status: 0,
    reason: timedOut ? 'Timeout' : code,
    cause,
  });
}

/**
 * The error for missing credentials (token file, exec plugin); no request was sent. `leftAlone`: the call stopped waiting for them. Then,
 * and for a `TimeoutError`, it is `unavailable`, because they may be there soon.
 */
export function noCredentials(attempted: Attempted, cause: unknown, leftAlone: boolean): KubernetesError {
  const why = messageOf(cause);
  return new KubernetesError(
    leftAlone || (cause instanceof Error && cause.name === 'TimeoutError') ? 'unavailable' : 'unauthorized',
    `${attempted.what} on cluster "${attempted.connection}" was not attempted, because no credentials could be obtained: ${why}`,
    { status: 0, reason: 'NoCredentials', cause },
  );
}

function causesIn(details: unknown): readonly Problem[] {
  return recordsIn(details, 'causes').map((cause) => ({
    path: textIn(cause, 'field') ?? '$',
    message: textIn(cause, 'message') ?? textIn(cause, 'reason') ?? 'refused',
  }));
}

/** Strict field validation names the fields in its message only. */
function unknownFieldsIn(message: string): readonly Problem[] {
  if (!message.includes('strict decoding error')) return [];
  return [...message.matchAll(/(unknown|duplicate) field "([^"]+)"/g)].map(([, what, path]) => ({
    path: path ?? '$',
    message: `${what ?? 'unknown'} field`,
  }));
}

/** Whether a patch with a uid reached a pod with another uid. */
export function isOtherUid(error: unknown): boolean {
  return (
    error instanceof KubernetesError &&
    error.status === 422 &&
    error.problems.some(({ path }) => path === 'metadata.uid')
  );
}

/** Whether the kubelet reports that a container has no log yet, or no longer. The log is then empty, not an error. */
export function isLogNotThereYet(error: unknown): boolean {
  return (
    error instanceof KubernetesError &&
    error.status === 400 &&
    /is waiting to start|is not available|PodInitializing|ContainerCreating|does not have a host assigned/.test(
      error.message,
    )
  );
}

/** Whether WatchList itself was refused: the server is too old, or the feature is off. */
export function isWatchListRefused(error: unknown): boolean {
  return error instanceof KubernetesError && (error.status === 422 || error.status === 400);
}

function statusIn(body: string): unknown {
  try {
    const parsed: unknown = JSON.parse(body);
    return isRecord(parsed) ? parsed : {};
  } catch {
    // Flow control (429) and proxies reply in plain text.
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
