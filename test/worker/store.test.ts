import { expect, test } from 'vitest';
import { cancelMarked, deferred, ended, resumed, retrying, taken } from '../../src/core/run/state-changes.ts';
import { KubernetesError, UnreadError } from '../../src/errors.ts';
import type { Operator, StepOutcome } from '../../src/operator/operator.ts';
import type { Delivery } from '../../src/ports/broker.ts';
import type { RunState } from '../../src/wire/run-state.ts';
import type { Engine } from '../../src/worker/protocol/engine.ts';
import { laneHandler } from '../../src/worker/protocol/step.ts';
import { OwnedRun, store as storeChange } from '../../src/worker/protocol/store.ts';
import { sharedNatsServer } from '../support/nats-server.ts';
import { scriptedOperator } from '../support/simulated-pods.ts';
import { anEngine, pod, run } from '../support/worker-engine.ts';

const server = sharedNatsServer();
const OURS = { stream: 'STEPS', seq: 7 };

/** A message of the run, and the delays with which it was requeued. */
function aDelivery(message: object, deliveries = 1) {
  const requeued: (number | undefined)[] = [];
  const delivery: Delivery = {
    ...{ ...OURS, deliveries, subject: 's', tenantToken: 't', runIdToken: 'r1', publishedAt: Number.MAX_SAFE_INTEGER },
    data: new TextEncoder().encode(JSON.stringify({ v: 1, ...message })),
    ack: () => Promise.resolve(),
    nak: (delayMs) => {
      requeued.push(delayMs);
      return Promise.resolve();
    },
    abandon: () => undefined,
  };
  return { delivery, requeued };
}

const success = { attempt: 1, step: 1, stateRev: 0, subRev: 0, event: { kind: 'success', at: 1 } };

/** An engine whose operator returns the given outcomes, and whose meter counts. */
async function aWorker(answers: Partial<Pick<Operator<unknown>, 'execute' | 'triggerReentry'>>) {
  const parts = await anEngine(server.url());
  const counts: string[] = [];
  const engine: Engine = {
    ...parts.engine,
    operators: new Map([['pod', { ...scriptedOperator(parts.simulated), ...answers }]]),
    meter: {
      ...parts.engine.meter,
      count: (name: string) => {
        counts.push(name);
      },
    },
  };
  const state = async () => (await parts.broker.runs.read(run, { leader: true }))?.value;
  /** Marks the run as cancelled, as another worker does during the owner's step. */
  const cancelMeanwhile = async () => {
    const seen = await parts.broker.runs.read(run, { leader: true });
    if (seen !== undefined)
      await parts.broker.runs.write(run, { ...cancelMarked(seen.value, 1, 'enough'), op: 'mark' }, seen.revision);
  };
  return { ...parts, engine, counts, state, cancelMeanwhile };
}

test('a change that the table does not allow is a bug, and is not written', async () => {
  const { engine, broker, queued, waiting, store } = await anEngine(server.url());
  const seen = { value: queued, revision: await store(queued) };
  await expect(storeChange(engine, run, seen, { on: 'defer', draft: waiting })).rejects.toMatchObject({
    code: 'INTERNAL',
    transient: false,
  });
  expect(await broker.runs.read(run)).toMatchObject({ revision: seen.revision, value: { phase: 'Queued' } });
});

test('a lost acknowledgement is no conflict, and the change counts once', async () => {
  const { engine, broker, counts, queued, store } = await aWorker({});
  const starting = taken(queued, 'Starting', { ...OURS, by: 'w1' });
  const seen = { value: starting, revision: await store(starting) };
  const runs: Engine['broker']['runs'] = {
    ...broker.runs,
    write: async (...args) => {
      await broker.runs.write(...args);
      return { kind: 'conflict', current: undefined };
    },
  };
  const draft = ended(starting, { state: 'succeeded' }, 1);
  const stored = await storeChange({ ...engine, broker: { ...broker, runs } }, run, seen, { on: 'end', draft });
  expect(stored).toMatchObject({ kind: 'stored', seen: { value: { phase: 'Succeeded' } } });
  expect(counts).toEqual(['runs_completed_total']);
});

