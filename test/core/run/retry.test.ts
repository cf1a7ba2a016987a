import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { diagnosisOf } from '../../../src/core/run/diagnosis.ts';
import { backOffMs } from '../../../src/core/back-off.ts';
import { RETRY_POLICY, budgetFor, decideRetry } from '../../../src/core/run/retry.ts';

const request = { retries: 2, retryDelaySeconds: 30, retryExponentialBackoff: false, maxRetryDelaySeconds: 600 };
const fresh = { userFailures: 0, infraFailures: 0 };
const USER = diagnosisOf('CONTAINER_FAILED');
const INFRASTRUCTURE = diagnosisOf('EVICTED');

describe('decideRetry', () => {
  test('retries: n allows n + 1 user attempts', () => {
    const kinds = [0, 1, 2].map((userFailures) => decideRetry({ ...fresh, userFailures }, request, USER, 0).kind);
    expect(kinds).toEqual(['again', 'again', 'end']);
  });

  test('an infrastructure failure spends no retry of the user, up to its own cap', () => {
    expect(decideRetry(fresh, { ...request, retries: 0 }, INFRASTRUCTURE, 1_000)).toEqual({
      kind: 'again',
      userFailures: 0,
      infraFailures: 1,
      notBefore: 1_000 + RETRY_POLICY.infrastructureBaseMs,
    });
    expect(decideRetry({ ...fresh, infraFailures: 5 }, request, INFRASTRUCTURE, 0)).toEqual({ kind: 'end' });
  });

  test('an execution time-out spends a retry of the user', () => {
    expect(budgetFor(diagnosisOf('EXECUTION_TIMEOUT'))).toBe('user');
  });

  test.each(['INVALID_REQUEST', 'EXPIRED', 'CANCELLED', 'DEAD_LETTERED'] as const)('%s is never repeated', (code) => {
    expect(decideRetry(fresh, request, diagnosisOf(code), 0)).toEqual({ kind: 'end' });
  });

  test('a code that the table does not know is judged by its category', () => {
    expect(budgetFor({ code: 'SOMETHING_NEW', category: 'infrastructure', summary: '', evidence: [] })).toBe(
      'infrastructure',
    );
    expect(budgetFor(undefined)).toBe('user');
  });

  test('the back-off doubles with each failure of the user and stops at its maximum', () => {
    const exponential = { ...request, retries: 100, retryExponentialBackoff: true };
    const delays = [0, 1, 2, 3, 9].map((userFailures) => {
      const decision = decideRetry({ ...fresh, userFailures }, exponential, USER, 0);
      return decision.kind === 'again' ? decision.notBefore / 1000 : undefined;
    });
    expect(delays).toEqual([30, 60, 120, 240, 600]);
  });
});

test('a back-off is never negative, beyond its maximum, or shorter than the one before', () => {
  fc.assert(
    fc.property(
      fc.nat(10_000),
      fc.integer({ min: 1, max: 1e6 }),
      fc.integer({ min: 1, max: 1e9 }),
      (failures, base, max) => {
        const ms = backOffMs(failures, base, max);
        expect(ms).toBeGreaterThan(0);
        expect(ms).toBeLessThanOrEqual(max);
        expect(backOffMs(failures + 1, base, max)).toBeGreaterThanOrEqual(ms);
      },
    ),
  );
});
