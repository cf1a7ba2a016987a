/** What a refused creation of a pod means for its task: again, later, or never. Pure. @see spec executor §3.7, errata executor 3, pod-operator 12 */
import { KubernetesError } from '../errors.ts';
import { PodMutationHookError, PodReconciliationError } from './construct-pod.ts';

/** Why no pod was created. */
export type PublishFailure =
  /** The API server said no. `fault` where the adapter has classified it. */
  | {
      readonly kind: 'api';
      readonly status: number | undefined;
      readonly message: string;
      readonly fault?: KubernetesError['fault'] | undefined;
      readonly retryAfterSeconds?: number | undefined;
    }
  /** No answer: whether a pod was made is open. */
  | { readonly kind: 'connection' }
  /** The pod could not be built. */
  | { readonly kind: 'pod' }
  | { readonly kind: 'other' };

/** `requeue`: at the tail, with `retries` spent so far; nothing is created for `createAfterSeconds`, and the batch stops where that says so. */
export type PublishDecision =
  | {
      readonly kind: 'requeue';
      readonly retries: number;
      readonly createAfterSeconds: number | undefined;
      readonly stopBatch: boolean;
    }
  | { readonly kind: 'fail' };

/** Statuses that may pass, with what the message must say. First fit decides; all others are for good. */
const PASSING: readonly { readonly status: number; readonly says?: RegExp }[] = [
  // The second is the quota controller's word until it has seen the namespace.
  { status: 403, says: /exceeded quota|status unknown for quota/ },
  { status: 409, says: /object has been modified/ },
  { status: 410, says: /too old resource version/ },
  { status: 429 },
  { status: 500 },
  { status: 502 },
  { status: 503 },
  { status: 504 },
];

/** Which of a failure's kinds an exception is. */
export function publishFailure(error: unknown): PublishFailure {
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

/** @param retries how often this task was put back so far @param maxRetries −1: without limit */
export function decidePublish(
  failure: PublishFailure,
  { retries, maxRetries }: { readonly retries: number; readonly maxRetries: number },
): PublishDecision {
  const left = maxRetries === -1 || retries < maxRetries;
  const again = (createAfterSeconds?: number): PublishDecision =>
    left
      ? { kind: 'requeue', retries: retries + 1, createAfterSeconds, stopBatch: createAfterSeconds !== undefined }
      : { kind: 'fail' };
  switch (failure.kind) {
    case 'pod':
    case 'other':
      return { kind: 'fail' };
    case 'connection':
      return again();
    case 'api': {
      const { status, message, fault, retryAfterSeconds } = failure;
      // A 500 that says "too large" is the request's fault.
      const passing = PASSING.some((one) => one.status === status && (one.says?.test(message) ?? true));
      if (!(passing || fault === 'quota') || fault === 'invalid') return { kind: 'fail' };
      return again(status === 429 ? (retryAfterSeconds ?? 0) : retryAfterSeconds);
    }
  }
}

/** What a refusal's body says: its `message`, else the text itself, else the status line's reason. */
export function publishMessage(body: string | undefined, reason: string): string {
  if (body === undefined || body === '') return reason;
  try {
    const parsed: unknown = JSON.parse(body);
    if (typeof parsed === 'object' && parsed !== null && 'message' in parsed && typeof parsed.message === 'string')
      return parsed.message;
    return body;
  } catch {
    return body;
  }
}