test('a change that yields to a cancel is not written after one was requested; any other is', async () => {
  const { engine, queued, store, state, cancelMeanwhile } = await aWorker({});
  const starting = { ...taken(queued, 'Starting', { ...OURS, by: 'w1' }), op: 'taken' };
  const owned = new OwnedRun(engine, run, { value: starting, revision: await store(starting) });
  await cancelMeanwhile();
  const waits = (before: RunState) => deferred(before, { pod, await: { terminal: true } }, { now: 1 });
  expect(await owned.write({ on: 'defer', next: waits, yieldsToCancel: true })).toBe('cancelled');
  expect(await state()).toMatchObject({ phase: 'Starting', cancel: { reason: 'enough' } });
  const ends = (before: RunState) => ended(before, { state: 'succeeded' }, 1);
  expect(await owned.write({ on: 'end', next: ends, yieldsToCancel: false })).toBe('stored');
  expect(await state()).toMatchObject({ phase: 'Succeeded' });
});

test.each<[after: string, outcome: StepOutcome, phase: string, state: object]>([
  ['a launch', { kind: 'defer', pod, await: { terminal: true } }, 'Deferred', { stopping: { state: 'cancelled' } }],
  ['a failure', { kind: 'over', outcome: { state: 'failed' } }, 'Deferred', { stopping: { state: 'cancelled' } }],
  [
    'a step that sees it',
    { kind: 'over', outcome: { state: 'cancelled' } },
    'Deferred',
    { stopping: { state: 'cancelled' } },
  ],
  ['a success', { kind: 'over', outcome: { state: 'succeeded' } }, 'Succeeded', { outcome: { state: 'succeeded' } }],
])(
  'a cancel that is requested during %s is decided before its result is stored',
  async (_, outcome, phase, expected) => {
    const answer = async () => {
      await worker.cancelMeanwhile();
      return outcome;
    };
    const worker = await aWorker({ triggerReentry: answer });
    const { engine, broker, waiting, store, state } = worker;
    await store(waiting);
    // The pod exists and is deleted slowly.
    const operators = new Map(
      [...engine.operators].map(([name, operator]) => [
        name,
        { ...operator, stop: () => Promise.resolve('stopping' as const) },
      ]),
    );
    await laneHandler({ ...engine, operators }, 'resume')(aDelivery(success).delivery);
    expect(await state()).toMatchObject({ phase, ...expected });
    expect(await broker.subscriptions.read(run)).toEqual(
      phase === 'Deferred'
        ? expect.objectContaining({ value: expect.objectContaining({ await: { gone: true } }) })
        : undefined,
    );
  },
);

test('a re-entry that cannot continue now is requeued with its delay: no fault, and the same step', async () => {
  const why = { code: 'API_THROTTLED', category: 'infrastructure' as const, summary: 'slow down', evidence: [] };
  const { engine, counts, waiting, store, state, broker } = await aWorker({
    triggerReentry: (context) =>
      Promise.resolve({ kind: 'later', notBefore: context.now() + 2_000, why, infrastructure: true }),
  });
  await store(waiting);
  const { delivery, requeued } = aDelivery(success);
  await laneHandler(engine, 'resume')(delivery);
  expect(requeued).toHaveLength(1);
  expect(requeued[0]).toBeGreaterThan(1_000);
  expect(requeued[0]).toBeLessThanOrEqual(2_000);
  expect(await state()).toMatchObject({ phase: 'Resuming', naks: 1, faults: 0, infraFailures: 0, step: 1 });
  expect(counts).not.toContain('step_faults_total');
  expect(await broker.subscriptions.read(run)).toBeUndefined();
});

test('a temporarily failed read records its first failure, and the event resumed is published once', async () => {
  const published: string[] = [];
  const fault = new KubernetesError('unavailable', 'away', { status: 503, reason: 'x', retryAfterMs: 7_000 });
  const { engine, waiting, store, state, broker } = await aWorker({
    triggerReentry: ({ state: { unreadSince = 5 } }) =>
      Promise.reject(new UnreadError(fault, { since: unreadSince, logGaps: 2 })),
  });
  await store(waiting);
  const event: Engine['broker']['publish']['event'] = (_, type) => {
    published.push(type);
    return Promise.resolve();
  };
  const publishing = { ...engine, broker: { ...broker, publish: { ...broker.publish, event } } };
  for (const deliveries of [1, 2, 3]) {
    const { delivery, requeued } = aDelivery(success, deliveries);
    await laneHandler(publishing, 'resume')(delivery);
    expect(requeued).toEqual([7_000]);
    expect(await state()).toMatchObject({ phase: 'Resuming', unreadSince: 5, logGaps: 2, naks: deliveries, faults: 0 });
  }
  expect(published).toEqual(['resumed']);
});

