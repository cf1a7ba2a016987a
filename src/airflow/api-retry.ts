/** `generic_api_retry` and `should_retry_start_pod`: which calls of the Kubernetes API are repeated, and when. */
import { KubernetesError, type KubernetesFault } from '../errors.ts';
import { type Clock, SYSTEM_CLOCK } from './defaults.ts';

/** Repeats `call` until it succeeds, fails for good, or the attempts are used up. @throws the error of the last call */
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

/** Attempts and waits of `genericApiRetry`. */
export interface ApiRetryPolicy {
  /** Calls including the first. */
  readonly attempts: number;
  readonly minSeconds: number;
  readonly maxSeconds: number;
}

/** Airflow's defaults: `[workers] api_retries`, `api_retry_wait_min` and `api_retry_wait_max`. */
export const API_RETRY_POLICY: ApiRetryPolicy = { attempts: 5, minSeconds: 1, maxSeconds: 15 };

const TRANSIENT_STATUSES: ReadonlySet<number> = new Set([409, 429, 500, 502, 503, 504]);

/** The facts of a failed call that decide about a retry. `status` 0: no response. */
export interface FailedCall {
  readonly status: number;
  readonly fault: KubernetesFault;
  readonly retryAfterMs?: number | undefined;
}

/** Whether a retry may succeed: the status is transient, or the connection failed. */
export function isTransientFailure({ status, fault }: FailedCall): boolean {
  return status === 0 ? fault === 'unavailable' || fault === 'unknownOutcome' : TRANSIENT_STATUSES.has(status);
}

/** Airflow's `should_retry_start_pod`: a creation is retried on a conflict only. */
export function shouldRetryStartPod({ status }: Pick<FailedCall, 'status'>): boolean {
  return status === 409;
}

/** Seconds to wait after `calls` failed calls; `undefined`: do not retry. Honours `Retry-After` of a 429. */
export function retryAfterSeconds(
  failure: FailedCall,
  calls: number,
  { attempts, minSeconds, maxSeconds }: ApiRetryPolicy = API_RETRY_POLICY,
): number | undefined {
  if (calls >= attempts || !isTransientFailure(failure)) return undefined;
  if (failure.status === 429 && failure.retryAfterMs !== undefined) return failure.retryAfterMs / 1000;
  return Math.max(minSeconds, Math.min(maxSeconds, 2 ** Math.min(30, calls - 1)));
}
