import { expect, test } from 'vitest';
import { retrying, taken, unlaunched } from '../../src/core/run/state-changes.ts';
import type { Delivery } from '../../src/ports/broker.ts';
import { openOperations } from '../../src/nats/operations.ts';
import { openTelemetry, type Telemetry } from '../../src/telemetry.ts';
import { keys } from '../../src/wire/subjects.ts';
import { MAX_CRASHES } from '../../src/worker/protocol/settle.ts';
import { intakeHandler } from '../../src/worker/protocol/intake.ts';
import { laneHandler } from '../../src/worker/protocol/step.ts';
import { SILENT_LOG } from '../../src/airflow/defaults.ts';
import { sharedNatsServer } from '../support/nats-server.ts';
import { aPod } from '../support/builders.ts';
import { anEngine, pod, run } from '../support/worker-engine.ts';

const server = sharedNatsServer();

/** A message as it is delivered for the `n`th time. */
const delivery = (deliveries: number): Delivery => ({
  ...{ stream: 'STEPS', seq: 7, deliveries, subject: 's', tenantToken: 't', runIdToken: 'r1', publishedAt: 0 },
  data: new TextEncoder().encode('{"v":1,"attempt":1}'),
  ack: () => Promise.resolve(),
  nak: () => Promise.resolve(),
  abandon: () => undefined,
});

const letterCounts = async (telemetry: Telemetry) =>
  [...(await telemetry.text()).matchAll(/^reentry_dead_letters_total\{kind="(\w+)"\} (\d+)$/gm)].map(
    ([, kind = '', count]) => `${kind} ${String(count)}`,
  );

test('dead letters of requests and steps are counted, from 0, so that an alert sees an increase', async () => {
  const { engine, broker, installation } = await anEngine(server.url());
  await using operations = await openOperations({ ...installation.options, name: 'look' });
  const telemetry = openTelemetry(SILENT_LOG);
  const counting = { ...engine, meter: telemetry.meter };
  expect(await letterCounts(telemetry)).toEqual(['run 0', 'step 0']);
  const data = new TextEncoder().encode('nonsense');
  await laneHandler(counting, 'start')({ ...delivery(1), data });
  expect(await letterCounts(telemetry)).toEqual(['run 0', 'step 1']);
  const { seq } = await broker.publish.run({ tenant: 't', runId: 'killer' }, 'default', data, 'killer');
  await broker.membership.claim(keys.crashes('RUNS', seq), { owner: 'dead', epoch: MAX_CRASHES }, 0);
  await intakeHandler(counting, 'default')({ ...delivery(100), stream: 'RUNS', seq, data, runIdToken: 'killer' });
  expect(await letterCounts(telemetry)).toEqual(['run 1', 'step 1']);
  expect((await operations.deadLetters.list({ limit: 10 })).letters).toHaveLength(2);
});

test('a worker that crashes while it gives a run up leaves the dead letter, and the next writes no second one', async () => {
  const { engine, broker, installation, queued, store } = await anEngine(server.url());
  await using operations = await openOperations({ ...installation.options, name: 'look' });
  const letters = async () => (await operations.deadLetters.list({ limit: 10 })).letters.map((letter) => letter.run);
  await store({ ...taken(queued, 'Starting', { stream: 'STEPS', seq: 7, by: 'w1' }), op: 'taken' });
  await broker.membership.claim(keys.crashes('STEPS', 7), { owner: 'dead', epoch: MAX_CRASHES }, 0);
  // It crashes when the run's end is written.
  const dying = { ...broker, runs: { ...broker.runs, write: () => Promise.reject(new Error('killed')) } };
  await laneHandler({ ...engine, broker: dying }, 'start')(delivery(100));
  expect(await letters()).toEqual([run]);
  expect(await broker.runs.read(run)).toMatchObject({ value: { phase: 'Starting' } });
  await laneHandler({ ...engine, id: 'w2' }, 'start')(delivery(101));
  expect(await letters()).toEqual([run]);
  expect(await broker.runs.read(run)).toMatchObject({
    value: { phase: 'Failed', outcome: { diagnosis: { code: 'DEAD_LETTERED' } }, fence: { by: 'w2' } },
  });
});

test('a worker that crashes after it ended a run between two attempts leaves no pod of the first', async () => {
  const { engine, broker, waiting, store, simulated } = await anEngine(server.url());
  const again = { userFailures: 1, infraFailures: 0, notBefore: broker.now() + 600_000, untilGone: false };
  await store(retrying(waiting, { state: 'failed' }, undefined, again));
  const publish = { ...broker.publish, event: () => Promise.reject(new Error('killed')) };
  const cancel = { data: new TextEncoder().encode('{"v":1,"kind":"cancel"}') };
  await laneHandler({ ...engine, broker: { ...broker, publish } }, 'ctl')({ ...delivery(1), ...cancel });
  expect(await broker.runs.read(run)).toMatchObject({ value: { phase: 'Cancelled', attempt: 2 } });
  await laneHandler({ ...engine, id: 'w2' }, 'ctl')({ ...delivery(2), ...cancel });
  expect(simulated.cleanUps).toEqual(['r1/1: failed']);
});

test('an orphaned pod of an earlier attempt counts as failed, regardless of the run’s end', async () => {
  const { engine, broker, waiting, store, simulated } = await anEngine(server.url());
  const again = { userFailures: 1, infraFailures: 0, notBefore: broker.now(), untilGone: false };
  const second = retrying(waiting, { state: 'failed' }, undefined, again);
  await store(unlaunched(second, { state: 'cancelled' }, broker.now()));
  const data = new TextEncoder().encode(JSON.stringify({ v: 1, kind: 'orphan', pod: aPod({ ...pod, attempt: 1 }) }));
  await laneHandler(engine, 'ctl')({ ...delivery(1), data });
  expect(simulated.cleanUps).toEqual(['r1/1: failed']);
});
