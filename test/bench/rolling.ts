/**
 * Every role restarted, one after the other, while runs go on, half of them `pod` runs and half `command` runs: `node test/bench/rolling.ts [--count 1000] [--seconds 20] [--passes 1]`.
 * A restart is SIGTERM and a new process once the old one has drained, as in a Deployment's update. Each run must complete once.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { connect } from '../../src/client/index.ts';
import { commandOf } from '../support/commands.ts';
import { startInstallation } from '../support/running-installation.ts';
import { aTarget, numberFlags, percentile, reportOf, targetName } from './report.ts';
import { completions, onePodRequest, podsLeft, submitAll, subjects, until, warmUp } from './runs.ts';

const READY_MS = 5_000;
const { count, seconds, passes } = numberFlags({ count: 1_000, seconds: 20, passes: 1 });
await using target = await aTarget();
await using installation = await startInstallation(target, { workers: 2, triggerers: 2 });
for (let n = 0; n < 2; n += 1) installation.start('executor', { REENTRY_EXECUTOR_PARALLELISM: '1000' });
await using client = await connect({ servers: installation.nats.url });
using report = reportOf('rolling', targetName());
const done = completions(installation);
await warmUp(client, target, installation, done);
const request = onePodRequest(target, installation, { runForSeconds: seconds });
const command = commandOf(target, installation, { runForSeconds: seconds }, { getLogs: false });
const half = Math.floor(count / 2);
const submitting = Promise.all([
  submitAll(client, request, { prefix: 'run', count: count - half }),
  submitAll(client, command, { prefix: 'run-command', count: half }),
]);

let restarts = 0;
for (let pass = 0; pass < passes; pass += 1)
  for (const [index] of installation.roles.entries()) {
    await installation.restart(index);
    restarts += 1;
    // A Deployment waits for readiness and its minReadySeconds.
    await delay(READY_MS);
  }
await submitting;
await until('all ends', () => done.size === count + 1);
await until('the end of all pods', async () => (await podsLeft(target, installation)) === 0);

const ends = [...done.values()].filter(({ runId }) => runId.startsWith('run-'));
const resumedMs = ends.flatMap(({ timings: { finishedAt, resumedAt } }) =>
  finishedAt === undefined || resumedAt === undefined ? [] : [Date.parse(resumedAt) - Date.parse(finishedAt)],
);
const manager = await installation.connection.nc.jetstreamManager();
const { state } = await manager.streams.info('REENTRY_EVENTS', {
  subjects_filter: subjects.event.completedOf('default'),
});
const twice = Object.values(state.subjects ?? {}).filter((times) => times !== 1).length;
report.add({ figure: 'restarts', unit: 'restarts', values: [restarts] });
report.add({
  figure: 'runs succeeded',
  unit: 'runs',
  values: [ends.filter(({ state: end }) => end === 'succeeded').length],
  bar: count,
  atLeast: true,
});
report.add({ figure: 'runs not completed exactly once', unit: 'runs', values: [twice], bar: 0 });
report.add({
  figure: 'attempts beyond the first',
  unit: 'attempts',
  values: [ends.reduce((sum, { attempt }) => sum + attempt - 1, 0)],
  bar: 0,
});
// Kubernetes' times are whole seconds: up to one second of this is their rounding.
report.add({
  figure: 'pod end → resumed, p99 (Kubernetes times are whole seconds)',
  unit: 'ms',
  values: [percentile(resumedMs, 99)],
  bar: 2_000,
  more: { median: percentile(resumedMs, 50), most: Math.max(...resumedMs) },
});
