/** Calls of the Kubernetes API with the seed's patience. @see spec pod-operator §6.1 */
import { firstValueFrom, timer } from 'rxjs';
import { API_RETRY_POLICY, type ApiRetryPolicy, retryAfterSeconds } from './api-retry-rules.ts';
import { KubernetesError } from '../errors.ts';
import type { Log } from '../ports/ambient.ts';

/** Time, for those who wait in a loop. */
export interface Clock {
  /** Epoch milliseconds. */
  now(): number;
  sleep(ms: number): Promise<void>;
}

/** The machine's own time. */
export const SYSTEM_CLOCK: Clock = {
  now: () => Date.now(),
  async sleep(ms) {
    await firstValueFrom(timer(ms), { defaultValue: 0 });
  },
};

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

/** A log that nobody reads. */
export const SILENT: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => SILENT,
};
