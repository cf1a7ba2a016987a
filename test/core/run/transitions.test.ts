import { describe, expect, test } from 'vitest';
import type { StepMessage } from '../../../src/core/run/transitions.ts';
import {
  TERMINAL_PHASES,
  MESSAGE_ROWS,
  OWNER_ROWS,
  decide,
  isAllowed,
  stateDiagram,
} from '../../../src/core/run/transitions.ts';
import {
  accepted,
  completedData,
  deferred,
  ended,
  blocking,
  lifecycleData,
  refused,
  retrying,
  stoppingBegun,
  subscriptionOf,
  taken,
} from '../../../src/core/run/state-changes.ts';
import { diagnosisOf } from '../../../src/core/run/diagnosis.ts';
import { completedDataSchema, lifecycleDataSchema } from '../../../src/wire/events.ts';
import { PHASES, runStateSchema } from '../../../src/wire/run-state.ts';
import { subscriptionSchema } from '../../../src/wire/triggers.ts';
import type { Phase, RunState } from '../../../src/wire/run-state.ts';

const run = { tenant: 't', runId: 'r' };
const fence = { stream: 'RUNS', seq: 1, epoch: 1, by: 'w1' };
const other = { stream: 'STEPS', seq: 7 };
const pod = { connection: 'c', namespace: 'n', name: 'p', uid: 'u1' };
const NOW = 1_000_000;
const request = { operator: 'pod' };

const queued = (more: Partial<typeof request & { startAfter: string; expireSeconds: number }> = {}): RunState =>
  accepted({ ...request, ...more }, { queue: 'default', fence, requestHash: 'h', now: NOW });
const starting = taken(queued(), 'Starting', { ...other, by: 'w2' });
const waiting = deferred(starting, { pod, await: { terminal: true } }, { now: NOW });
const owner = { stream: fence.stream, seq: fence.seq };

const start: StepMessage = { on: 'start', attempt: 1 };
const success: StepMessage = { on: 'resume', step: 1, event: { kind: 'success' } };
const expired: StepMessage = { on: 'resume', step: 0, event: { kind: 'timeout', reason: 'EXPIRED' } };

describe('decide', () => {
  test('a start takes a queued run of its attempt', () => {
    expect(decide(queued(), start, other, NOW)).toBe('take');
    expect(decide(queued(), { on: 'start', attempt: 2 }, other, NOW)).toBe('ack');
  });

  test('a start before its time changes nothing', () => {
    const later = queued({ startAfter: new Date(NOW + 60_000).toISOString() });
    expect(decide(later, start, other, NOW)).toBe('ack');
    expect(decide(later, start, other, NOW + 60_000)).toBe('take');
  });

  test('the redelivery of the owning message announces a settled phase, or takes over with the next epoch', () => {
    expect(decide(queued(), { on: 'request' }, owner, NOW)).toBe('announce');
    expect(decide(starting, start, other, NOW)).toBe('take');
    expect(decide(waiting, start, other, NOW)).toBe('announce');
    expect(decide(ended(starting, { state: 'failed' }, NOW), start, other, NOW)).toBe('announce');
    expect(taken(starting, 'Starting', { ...other, by: 'w3' }).fence).toEqual({ ...other, by: 'w3', epoch: 3 });
  });

  test('a start that is taken over knows the pod of a blocking run; an attempt that begins knows none', () => {
    const keeping = blocking(starting, { pod, await: { terminal: true } }, { now: NOW });
    expect(taken(keeping, 'Starting', { ...other, by: 'w3' })).toMatchObject({ pod, await: { terminal: true } });
    const counters = { userFailures: 1, infraFailures: 0, notBefore: NOW, untilGone: false };
    const again = retrying(keeping, { state: 'failed' }, undefined, counters);
    const begun = taken(again, 'Starting', { stream: 'STEPS', seq: 8, by: 'w2' });
    expect([begun.pod, begun.await]).toEqual([undefined, undefined]);
  });

  test('a duplicate of the request changes nothing, whatever it contains', () => {
    expect(decide(queued(), { on: 'request' }, { stream: 'RUNS', seq: 99 }, NOW)).toBe('ack');
  });

  test('an event of the present step resumes, one of an older step changes nothing', () => {
    const message = { stream: 'STEPS', seq: 8 };
    expect(decide(waiting, success, message, NOW)).toBe('take');
    expect(decide(waiting, { ...success, step: 0 }, message, NOW)).toBe('ack');
    expect(decide(taken(waiting, 'Resuming', { ...other, by: 'w' }), success, message, NOW)).toBe('ack');
    expect(decide(ended(waiting, { state: 'succeeded' }, NOW), success, message, NOW)).toBe('drop');
    expect(decide(undefined, success, message, NOW)).toBe('drop');
    // A wait for a start can be left over as well.
    expect(decide(ended(waiting, { state: 'succeeded' }, NOW), start, message, NOW)).toBe('drop');
  });

  test('only a queued run expires', () => {
    expect(decide(queued(), expired, other, NOW)).toBe('end');
    expect(decide(waiting, { ...expired, step: 1 }, { stream: 'STEPS', seq: 8 }, NOW)).toBe('ack');
  });

  test('a cancel ends, stops or marks, once', () => {
    const message = { stream: 'STEPS', seq: 9 };
    const cancel: StepMessage = { on: 'cancel' };
    expect(decide(queued(), cancel, message, NOW)).toBe('end');
    expect(decide(waiting, cancel, message, NOW)).toBe('take');
    expect(decide(starting, cancel, message, NOW)).toBe('mark');
    expect(decide({ ...starting, cancel: { at: NOW } }, cancel, message, NOW)).toBe('ack');
    expect(decide(ended(waiting, { state: 'succeeded' }, NOW), cancel, message, NOW)).toBe('ack');
    const again = retrying(waiting, { state: 'failed' }, undefined, {
      userFailures: 1,
      infraFailures: 0,
      notBefore: NOW,
      untilGone: true,
    });
    expect(decide(again, cancel, message, NOW)).toBe('take');
  });
});

