/** Stable codes of the errors that this package throws. */
export type ErrorCode =
  | 'CONFIG_INVALID'
  | 'DRAIN_OVERDUE'
  | 'INVALID_REQUEST'
  | 'NOT_FOUND'
  | 'RUN_ID_TAKEN'
  | 'BUSY'
  | 'UNREACHABLE'
  | 'UNAUTHORIZED'
  | 'FORBIDDEN'
  | 'NATS_UNAVAILABLE'
  | 'NATS_MISMATCH'
  | 'NATS_SERVER_MISSING'
  | 'STREAM_FULL'
  | 'TOO_LARGE'
  | 'FENCED'
  | 'KUBERNETES'
  | 'LOCAL_CLUSTER'
  | 'TIMEOUT'
  | 'INTERNAL';

/** One problem of an input: its path (`params.image`; `$` for the whole) and a message. */
export interface Problem {
  readonly path: string;
  readonly message: string;
}

/** An expected error. `transient`: a retry can succeed. */
export class ReentryError extends Error {
  override readonly name: string = 'ReentryError';
  readonly code: ErrorCode;
  readonly transient: boolean;
  readonly problems: readonly Problem[];

  constructor(
    code: ErrorCode,
    message: string,
    options: { readonly transient: boolean; readonly cause?: unknown; readonly problems?: readonly Problem[] },
  ) {
    super(message, { cause: options.cause });
    this.code = code;
    this.transient = options.transient;
    this.problems = options.problems ?? [];
  }
}

/** What a refusal of the Kubernetes API means for the caller. `kubernetes/errors.ts` decides it. */
export type KubernetesFault =
  | 'invalid' // 400, 422, 413, denied by an admission webhook: the request is wrong
  | 'forbidden' // RBAC or Pod Security: someone must change a permission
  | 'unauthorized'
  | 'notFound'
  | 'alreadyExists'
  | 'conflict' // precondition or resource version
  | 'quota' // 403 exceeded quota, 409 quota race
  | 'throttled' // 429
  | 'expired' // 410
  | 'unavailable' // 5xx, refused, reset before sending
  | 'unknownOutcome'; // time-out or reset after a write was sent

/** A refusal of the Kubernetes API, classified by the adapter. */
export class KubernetesError extends ReentryError {
  override readonly name = 'KubernetesError';
  readonly fault: KubernetesFault;
  readonly status: number;
  readonly reason: string;
  readonly retryAfterMs: number | undefined;

  constructor(
    fault: KubernetesFault,
    message: string,
    facts: {
      readonly status: number;
      readonly reason: string;
      readonly retryAfterMs?: number;
      readonly cause?: unknown;
      readonly problems?: readonly Problem[];
    },
  ) {
    const transient = ['quota', 'throttled', 'unavailable', 'unknownOutcome', 'expired', 'conflict'].includes(fault);
    super('KUBERNETES', message, { transient, cause: facts.cause, problems: facts.problems ?? [] });
    this.fault = fault;
    this.status = facts.status;
    this.reason = facts.reason;
    this.retryAfterMs = facts.retryAfterMs;
  }
}

/** What an ended pod still has (log, result) cannot be read now: the step is repeated, and the pod retained until then. */
export class UnreadError extends ReentryError {
  /** When reading it failed first, epoch milliseconds. */
  readonly since: number;
  /** Gaps in the attempt's logs so far; `undefined`: none. */
  readonly logGaps: number | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(cause: KubernetesError, facts: { readonly since: number; readonly logGaps?: number | undefined }) {
    super('KUBERNETES', cause.message, { transient: true, cause });
    this.since = facts.since;
    this.logGaps = facts.logGaps;
    this.retryAfterMs = cause.retryAfterMs;
  }
}

/** The message of anything thrown: an error's `message`, else the value as text. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
