import { expect, suite, test } from 'vitest';
import {
  checkAgainMs,
  connectionDiagnosis,
  connectionProblem,
  isAway,
  unansweredProblem,
} from '../../src/core/connection-state.ts';

const EU = { connection: 'eu', namespace: undefined };
const JOBS = { connection: 'eu', namespace: 'jobs' };

suite('the state of a connection', () => {
  test('is checked again with back-off while it is bad, and each minute while it is good', () => {
    expect([1, 2, 3, 6, 100].map(checkAgainMs)).toEqual([1_000, 2_000, 4_000, 30_000, 30_000]);
    expect(checkAgainMs(0)).toBe(60_000);
  });

  test('names the namespace that lacks permissions, and which', () => {
    const lacks = { kind: 'lacks', missing: ['create pods', 'get pods/log'] } as const;
    expect(connectionProblem(JOBS, lacks)).toBe(
      'connection eu lacks permissions in namespace jobs: create pods, get pods/log',
    );
    expect(connectionProblem(EU, lacks)).toContain('in all namespaces');
    expect(connectionDiagnosis(JOBS, lacks)).toMatchObject({
      code: 'PERMISSIONS_MISSING',
      category: 'infrastructure',
      summary: expect.stringContaining('create pods'),
    });
  });

  test('mentions an API server that has not answered for 10 s, and counts it as away from 30 s on', () => {
    expect([0, 9_999].map((ms) => unansweredProblem('eu', ms))).toEqual([undefined, undefined]);
    expect(unansweredProblem('eu', 10_500)).toBe('API server of connection eu has not answered for 10 s');
    expect([29_999, 30_000].map(isAway)).toEqual([false, true]);
  });

  test('makes runs wait until it is good, with the reason', () => {
    expect(connectionDiagnosis(EU, { kind: 'ok' })).toBeUndefined();
    expect(connectionDiagnosis(EU, { kind: 'unchecked' })).toMatchObject({ code: 'CONNECTION_UNREACHABLE' });
    expect(connectionDiagnosis(EU, { kind: 'unreachable', why: 'ECONNREFUSED' })).toMatchObject({
      code: 'CONNECTION_UNREACHABLE',
      summary: 'The run waits for connection eu: connection eu is unreachable: ECONNREFUSED',
    });
  });
});
