import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { diagnose, DIAGNOSES, diagnosisOf, isDiagnosisCode } from '../../../src/core/run/diagnosis.ts';
import { judge, judgeAbsence, podVerdict } from '../../../src/core/pod/judge.ts';
import type { ContainerProjection, PodProjection } from '../../../src/core/pod/projection.ts';
import { aContainer, aPod, aSubscription } from '../../support/builders.ts';
import { diagnosisSchema } from '../../../src/wire/outcome.ts';
import { triggerEventSchema } from '../../../src/wire/triggers.ts';
import type { Await, Subscription } from '../../../src/wire/triggers.ts';

const NOW = 1_000_000;

const base = (facts: Partial<ContainerProjection> = {}): ContainerProjection => ({
  ...{ name: 'base', kind: 'main', state: 'running', restartCount: 0 },
  ...facts,
});
const ended = (exitCode: number, facts: Partial<ContainerProjection> = {}) =>
  base({ state: 'terminated', exitCode, ...facts });
const waiting = (reason: string, message?: string, facts: Partial<ContainerProjection> = {}) =>
  base({ state: 'waiting', reason, message, ...facts });
const init = (facts: Partial<ContainerProjection>) => base({ name: 'prepare', kind: 'init', ...facts });

const pod = (facts: Partial<PodProjection> = {}): PodProjection => ({
  ...{ connection: 'c', namespace: 'ns', name: 'p', uid: 'u1', resourceVersion: '1', phase: 'Running' },
  ...{ createdAt: NOW - 5000, scheduledAt: NOW - 4000, baseContainer: 'base', alreadyChecked: false },
  containers: [base()],
  ...facts,
});

const subscription = (wanted: Await, then: 'resume' | 'start' = 'resume'): Subscription => ({
  ...{ v: 1, queue: 'default', attempt: 1, step: 1, stateRev: 1, then },
  pod: { connection: 'c', namespace: 'ns', name: 'p', uid: 'u1' },
  await: wanted,
});