test('after a worker crashed right after it took a re-entry, the next publishes the event resumed', async () => {
  const published: string[] = [];
  const { engine, waiting, store, broker } = await aWorker({
    triggerReentry: () => Promise.resolve({ kind: 'over', outcome: { state: 'succeeded' } }),
  });
  await store(resumed(taken(waiting, 'Resuming', { ...OURS, by: 'gone' }), 1));
  const event: Engine['broker']['publish']['event'] = (_, type) => {
    published.push(type);
    return Promise.resolve();
  };
  const publishing = { ...engine, broker: { ...broker, publish: { ...broker.publish, event } } };
  await laneHandler(publishing, 'resume')(aDelivery(success, 2).delivery);
  expect(published).toEqual(['resumed', 'completed']);
});

test.each([
  ['is over', 'r1/1: cancelled'],
  ['still wants it', undefined],
])('a worker that lost its run while it created a pod cleans it up if the run %s', async (what, cleanUp) => {
  const { engine, broker, queued, store, simulated } = await aWorker({
    execute: async () => {
      const seen = await broker.runs.read(run, { leader: true });
      if (seen === undefined) throw new Error('the run is stored');
      const elsewhere = taken(seen.value, 'Starting', { stream: 'STEPS', seq: 8, by: 'w2' });
      const next = what === 'is over' ? ended(elsewhere, { state: 'succeeded' }, 1) : elsewhere;
      await broker.runs.write(run, { ...next, op: 'w2' }, seen.revision);
      return { kind: 'defer', pod, await: { terminal: true } } satisfies StepOutcome;
    },
  });
  await store(queued);
  await laneHandler(engine, 'start')(aDelivery({ attempt: 1 }).delivery);
  expect(simulated.cleanUps).toEqual(cleanUp === undefined ? [] : [cleanUp]);
});

test('an end counts once, although its announcement fails and is repeated', async () => {
  const { engine, broker, counts, waiting, store, state } = await aWorker({
    triggerReentry: () => Promise.resolve({ kind: 'over', outcome: { state: 'succeeded' } }),
  });
  await store(waiting);
  const event = (_: unknown, type: string) =>
    type === 'completed' ? Promise.reject(new Error('killed')) : Promise.resolve();
  const publish = { ...broker.publish, event };
  await laneHandler({ ...engine, broker: { ...broker, publish } }, 'resume')(aDelivery(success).delivery);
  expect(await state()).toMatchObject({ phase: 'Succeeded' });
  const second = aDelivery(success, 2);
  await laneHandler(engine, 'resume')(second.delivery);
  expect(second.requeued).toEqual([]);
  expect(counts.filter((name) => name === 'runs_completed_total')).toHaveLength(1);
});

test('a failed attempt is repeated, and its pod is cleaned up before the next one waits', async () => {
  const { engine, broker, queued, simulated, store, state } = await aWorker({});
  const starting = taken(queued, 'Starting', { stream: 'STEPS', seq: 1, by: 'gone' });
  const again = { userFailures: 1, infraFailures: 0, notBefore: broker.now() + 600_000, untilGone: false };
  const first = deferred(starting, { pod, await: { terminal: true } }, { now: broker.now() });
  const retry = retrying(first, { state: 'failed' }, undefined, again);
  // Stored by this message before its worker crashed.
  await store({ ...retry, fence: { ...OURS, epoch: 2, by: 'gone' } });
  const order: string[] = [];
  const subscriptions: Engine['broker']['subscriptions'] = {
    ...broker.subscriptions,
    put: (...args) => {
      order.push(`subscription after ${String(simulated.cleanUps.length)} clean-ups`);
      return broker.subscriptions.put(...args);
    },
  };
  await laneHandler({ ...engine, broker: { ...broker, subscriptions } }, 'resume')(aDelivery(success, 2).delivery);
  expect(order).toEqual(['subscription after 1 clean-ups']);
  expect(await state()).toMatchObject({ phase: 'Queued', attempt: 2 });
});

test.each([
  ['stopping', { phase: 'Starting' }],
  ['cancelled', { phase: 'Queued' }],
])('a cancel leaves one line in the audit log, with its outcome: %s', async (outcome, { phase }) => {
  const { engine, queued, store } = await aWorker({});
  await store(phase === 'Queued' ? queued : taken(queued, 'Starting', { stream: 'STEPS', seq: 1, by: 'w2' }));
  const lines: object[] = [];
  const log = { ...engine.log, info: (fields: object) => lines.push(fields), child: () => engine.log };
  await laneHandler({ ...engine, log }, 'ctl')(aDelivery({ kind: 'cancel' }).delivery);
  expect(lines).toEqual([expect.objectContaining({ audit: 'cancel', outcome })]);
});