describe('the table', () => {
  const messages = ['request', 'start', 'resume', 'cancel'] as const;
  const changes = OWNER_ROWS.map(({ on }) => on);

  test('lets nothing leave a terminal phase', () => {
    for (const phase of TERMINAL_PHASES)
      for (const to of PHASES)
        for (const on of [...messages, ...changes])
          expect(isAllowed(phase, on, to)).toBe(on === 'requeue' && to === phase);
  });

  test('lets a run begin with its request only, as Queued or Failed', () => {
    const first = PHASES.filter((to) => isAllowed('none', 'request', to));
    expect(first).toEqual(['Queued', 'Failed']);
    for (const on of [...messages, ...changes])
      for (const to of PHASES) if (on !== 'request') expect(isAllowed('none', on, to)).toBe(false);
  });

  test('lets what a message takes go into the phase of its step only, and a mark leave the phase as it is', () => {
    const reached = (from: Phase, on: (typeof messages)[number]) => PHASES.filter((to) => isAllowed(from, on, to));
    expect(reached('Queued', 'start')).toEqual(['Starting']);
    expect(reached('Starting', 'start')).toEqual(['Starting']);
    expect(reached('Deferred', 'start')).toEqual([]);
    expect(reached('Queued', 'resume')).toEqual(['Failed']);
    expect(reached('Deferred', 'resume')).toEqual(['Resuming']);
    expect(reached('Queued', 'cancel')).toEqual(['Resuming', 'Cancelled']);
    expect(reached('Starting', 'cancel')).toEqual(['Starting']);
    expect(reached('Resuming', 'cancel')).toEqual(['Resuming']);
  });

  test('lets only a run that is being worked on wait, block, stop, repeat or end', () => {
    for (const on of ['defer', 'block', 'stop', 'retry', 'end', 'postpone'] as const)
      for (const from of ['Queued', 'Deferred'] as const)
        for (const to of PHASES) expect(isAllowed(from, on, to)).toBe(false);
    expect(isAllowed('Resuming', 'postpone', 'Queued')).toBe(false);
    expect(isAllowed('Starting', 'block', 'Starting')).toBe(true);
    expect(isAllowed('Starting', 'block', 'Deferred')).toBe(false);
  });

  test('reaches every phase', () => {
    const reached = new Set([...MESSAGE_ROWS, ...OWNER_ROWS].flatMap(({ to = [] }) => to));
    expect([...reached].sort()).toEqual([...PHASES].sort());
  });

  test('is drawn as a diagram', () => {
    expect(stateDiagram()).toMatchInlineSnapshot(`
      "stateDiagram-v2
          [*] --> Queued: request
          [*] --> Failed: request
          Queued --> Starting: start
          Queued --> Failed: expired, give up
          Deferred --> Resuming: resume, cancel
          Queued --> Cancelled: cancel
          Queued --> Resuming: cancel
          Starting --> Deferred: defer, stop
          Resuming --> Deferred: defer, stop
          Starting --> Queued: postpone, retry
          Resuming --> Queued: retry
          Starting --> Succeeded: end
          Starting --> Failed: end, give up
          Starting --> Skipped: end
          Starting --> Cancelled: end
          Resuming --> Succeeded: end
          Resuming --> Failed: end, give up
          Resuming --> Skipped: end
          Resuming --> Cancelled: end
          Deferred --> Failed: give up
          Succeeded --> [*]
          Failed --> [*]
          Skipped --> [*]
          Cancelled --> [*]"
    `);
  });
});

