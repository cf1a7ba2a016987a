import { backOffMs } from '../back-off.ts';
import { budgetOf, isDiagnosisCode } from './diagnosis.ts';
import type { Diagnosis } from '../../wire/outcome.ts';
import type { RunRequest } from '../../wire/run-request.ts';
import type { RunState } from '../../wire/run-state.ts';

/** Limits of the repetitions by the engine; the user's own retries are in the request. */
export interface RetryPolicy {
  /** Infrastructure failures that a run survives. */
  readonly infrastructureCap: number;
  /** Delay before the first infrastructure repeat; doubles with each. */
  readonly infrastructureBaseMs: number;
  readonly infrastructureMaxMs: number;
  /** Pause before a message comes again after a fault; doubles with each delivery. */
  readonly faultBaseMs: number;
  readonly faultMaxMs: number;
}

/** The policy in production. */
export const RETRY_POLICY: RetryPolicy = {
  infrastructureCap: 5,
  infrastructureBaseMs: 5_000,
  infrastructureMaxMs: 300_000,
  faultBaseMs: 1_000,
  faultMaxMs: 60_000,
};

/** Whose budget a failure spends. `none`: repeating cannot help, the run ends. */
export type Budget = 'user' | 'infrastructure' | 'none';

const BUDGET_OF_CATEGORY: Readonly<Record<Diagnosis['category'], Budget>> = {
  user: 'user',
  timeout: 'user', // after an execution time-out the user's program was too slow: it spends a retry
  infrastructure: 'infrastructure',
  request: 'none',
  cancelled: 'none',
};

/** Whose budget `diagnosis` spends: by its code where the table knows it, else by its category. A failure without a diagnosis spends the user's. */
export function spends(diagnosis: Diagnosis | undefined): Budget {
  if (diagnosis === undefined) return 'user';
  return isDiagnosisCode(diagnosis.code) ? budgetOf(diagnosis.code) : BUDGET_OF_CATEGORY[diagnosis.category];
}

/** Whether a failed attempt is followed by another one. */
export type RetryDecision =
  | { readonly kind: 'end' }
  | {
      readonly kind: 'again';
      readonly userFailures: number;
      readonly infraFailures: number;
      /** Epoch milliseconds. */
      readonly notBefore: number;
    };

/**
 * Whether a failed attempt is repeated, and when. `retries: n` allows n + 1 user attempts; infrastructure failures have their own
 * cap and do not spend the user's.
 */
export function decideRetry(
  state: Pick<RunState, 'userFailures' | 'infraFailures'>,
  request: Pick<RunRequest, 'retries' | 'retryDelaySeconds' | 'retryExponentialBackoff' | 'maxRetryDelaySeconds'>,
  diagnosis: Diagnosis | undefined,
  now: number,
  policy: RetryPolicy = RETRY_POLICY,
): RetryDecision {
  const { userFailures, infraFailures } = state;
  switch (spends(diagnosis)) {
    case 'none':
      return { kind: 'end' };
    case 'user': {
      const failures = userFailures + 1;
      if (failures > request.retries) return { kind: 'end' };
      const baseMs = request.retryDelaySeconds * 1000;
      const delayMs = request.retryExponentialBackoff
        ? backOffMs(failures, baseMs, request.maxRetryDelaySeconds * 1000)
        : baseMs;
      return { kind: 'again', userFailures: failures, infraFailures, notBefore: Math.ceil(now + delayMs) };
    }
    case 'infrastructure': {
      const failures = infraFailures + 1;
      if (failures > policy.infrastructureCap) return { kind: 'end' };
      const delayMs = backOffMs(failures, policy.infrastructureBaseMs, policy.infrastructureMaxMs);
      return { kind: 'again', userFailures, infraFailures: failures, notBefore: Math.ceil(now + delayMs) };
    }
  }
}
