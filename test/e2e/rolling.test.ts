/** Every role restarted in turn while runs go on, checked from outside: each run ends once with one pod, every process drains. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { DEFAULT_SUBJECT_ROOT, subjectsUnder } from '../../src/wire/subjects.ts';
import { type ClusterUnderTest, TARGETS } from '../support/kubernetes.ts';
import { startInstallation } from '../support/running-installation.ts';

const subjects = subjectsUnder(DEFAULT_SUBJECT_ROOT);
const RUNS = 40;
let target: ClusterUnderTest;
beforeAll(async () => {
  const [local] = TARGETS;
  if (local === undefined) throw new Error('there is no local cluster');
  target = await local.start();
});
afterAll(() => target[Symbol.asyncDispose]());

test('a rolling restart of every role loses no run and repeats none', async () => {
  await using installation = await startInstallation(target, { workers: 2, triggerers: 2 });
  const js = installation.connection.nc.jetstream();
  const jsm = await installation.connection.nc.jetstreamManager();
  const pod = target.pod({ runForSeconds: 1 });
  const request = JSON.stringify({
    params: { image: 'busybox', fullPodSpec: pod, namespace: installation.namespace, getLogs: false },
  });
  const of = (n: number) => subjects.run.of('default', { tenant: 'default', runId: `run-${String(n)}` });
  const counted = async (type: 'launched' | 'completed') => {
    const filter = { subjects_filter: subjects.event.of({ tenant: 'default', runId: '' }, type).replace('..', '.*.') };
    return Object.values((await jsm.streams.info('REENTRY_EVENTS', filter)).state.subjects ?? {});
  };
  for (let n = 0; n < RUNS / 2; n += 1) await js.publish(of(n), request);
  await expect.poll(async () => (await counted('launched')).length, { timeout: 60_000 }).toBeGreaterThan(0);
  const codes: (number | string)[] = [];
  for (const [index] of installation.roles.entries()) {
    codes.push(await installation.restart(index));
    for (let n = 0; n < RUNS / 8; n += 1) await js.publish(of(RUNS / 2 + (index * RUNS) / 8 + n), request);
  }
  expect(codes).toEqual(installation.roles.map(() => 0));
  const once = Array.from({ length: RUNS }, () => 1);
  await expect.poll(() => counted('completed'), { timeout: 120_000, interval: 200 }).toEqual(once);
  expect(await counted('launched')).toEqual(once);
});