describe('states', () => {
  const failed = { state: 'failed' as const, diagnosis: diagnosisOf('CONTAINER_FAILED') };

  test('every state reads back by its schema', () => {
    const all = [
      queued({ expireSeconds: 5 }),
      starting,
      waiting,
      stoppingBegun(waiting, pod, { state: 'cancelled' }),
      retrying(waiting, failed, undefined, { userFailures: 1, infraFailures: 0, notBefore: NOW, untilGone: false }),
      ended(waiting, failed, NOW),
      refused(diagnosisOf('INVALID_REQUEST'), { queue: 'default', operator: 'pod', fence, requestHash: '', now: NOW }),
    ];
    for (const state of all) expect(runStateSchema.parse(JSON.parse(JSON.stringify(state)))).toEqual(state);
  });

  test('the execution time-out is fixed at the launch and unchanged by re-deferral', () => {
    const limits = { executionTimeoutSeconds: 60, now: NOW };
    const first = deferred(starting, { pod, await: { terminal: true } }, limits);
    const second = deferred(
      taken(first, 'Resuming', { ...other, by: 'w' }),
      { pod, await: { terminal: true } },
      { ...limits, now: NOW + 9_000 },
    );
    expect([first.await?.timeoutAt, second.await?.timeoutAt]).toEqual([NOW + 60_000, NOW + 60_000]);
  });

  test('another attempt starts with clean facts and its own step', () => {
    const again = retrying({ ...waiting, timeoutAt: 5, cursors: { base: '1:1' } }, failed, undefined, {
      userFailures: 1,
      infraFailures: 0,
      notBefore: NOW + 5,
      untilGone: true,
    });
    expect(again).toMatchObject({
      phase: 'Queued',
      attempt: 2,
      step: 2,
      userFailures: 1,
      await: { notBefore: NOW + 5, gone: true },
    });
    expect(again).not.toHaveProperty('timeoutAt');
    expect(again).not.toHaveProperty('cursors');
    expect(again.timings).toEqual({ acceptedAt: NOW });
  });

  test('a subscription names its wait and is small', () => {
    const subscription = subscriptionOf(waiting, 42);
    expect(subscription).toEqual({
      v: 1,
      queue: 'default',
      attempt: 1,
      step: 1,
      stateRev: 42,
      pod,
      await: { terminal: true },
      then: 'resume',
    });
    expect(subscriptionSchema.parse(subscription)).toEqual(subscription);
    expect(JSON.stringify(subscription).length).toBeLessThan(512);
    expect(subscriptionOf(starting, 1)).toBeUndefined();
    expect(subscriptionOf(queued(), 1)).toBeUndefined();
    expect(subscriptionOf(queued({ expireSeconds: 9 }), 1)).toMatchObject({
      then: 'start',
      await: { notBefore: NOW, expireAt: NOW + 9_000 },
    });
  });

  test('a diagnosis of any size leaves the state under 8 KiB', () => {
    const problems = Array.from({ length: 500 }, (_, n) => ({
      path: `params.field${n}`,
      message: 'is wrong '.repeat(50),
    }));
    const state = ended(
      waiting,
      { state: 'failed', diagnosis: diagnosisOf('INVALID_REQUEST', { problems, message: 'x'.repeat(9_000) }) },
      NOW,
    );
    expect(JSON.stringify(state).length).toBeLessThan(8 * 1024);
  });

  test('the data of events reads back by their schemas', () => {
    const done = ended(waiting, { ...failed, exitCode: 3 }, NOW + 1);
    expect(completedDataSchema.parse(completedData(run, done))).toMatchObject({
      tenant: 't',
      runId: 'r',
      state: 'failed',
      exitCode: 3,
      attempt: 1,
      pod,
    });
    expect(lifecycleDataSchema.parse(lifecycleData(run, waiting, NOW, { why: 'so', notBefore: NOW }))).toMatchObject({
      step: 1,
      why: 'so',
    });
  });
});
