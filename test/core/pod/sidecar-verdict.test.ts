import { describe, expect, test } from 'vitest';
import { judge, podVerdict, SIDECAR_START_MS } from '../../../src/core/pod/judge.ts';
import type { ContainerProjection, PodProjection } from '../../../src/core/pod/projection.ts';
import { XCOM } from '../../../src/core/pod/xcom-sidecar.ts';
import type { Subscription } from '../../../src/wire/triggers.ts';

const REF = { connection: 'c', namespace: 'n', name: 'p', uid: 'u' };
const base = (more: Partial<ContainerProjection>): ContainerProjection => ({
  ...{ name: 'base', kind: 'main', state: 'running', restartCount: 0 },
  ...more,
});
const ended = base({ state: 'terminated', exitCode: 0, finishedAt: 10_000 });
const beside = (name: string, more: Partial<ContainerProjection>): ContainerProjection => base({ name, ...more });
const pod = (containers: readonly ContainerProjection[], more: Partial<PodProjection> = {}): PodProjection => ({
  ...REF,
  ...{ resourceVersion: '1', phase: 'Running', createdAt: 0, baseContainer: 'base', containers, alreadyChecked: false },
  ...more,
});
const at = (now: number, seen: PodProjection, timeoutAt?: number) => {
  const wanted = { terminal: true, ...(timeoutAt === undefined ? {} : { timeoutAt }) };
  const waiting: Subscription = {
    ...{ v: 1, queue: 'q', attempt: 1, step: 0, stateRev: 1, pod: REF, then: 'resume' },
    await: wanted,
  };
  return judge(waiting, seen, now);
};

describe('a pod with a container beside its own', () => {
  test.each(['istio-proxy', XCOM.container, 'logger'])(
    'has ended with the base container, although %s still runs',
    (name) => {
      expect(podVerdict(pod([ended, beside(name, { state: 'running' })]))).toEqual({ kind: 'success' });
      const failed = base({ state: 'terminated', exitCode: 2, finishedAt: 10_000 });
      expect(podVerdict(pod([failed, beside(name, { state: 'running' })]))).toEqual({
        kind: 'failed',
        code: 'CONTAINER_FAILED',
      });
    },
  );

  test('still runs although the other’s image cannot be pulled', () => {
    const stuck = beside('logger', { state: 'waiting', reason: 'ImagePullBackOff', message: 'not found' });
    expect(podVerdict(pod([base({}), stuck]))).toEqual({ kind: 'open' });
    expect(podVerdict(pod([base({ state: 'waiting' }), stuck], { phase: 'Pending' })).kind).toBe('failed');
  });
});

describe('a result sidecar that has yet to start', () => {
  const late = beside(XCOM.container, { state: 'waiting', reason: 'ContainerCreating' });

  test('is waited for, for a limited time', () => {
    expect(at(11_000, pod([ended, late]))).toEqual({ kind: 'wait', until: 10_000 + SIDECAR_START_MS });
    expect(at(10_000 + SIDECAR_START_MS, pod([ended, late]))).toMatchObject({
      kind: 'fire',
      event: { kind: 'success' },
    });
    expect(at(11_000, pod([ended, { ...late, state: 'running' }]))).toMatchObject({ kind: 'fire' });
    const failed = base({ state: 'terminated', exitCode: 1, finishedAt: 10_000 });
    expect(at(11_000, pod([failed, late]))).toEqual({ kind: 'wait', until: 10_000 + SIDECAR_START_MS });
    expect(at(11_000, pod([failed, { ...late, state: 'running' }]))).toMatchObject({ event: { kind: 'failed' } });
  });

  test('is not waited for beyond the execution time-out, nor when it cannot start', () => {
    expect(at(11_000, pod([ended, late]), 12_000)).toEqual({ kind: 'wait', until: 12_000 });
    expect(at(12_000, pod([ended, late]), 12_000)).toMatchObject({ kind: 'fire', event: { kind: 'success' } });
    const hopeless = { ...late, reason: 'ErrImagePull', message: 'manifest unknown' };
    expect(at(11_000, pod([ended, hopeless]))).toMatchObject({ kind: 'fire' });
    expect(at(11_000, pod([ended, late], { phase: 'Succeeded' }))).toMatchObject({ kind: 'fire' });
  });
});