describe('what a pod’s state means', () => {
  test.each<[string, Partial<PodProjection>, ReturnType<typeof podVerdict>]>([
    ['runs', {}, { kind: 'open' }],
    ['base ended well, a sidecar still runs', { containers: [ended(0), base({ name: 'proxy' })] }, { kind: 'success' }],
    [
      'base ended well, another main container failed and with it the pod',
      { phase: 'Failed', containers: [ended(0), ended(1, { name: 'other' })] },
      { kind: 'success' },
    ],
    [
      'base failed, another main container still works',
      { containers: [ended(1), base({ name: 'other' })] },
      { kind: 'failed', code: 'CONTAINER_FAILED' },
    ],
    [
      'base ended well, seen first in the last phase',
      { phase: 'Succeeded', containers: [ended(0)] },
      { kind: 'success' },
    ],
    ['Succeeded without container statuses', { phase: 'Succeeded', containers: [] }, { kind: 'success' }],
    ['phase Unknown decides nothing', { phase: 'Unknown' }, { kind: 'open' }],
    ['exit code', { containers: [ended(3)] }, { kind: 'failed', code: 'CONTAINER_FAILED' }],
    ['out of memory', { containers: [ended(137, { reason: 'OOMKilled' })] }, { kind: 'failed', code: 'OOM_KILLED' }],
    [
      'a command that is not there',
      { containers: [ended(128, { reason: 'StartError' })] },
      { kind: 'failed', code: 'CONTAINER_CANNOT_RUN' },
    ],
    ['killed under deletion', { deletedAt: NOW, containers: [ended(137)] }, { kind: 'failed', code: 'POD_DELETED' }],
    [
      'lost by the runtime',
      { containers: [ended(137, { reason: 'ContainerStatusUnknown' })] },
      { kind: 'failed', code: 'TERMINATED_UNKNOWN' },
    ],
    [
      'evicted before any status',
      { phase: 'Failed', reason: 'Evicted', containers: [] },
      { kind: 'failed', code: 'EVICTED' },
    ],
    [
      'evicted with a killed container',
      { phase: 'Failed', reason: 'Evicted', containers: [ended(137)] },
      { kind: 'failed', code: 'EVICTED' },
    ],
    [
      'preempted',
      { disruption: 'PreemptionByScheduler', containers: [ended(143)] },
      { kind: 'failed', code: 'PREEMPTED' },
    ],
    [
      'node gone',
      { phase: 'Failed', disruption: 'DeletionByPodGC', containers: [base()] },
      { kind: 'failed', code: 'NODE_LOST' },
    ],
    [
      'own deadline',
      { phase: 'Failed', reason: 'DeadlineExceeded', containers: [ended(137)] },
      { kind: 'failed', code: 'DEADLINE_EXCEEDED' },
    ],
    [
      'refused by the node',
      { phase: 'Failed', reason: 'OutOfcpu', containers: [] },
      { kind: 'failed', code: 'POD_REJECTED' },
    ],
    [
      'Failed without a known reason',
      { phase: 'Failed', containers: [] },
      { kind: 'failed', code: 'TERMINATED_UNKNOWN' },
    ],
    [
      'init container failed',
      { phase: 'Pending', containers: [init({ state: 'terminated', exitCode: 2 }), waiting('PodInitializing')] },
      { kind: 'failed', code: 'INIT_CONTAINER_FAILED' },
    ],
    [
      'init container done',
      { phase: 'Pending', containers: [init({ state: 'terminated', exitCode: 0 }), waiting('PodInitializing')] },
      { kind: 'open' },
    ],
    [
      'a native sidecar ended',
      { containers: [base(), base({ name: 's', kind: 'sidecar', state: 'terminated', exitCode: 1 })] },
      { kind: 'open' },
    ],
    [
      'no such image',
      { phase: 'Pending', containers: [waiting('ErrImagePull', 'manifest unknown')] },
      { kind: 'failed', code: 'IMAGE_PULL_FAILED' },
    ],
    [
      'no such image of an init container',
      {
        phase: 'Pending',
        containers: [init({ state: 'waiting', reason: 'ImagePullBackOff' }), base({ state: 'waiting' })],
      },
      { kind: 'failed', code: 'IMAGE_PULL_FAILED' },
    ],
    [
      'throttled pull',
      { phase: 'Pending', containers: [waiting('ErrImagePull', '429 toomanyrequests: slow down')] },
      { kind: 'open' },
    ],
    [
      'no image name',
      { phase: 'Pending', containers: [waiting('InvalidImageName')] },
      { kind: 'failed', code: 'INVALID_IMAGE_NAME' },
    ],
    [
      'never pull',
      { phase: 'Pending', containers: [waiting('ErrImageNeverPull')] },
      { kind: 'failed', code: 'IMAGE_PULL_FAILED' },
    ],
    [
      'no secret',
      { phase: 'Pending', containers: [waiting('CreateContainerConfigError', 'secret "s" not found')] },
      { kind: 'failed', code: 'CONTAINER_CONFIG_ERROR' },
    ],
    [
      'secrets not yet synced',
      { phase: 'Pending', containers: [waiting('CreateContainerConfigError', 'failed to sync secret cache')] },
      { kind: 'open' },
    ],
    ['being made', { phase: 'Pending', containers: [waiting('ContainerCreating')] }, { kind: 'open' }],
    [
      'cannot start and is being deleted',
      { phase: 'Pending', deletedAt: NOW, containers: [waiting('ImagePullBackOff')] },
      { kind: 'open' },
    ],
  ])('%s', (_, facts, verdict) => {
    expect(podVerdict(pod(facts))).toEqual(verdict);
  });
});

