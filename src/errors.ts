/** Stable code of every error this package throws; callers switch on it. */
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

/** One thing that is wrong with an input: where (`params.image`, `$` for the whole) and what. */
export interface Problem {
  readonly path: string;
  readonly message: string;
}

/** An error we expect to meet. `transient` says whether trying again can help. */
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

/** What the Kubernetes API's refusal means for the caller; the table that decides stands in `kubernetes/errors.ts`. */
export type KubernetesFault =
  | 'invalid' // 400, 422, 413, admission denied: the request is wrong
  | 'forbidden' // RBAC or Pod Security: a person must act
  | 'unauthorized'
  | 'notFound'
  | 'alreadyExists'
  | 'conflict' // precondition or resource version
  | 'quota' // 403 exceeded quota, 409 quota race
  | 'throttled' // 429
  | 'expired' // 410
  | 'unavailable' // 5xx, refused, reset before sending
  | 'unknownOutcome'; // time-out or reset after a write was sent

/** A refusal of the Kubernetes API, classified once in the adapter. */
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
