import { backOffMs } from '../back-off.ts';
import { budgetOf, isDiagnosisCode } from './diagnosis.ts';
import type { Diagnosis } from '../../wire/outcome.ts';
import type { RunRequest } from '../../wire/run-request.ts';
import type { RunState } from '../../wire/run-state.ts';

/** Limits of the engine's own retries. The user's are part of the request. */
export interface RetryPolicy {
  /** Number of infrastructure failures that a run survives. */
  readonly infrastructureCap: number;
  /** Delay before the first infrastructure retry; doubles with each. */
  readonly infrastructureBaseMs: number;
  readonly infrastructureMaxMs: number;
  /** Delay before a message is redelivered after a fault; doubles with each delivery. */
  readonly faultBaseMs: number;
  readonly faultMaxMs: number;
}

/** The limits in production. */
export const RETRY_POLICY: RetryPolicy = {
  infrastructureCap: 5,
  infrastructureBaseMs: 5_000,
  infrastructureMaxMs: 300_000,
  faultBaseMs: 1_000,
  faultMaxMs: 60_000,
};

/** Which budget a failure is charged to. `none`: a retry cannot help, so the run ends. */
export type Budget = 'user' | 'infrastructure' | 'none';

const BUDGET_OF_CATEGORY: Readonly<Record<Diagnosis['category'], Budget>> = {
  user: 'user',
  timeout: 'user', // an execution time-out is the fault of the user's program: it costs a retry
  infrastructure: 'infrastructure',
  request: 'none',
  cancelled: 'none',
};

/** The budget that `diagnosis` is charged to: by its code if the table has it, else by category. Without a diagnosis it is the user's. */
export function budgetFor(diagnosis: Diagnosis | undefined): Budget {
  if (diagnosis === undefined) return 'user';
  return isDiagnosisCode(diagnosis.code) ? budgetOf(diagnosis.code) : BUDGET_OF_CATEGORY[diagnosis.category];
}

/**
 * How long a read of what an ended pod still has (logs, result) is repeated while the API server cannot answer, in milliseconds from its first failure.
 * The pod is retained until then. `ended`: the usual case. `leaving`: a stop that waits for its pod to be deleted, or a node that is going away.
 */
export const READ_PERIOD_MS = { ended: 15 * 60_000, leaving: 60_000 } as const;

/** Whether a read that has failed since `failingSince` (epoch milliseconds; `undefined`: for the first time now) is repeated. */
export function isReadRepeated(failingSince: number | undefined, now: number, periodMs: number): boolean {
  return now - (failingSince ?? now) < periodMs;
}

/** What happens to a run whose attempt failed. */
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
 * Whether a failed attempt is retried, and when. `retries: n` allows n + 1 user attempts. Infrastructure failures have their own limit and
 * do not count against the user's.
 */
export function decideRetry(
  state: Pick<RunState, 'userFailures' | 'infraFailures'>,
  request: Pick<RunRequest, 'retries' | 'retryDelaySeconds' | 'retryExponentialBackoff' | 'maxRetryDelaySeconds'>,
  diagnosis: Diagnosis | undefined,
  now: number,
  policy: RetryPolicy = RETRY_POLICY,
): RetryDecision {
  const { userFailures, infraFailures } = state;
  switch (budgetFor(diagnosis)) {
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