describe('judge', () => {
  const pending = pod({ phase: 'Pending', containers: [waiting('ContainerCreating')] });
  const unscheduled = pod({ phase: 'Pending', scheduledAt: undefined, containers: [] });
  const terminal: Await = { terminal: true, scheduleBy: NOW + 10, startBy: NOW + 20, timeoutAt: NOW + 30 };

  test.each<[string, Subscription, PodProjection | undefined, number, object]>([
    ['fires on the end', subscription(terminal), pod({ containers: [ended(0)] }), NOW, { kind: 'success' }],
    [
      'fires on a failure with its code',
      subscription(terminal),
      pod({ containers: [ended(1)] }),
      NOW,
      { kind: 'failed', reason: 'CONTAINER_FAILED' },
    ],
    [
      'an end beats a deadline that is over',
      subscription(terminal),
      pod({ containers: [ended(0)] }),
      NOW + 99,
      { kind: 'success' },
    ],
    ['not scheduled', subscription(terminal), unscheduled, NOW + 10, { kind: 'timeout', reason: 'SCHEDULE_TIMEOUT' }],
    ['it did not start', subscription(terminal), pending, NOW + 20, { kind: 'timeout', reason: 'STARTUP_TIMEOUT' }],
    [
      'the pull was held back to the end',
      subscription(terminal),
      pod({ phase: 'Pending', containers: [waiting('ErrImagePull', 'too many requests')] }),
      NOW + 20,
      { kind: 'timeout', reason: 'IMAGE_PULL_THROTTLED' },
    ],
    ['it runs too long', subscription(terminal), pod(), NOW + 30, { kind: 'timeout', reason: 'EXECUTION_TIMEOUT' }],
    [
      'it runs too long, unseen',
      subscription(terminal),
      undefined,
      NOW + 30,
      { kind: 'timeout', reason: 'EXECUTION_TIMEOUT' },
    ],
    ['a timer', subscription({ notBefore: NOW }, 'start'), undefined, NOW, { kind: 'timer' }],
    [
      'too late to start',
      subscription({ notBefore: NOW + 9, expireAt: NOW }, 'start'),
      undefined,
      NOW,
      { kind: 'timeout', reason: 'EXPIRED' },
    ],
  ])('fires: %s', (_, wanted, seen, now, event) => {
    const judgement = judge(wanted, seen, now);
    expect(judgement).toMatchObject({ kind: 'fire', event: { ...event, at: now } });
    if (judgement.kind === 'fire') triggerEventSchema.parse(judgement.event);
  });

  test.each<[string, Subscription, PodProjection | undefined, number | undefined]>([
    ['a running pod: the execution time-out only', subscription(terminal), pod(), NOW + 30],
    ['a scheduled pod: the start', subscription(terminal), pending, NOW + 20],
    ['an unscheduled pod: the schedule', subscription(terminal), unscheduled, NOW + 10],
    ['an unknown pod has no start deadlines', subscription({ terminal: true, startBy: NOW - 1 }), undefined, undefined],
    [
      'a pod of another uid is no pod of ours',
      subscription({ terminal: true }),
      pod({ uid: 'u2', containers: [ended(0)] }),
      undefined,
    ],
    ['gone: as long as the pod is there', subscription({ gone: true }), pod({ containers: [ended(0)] }), undefined],
    ['gone: not known is not gone', subscription({ gone: true, notBefore: NOW - 1 }, 'start'), undefined, undefined],
    ['a timer', subscription({ notBefore: NOW + 5, expireAt: NOW + 9 }, 'start'), undefined, NOW + 5],
  ])('waits: %s', (_, wanted, seen, until) => {
    expect(judge(wanted, seen, NOW)).toEqual(until === undefined ? { kind: 'wait' } : { kind: 'wait', until });
  });

  test.each<[string, Subscription, PodProjection | undefined, object]>([
    ['the pod is gone', subscription({ gone: true }), pod(), { kind: 'fire', event: { kind: 'gone' } }],
    [
      'gone, but not before its time',
      subscription({ gone: true, notBefore: NOW + 7 }, 'start'),
      undefined,
      { kind: 'wait', until: NOW + 7 },
    ],
    [
      'it had ended: its verdict stays',
      subscription({ terminal: true }),
      pod({ containers: [ended(0)] }),
      { kind: 'fire', event: { kind: 'success' } },
    ],
    [
      'it was taken away while it ran',
      subscription({ terminal: true }),
      pod(),
      { kind: 'fire', event: { kind: 'gone', reason: 'POD_DELETED' } },
    ],
    [
      'its node was lost',
      subscription({ terminal: true }),
      pod({ disruption: 'DeletionByTaintManager' }),
      { kind: 'fire', event: { kind: 'gone', reason: 'NODE_LOST' } },
    ],
    [
      'it was never seen',
      subscription({ terminal: true }),
      undefined,
      { kind: 'fire', event: { kind: 'gone', reason: 'POD_DELETED' } },
    ],
    [
      'never started, and its image could not be pulled: the removal is what happened, which costs no try of the user',
      subscription({ terminal: true }),
      pod({ phase: 'Pending', containers: [waiting('ErrImagePull', 'manifest unknown')] }),
      { kind: 'fire', event: { kind: 'gone', reason: 'POD_DELETED' } },
    ],
    [
      'started, and its init container failed',
      subscription({ terminal: true }),
      pod({ phase: 'Failed', containers: [init({ state: 'terminated', exitCode: 1 }), waiting('PodInitializing')] }),
      { kind: 'fire', event: { kind: 'failed', reason: 'INIT_CONTAINER_FAILED' } },
    ],
  ])('absence: %s', (_, wanted, last, judgement) => {
    expect(judgeAbsence(wanted, last, NOW)).toMatchObject(judgement);
  });
});

