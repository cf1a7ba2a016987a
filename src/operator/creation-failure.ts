/** What a pod that the API server did not create means for its run: repeat later, or fail. Pure. */
import { diagnosisOf, type DiagnosisCode } from '../core/run/diagnosis.ts';
import { KubernetesError, type KubernetesFault } from '../errors.ts';
import { PodMutationHookError, PodReconciliationError } from './construct-pod.ts';
import type { StepOutcome } from './operator.ts';

type Meaning = { readonly code: DiagnosisCode } & (
  { readonly over: true } | { readonly over: false; readonly delayMs: number }
);

const later = (code: DiagnosisCode, delayMs: number): Meaning => ({ code, over: false, delayMs });

const MEANINGS: Readonly<Record<Exclude<KubernetesFault, 'unknownOutcome'>, Meaning>> = {
  invalid: { code: 'INVALID_REQUEST', over: true },
  forbidden: { code: 'PERMISSION_DENIED', over: true },
  notFound: { code: 'NAMESPACE_NOT_FOUND', over: true },
  // Renewing the connection's credentials may take a while; the run is not to blame.
  unauthorized: later('API_UNAUTHORIZED', 10_000),
  quota: later('QUOTA_EXCEEDED', 30_000),
  throttled: later('API_THROTTLED', 2_000),
  unavailable: later('API_UNAVAILABLE', 5_000),
  // A pod of that name vanished between the creation and the GET: the next creation will succeed.
  alreadyExists: later('API_UNAVAILABLE', 1_000),
  conflict: later('QUOTA_EXCEEDED', 500),
  expired: later('API_UNAVAILABLE', 1_000),
};

/**
 * The step's outcome for a failed launch; `undefined` for an error that is not the API's, and for a creation whose outcome is unknown: a pod may exist, so
 * the run must not wait without one. Its message is redelivered and finds the pod by its name.
 */
export function launchRefused(error: unknown, namespace: string, now: number): StepOutcome | undefined {
  if (!(error instanceof KubernetesError) || error.fault === 'unknownOutcome') return undefined;
  const meaning = meaningOf(error, error.fault);
  const why = diagnosisOf(meaning.code, {
    message: error.message,
    subject: namespace,
    ...(error.problems.length === 0 ? {} : { problems: error.problems }),
  });
  if (meaning.over) return { kind: 'over', outcome: { state: 'failed', diagnosis: why } };
  const delayMs = Math.max(meaning.delayMs, error.retryAfterMs ?? 0);
  return { kind: 'later', notBefore: now + delayMs, why, infrastructure: false };
}

function meaningOf(error: KubernetesError, fault: keyof typeof MEANINGS): Meaning {
  if (isNamespaceAway(error)) return { code: 'NAMESPACE_NOT_FOUND', over: true };
  if (fault === 'forbidden' && ADMISSION.test(error.message)) return { code: 'ADMISSION_REFUSED', over: true };
  return MEANINGS[fault];
}

/** What admission plugins answer: RBAC names the user in the same place. */
const ADMISSION = /is forbidden: (?!User )/;

/** Whether a creation was refused because the namespace does not exist or is being deleted. */
export function isNamespaceAway(error: unknown): boolean {
  if (!(error instanceof KubernetesError)) return false;
  const { fault, reason, message } = error;
  if (fault === 'notFound') return true;
  return fault === 'forbidden' && /being terminated|NamespaceTerminating/i.test(`${reason} ${message}`);
}

/** Why no pod was created, as Airflow's KubernetesExecutor distinguishes it. */
export type CreationFailure =
  /** The API server refused. `fault` where the adapter has classified it. */
  | {
      readonly kind: 'api';
      readonly status: number | undefined;
      readonly message: string;
      readonly fault?: KubernetesError['fault'] | undefined;
      readonly retryAfterSeconds?: number | undefined;
    }
  /** No answer: a pod may or may not exist. */
  | { readonly kind: 'connection' }
  /** The pod could not be built. */
  | { readonly kind: 'pod' }
  | { readonly kind: 'other' };

/** `requeue`: to the end of the queue, `retries` spent so far; nothing is created for `createAfterSeconds`, and `stopBatch` ends the present batch. */
export type CreationRetry =
  | {
      readonly kind: 'requeue';
      readonly retries: number;
      readonly createAfterSeconds: number | undefined;
      readonly stopBatch: boolean;
    }
  | { readonly kind: 'fail' };

/** Transient statuses, with what the message must match. The first match decides; everything else is permanent. */
const TRANSIENT: readonly { readonly status: number; readonly message?: RegExp }[] = [
  // The quota controller answers the second until it has seen the namespace.
  { status: 403, message: /exceeded quota|status unknown for quota/ },
  { status: 409, message: /object has been modified/ },
  { status: 410, message: /too old resource version/ },
  { status: 429 },
  { status: 500 },
  { status: 502 },
  { status: 503 },
  { status: 504 },
];

/** Classifies an exception. */
export function creationFailure(error: unknown): CreationFailure {
  if (error instanceof PodReconciliationError || error instanceof PodMutationHookError) return { kind: 'pod' };
  if (!(error instanceof KubernetesError)) return { kind: 'other' };
  const { status, message, fault, retryAfterMs } = error;
  if (status === 0) return fault === 'unauthorized' ? { kind: 'other' } : { kind: 'connection' };
  return {
    kind: 'api',
    status,
    message,
    fault,
    retryAfterSeconds: retryAfterMs === undefined ? undefined : retryAfterMs / 1000,
  };
}

/**
 * Airflow's rule of `task_publish_max_retries`.
 * @param retries how often this task was requeued so far @param maxRetries −1: without limit
 */
export function creationRetry(
  failure: CreationFailure,
  { retries, maxRetries }: { readonly retries: number; readonly maxRetries: number },
): CreationRetry {
  const isAllowed = maxRetries === -1 || retries < maxRetries;
  const requeue = (createAfterSeconds?: number): CreationRetry =>
    isAllowed
      ? { kind: 'requeue', retries: retries + 1, createAfterSeconds, stopBatch: createAfterSeconds !== undefined }
      : { kind: 'fail' };
  switch (failure.kind) {
    case 'pod':
    case 'other':
      return { kind: 'fail' };
    case 'connection':
      return requeue();
    case 'api': {
      const { status, message, fault, retryAfterSeconds } = failure;
      const isTransient = TRANSIENT.some((one) => one.status === status && (one.message?.test(message) ?? true));
      // `invalid`: a 500 whose message is "too large" is the request's fault.
      if (!(isTransient || fault === 'quota') || fault === 'invalid') return { kind: 'fail' };
      return requeue(status === 429 ? (retryAfterSeconds ?? 0) : retryAfterSeconds);
    }
  }
}
