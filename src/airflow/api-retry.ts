/** Calls of the Kubernetes API with the seed's patience. @see spec pod-operator §6.1 */
import { KubernetesError, type KubernetesFault } from '../errors.ts';
import { type Clock, SYSTEM_CLOCK } from './defaults.ts';

/** Calls until it succeeds, a failure is final, or the policy has enough. @throws what the last call threw */
export async function genericApiRetry<T>(
  call: () => Promise<T>,
  {
    clock = SYSTEM_CLOCK,
    policy = API_RETRY_POLICY,
  }: { readonly clock?: Clock; readonly policy?: ApiRetryPolicy } = {},
): Promise<T> {
  for (let calls = 1; ; calls += 1) {
    try {
      return await call();
    } catch (error) {
      const seconds = error instanceof KubernetesError ? retryAfterSeconds(error, calls, policy) : undefined;
      if (seconds === undefined) throw error;
      await clock.sleep(seconds * 1000);
    }
  }
}

/** How often and how patiently. */
export interface ApiRetryPolicy {
  /** Calls altogether. */
  readonly attempts: number;
  readonly minSeconds: number;
  readonly maxSeconds: number;
}

/** The seed's defaults. */
export const API_RETRY_POLICY: ApiRetryPolicy = { attempts: 5, minSeconds: 1, maxSeconds: 15 };

const TRANSIENT_STATUSES: ReadonlySet<number> = new Set([409, 429, 500, 502, 503, 504]);

/** What is asked of a failure. `status` 0: no answer came. */
export interface FailedCall {
  readonly status: number;
  readonly fault: KubernetesFault;
  readonly retryAfterMs?: number | undefined;
}

/** Whether another call may succeed: by status, or because the connection failed. */
export function isTransientFailure({ status, fault }: FailedCall): boolean {
  return status === 0 ? fault === 'unavailable' || fault === 'unknownOutcome' : TRANSIENT_STATUSES.has(status);
}

/** The seed's `should_retry_start_pod`: only a conflict is worth another creation. */
export function shouldRetryStartPod({ status }: Pick<FailedCall, 'status'>): boolean {
  return status === 409;
}

/** Seconds until the next call after `calls` of them; `undefined`: no more. A 429 is obeyed where it names a time. */
export function retryAfterSeconds(
  failure: FailedCall,
  calls: number,
  { attempts, minSeconds, maxSeconds }: ApiRetryPolicy = API_RETRY_POLICY,
): number | undefined {
  if (calls >= attempts || !isTransientFailure(failure)) return undefined;
  if (failure.status === 429 && failure.retryAfterMs !== undefined) return failure.retryAfterMs / 1000;
  return Math.max(minSeconds, Math.min(maxSeconds, 2 ** Math.min(30, calls - 1)));
}