const container = fc.record({
  name: fc.constantFrom('base', 'other'),
  kind: fc.constantFrom('main', 'init', 'sidecar'),
  state: fc.constantFrom('waiting', 'running', 'terminated'),
  reason: fc.option(fc.constantFrom('OOMKilled', 'ErrImagePull', 'ContainerStatusUnknown', 'Completed'), {
    nil: undefined,
  }),
  exitCode: fc.option(fc.constantFrom(0, 1, 137, 143), { nil: undefined }),
  restartCount: fc.constant(0),
});
const anyPod = fc.record({
  phase: fc.constantFrom('Pending', 'Running', 'Succeeded', 'Failed', 'Unknown'),
  reason: fc.option(fc.constantFrom('Evicted', 'DeadlineExceeded', 'Odd'), { nil: undefined }),
  disruption: fc.option(fc.constantFrom('PreemptionByScheduler', 'Odd'), { nil: undefined }),
  deletedAt: fc.option(fc.constant(NOW), { nil: undefined }),
  scheduledAt: fc.option(fc.constant(NOW), { nil: undefined }),
  containers: fc.array(container, { maxLength: 4 }),
});
const instant = fc.option(fc.integer({ min: NOW - 5, max: NOW + 5 }), { nil: undefined });
const anyAwait = fc.record({
  terminal: fc.option(fc.boolean(), { nil: undefined }),
  gone: fc.option(fc.boolean(), { nil: undefined }),
  ...{ notBefore: instant, scheduleBy: instant, startBy: instant, timeoutAt: instant, expireAt: instant },
});

test('success only where one was observed, and no wait until a past moment', () => {
  fc.assert(
    fc.property(anyPod, anyAwait, fc.boolean(), fc.boolean(), (facts, wanted, absent, known) => {
      const seen = known ? pod(facts) : undefined;
      const judgement = (absent ? judgeAbsence : judge)(subscription(wanted), seen, NOW);
      if (judgement.kind === 'wait') return judgement.until === undefined || judgement.until > NOW;
      triggerEventSchema.parse(judgement.event);
      const { reason } = judgement.event;
      if (reason !== undefined && !isDiagnosisCode(reason)) return false;
      if (judgement.event.kind !== 'success') return true;
      const deciding = facts.containers.find(({ name, kind }) => name === 'base' && kind === 'main');
      return deciding?.state === 'terminated' ? deciding.exitCode === 0 : facts.phase === 'Succeeded';
    }),
    { numRuns: 3000 },
  );
});

describe('diagnosis', () => {
  test('every code gives a valid diagnosis, with and without facts', () => {
    for (const code of Object.keys(DIAGNOSES)) {
      if (!isDiagnosisCode(code)) throw new Error(code);
      const full = { pod: pod(), container: ended(1, { message: 'boom' }), message: 'text', subject: 'x' };
      for (const facts of [{}, full]) {
        const diagnosis = diagnosisSchema.parse(diagnosisOf(code, facts));
        expect(diagnosis.summary).toMatch(/^[A-Z].{10,}/);
        expect(diagnosis.hint).not.toBe('');
      }
    }
  });

  test('names exit code, signal and termination message of the deciding container', () => {
    const failed = pod({
      phase: 'Failed',
      containers: [ended(137, { message: 'no more' }), base({ name: 'b', state: 'waiting', reason: 'x' })],
    });
    const diagnosis = diagnose({
      kind: 'failed',
      reason: 'CONTAINER_FAILED',
      at: NOW,
      pod: { ...failed, containers: failed.containers.map((one) => ({ ...one })) },
    });
    expect(diagnosis).toMatchObject({
      code: 'CONTAINER_FAILED',
      category: 'user',
      summary: 'Container base exited with code 137 (signal 9): no more',
    });
    expect(diagnosis?.evidence[0]).toEqual({ kind: 'container', text: 'base terminated exit code 137: no more' });
  });

  test('has no diagnosis of success and of waiting', () => {
    for (const kind of ['success', 'running', 'timer'] as const) expect(diagnose({ kind, at: NOW })).toBeUndefined();
  });

  test('an unwatched namespace is the request’s fault, a pod taken away is not', () => {
    expect(diagnose({ kind: 'error', reason: 'NOT_WATCHED', at: NOW })?.category).toBe('request');
    expect(diagnose({ kind: 'gone', at: NOW })).toMatchObject({ code: 'POD_DELETED', category: 'infrastructure' });
  });
});

test('the verdict of a killed container waits a limited time for the pod’s reason', () => {
  const base = aContainer({ state: 'terminated', exitCode: 143, reason: 'Error', finishedAt: NOW });
  const running = aPod({ phase: 'Running', containers: [base] });
  const waits = aSubscription({ await: { terminal: true } });
  expect(judge(waits, running, NOW + 1_000)).toEqual({ kind: 'wait', until: NOW + 10_000 });
  expect(judge(waits, running, NOW + 10_000)).toMatchObject({ kind: 'fire', event: { reason: 'CONTAINER_FAILED' } });
  const withReason = { ...running, phase: 'Failed', reason: 'DeadlineExceeded' } as const;
  expect(judge(waits, withReason, NOW + 1_000)).toMatchObject({ kind: 'fire', event: { reason: 'DEADLINE_EXCEEDED' } });
  const own = { ...running, containers: [{ ...base, exitCode: 1 }] };
  expect(judge(waits, own, NOW)).toMatchObject({ kind: 'fire', event: { reason: 'CONTAINER_FAILED' } });
});

test('E82 the start time-out begins at the scheduling', () => {
  const pod = aPod({
    phase: 'Pending',
    createdAt: 5_000_000,
    scheduledAt: 5_003_000,
    containers: [aContainer({ state: 'waiting' })],
  });
  const waits = aSubscription({
    await: { terminal: true, from: NOW, scheduleBy: NOW + 60_000, startBy: NOW + 70_000 },
  });
  // Scheduled after 3 s (whole seconds: at most 4), so 10 s of starting end at 14.
  expect(judge(waits, pod, NOW)).toEqual({ kind: 'wait', until: NOW + 14_000 });
  expect(judge(waits, pod, NOW + 14_000)).toMatchObject({ kind: 'fire', event: { reason: 'STARTUP_TIMEOUT' } });
  const unscheduled = { ...pod, scheduledAt: undefined, node: undefined };
  expect(judge(waits, unscheduled, NOW + 60_000)).toMatchObject({
    kind: 'fire',
    event: { reason: 'SCHEDULE_TIMEOUT' },
  });
});
