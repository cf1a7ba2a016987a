/**
 * Commands through an executor: `node test/bench/executor.ts [--runs 3] [--launches 1000] [--total 5000] [--calls 100] [--loops 5]`.
 * Launches: `--launches` commands asked for at once, until the last pod is created; beside it in the same run one pod per second-long loop
 * (as shipped elsewhere), and raw creations one after the other and 64 at a time. Completion: `--total` one-second commands until the last `completed`.
 * Calls: at a door of our own, and in the server's own metrics.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { connect } from '../../src/client/index.ts';
import { executorSelector } from '../../src/core/pod/labels.ts';
import { DEFAULT_SUBJECT_ROOT, subjectsUnder } from '../../src/wire/subjects.ts';
import { commandOf } from '../support/commands.ts';
import { type ClusterUnderTest, freshName, type PodWish } from '../support/kubernetes.ts';
import { startInstallation, type RunningInstallation } from '../support/running-installation.ts';
import { countedByServer, grown, openApi, openCountingDoor } from './api.ts';
import { cpuSeconds } from './observer.ts';
import { aTarget, numbersAsked, reportOf, targetName } from './report.ts';
import { completions, pipelined, submitAll, until } from './runs.ts';

const asked = numbersAsked({ runs: 3, launches: 1_000, total: 5_000, calls: 100, loops: 5 });
const subjects = subjectsUnder(DEFAULT_SUBJECT_ROOT);
const SETTINGS = { REENTRY_EXECUTOR_PARALLELISM: '10000', REENTRY_LOG_LEVEL: 'warn' };
const name = targetName();
await using target = await aTarget();
await using api = openApi(target.kubeconfig);
using report = reportOf('executor', name);

const podsOf = async (installation: RunningInstallation): Promise<number> =>
  (await target.cluster.listPods(installation.namespace, executorSelector(installation.namespace))).length;
async function open(under: Pick<ClusterUnderTest, 'kubeconfig'>) {
  const installation = await startInstallation(
    { ...target, kubeconfig: under.kubeconfig },
    { workers: 0, triggerers: 1 },
  );
  const executor = installation.start('executor', SETTINGS);
  const client = await connect({ servers: installation.nats.url });
  const done = completions(installation);
  const launched = new Set<string>();
  installation.connection.nc.subscribe(subjects.event.ofTenant('default'), {
    callback: (_, { subject }) => {
      const [, , , , runId = '', type] = subject.split('.');
      if (type === 'launched') launched.add(runId);
    },
  });
  const submit = (prefix: string, count: number, wish: PodWish) =>
    submitAll(client, commandOf(target, installation, wish, { getLogs: false }), { prefix, count, width: 128 });
  await submit('warm', 20, { runForSeconds: 1 });
  await until('the first runs', () => done.size === 20);
  await until('the end of the first pods', async () => (await podsOf(installation)) === 0);
  return { installation, executor, client, done, launched, submit };
}

{
  const { installation, executor, client, done, launched, submit } = await open(target);
  const seconds: number[] = [];
  const submitted: number[] = [];
  const oneByOne: number[] = [];
  const raw: number[] = [];
  const wide: number[] = [];
  for (let round = 0; round < asked.runs; round += 1) {
    const [had, ended] = [launched.size, done.size];
    const startedAt = performance.now();
    await submit(`launch-${String(round)}`, asked.launches, { runForSeconds: 20 });
    submitted.push((performance.now() - startedAt) / 1_000);
    await until('all launches', () => launched.size === had + asked.launches);
    seconds.push((performance.now() - startedAt) / 1_000);
    await until('the end of all runs', () => done.size === ended + asked.launches);
    await until('the end of all pods', async () => (await podsOf(installation)) === 0);

    const create = async () => {
      const pod = target.pod({ name: freshName('ref'), runForSeconds: 1 });
      const body = JSON.stringify(pod);
      const headers = { 'content-type': 'application/json' };
      const reply = await api.call('POST', `/api/v1/namespaces/${installation.namespace}/pods`, { headers, body });
      await reply.body.dump();
    };
    const loopsAt = performance.now();
    for (let loop = 0; loop < asked.loops; loop += 1) {
      await create();
      await delay(1_000);
    }
    oneByOne.push(((performance.now() - loopsAt) / asked.loops / 1_000) * asked.launches);
    const rawAt = performance.now();
    for (let n = 0; n < 200; n += 1) await create();
    raw.push(((performance.now() - rawAt) / 200 / 1_000) * asked.launches);
    const wideAt = performance.now();
    await pipelined(asked.launches, 64, create);
    wide.push((performance.now() - wideAt) / 1_000);
    await target.raw('DELETE', `/api/v1/namespaces/${installation.namespace}/pods?gracePeriodSeconds=0`);
  }
  const more = { launches: asked.launches };
  report.say({ figure: 'commands asked for → all launched', unit: 's', values: seconds, bar: 10, more });
  report.say({ figure: '  of which asking took', unit: 's', values: submitted });
  report.say({ figure: 'one pod per loop of 1 s (reference, from a few)', unit: 's', values: oneByOne, more });
  report.say({ figure: 'one raw creation after the other (reference, from 200)', unit: 's', values: raw, more });

  report.say({ figure: 'raw creations, 64 at a time (reference)', unit: 's', values: wide, more });
  const ratios = seconds.map((value, round) => value / (wide[round] ?? Number.NaN));
  report.say({ figure: 'ours to raw creations, 64 at a time', unit: 'times', values: ratios });

  const roles = [
    executor,
    ...installation.roles.filter((role) => role.name === 'triggerer').map((role) => role.process),
  ];
  const before = await Promise.all(roles.map(({ pid }) => cpuSeconds(pid)));
  const counted = await countedByServer(api);
  const ended = done.size;
  const startedAt = performance.now();
  await submit('total', asked.total, { runForSeconds: 1 });
  await until('the end of all runs', () => done.size === ended + asked.total);
  report.say({
    figure: 'commands asked for → all completed',
    unit: 's',
    values: [(performance.now() - startedAt) / 1_000],
    bar: 100,
    more: { total: asked.total },
  });
  await until('the end of all pods', async () => (await podsOf(installation)) === 0);
  for (const [n, { pid }] of roles.entries())
    report.say({
      figure: `CPU per 1,000 pods, ${n === 0 ? 'executor' : 'triggerer'}`,
      unit: 's',
      values: [(((await cpuSeconds(pid)) - (before[n] ?? 0)) / asked.total) * 1_000],
    });
  const calls = [...grown(counted, await countedByServer(api))].filter(([what]) => / pods/.test(what));
  report.say({
    figure: "calls per pod in the server's metrics (all clients: node, scheduler, controllers too)",
    unit: 'calls',
    values: [calls.reduce((sum, [, times]) => sum + times, 0) / asked.total],
    more: { parts: Object.fromEntries(calls.map(([what, times]) => [what, times / asked.total])) },
  });
  const failed = [...done.values()].filter(({ state }) => state !== 'succeeded');
  if (failed.length > 0) throw new Error(`${String(failed.length)} did not succeed: ${JSON.stringify(failed[0])}`);
  await client[Symbol.asyncDispose]();
  await installation[Symbol.asyncDispose]();
}

{
  await using door = await openCountingDoor(api);
  const { installation, client, done, submit } = await open(door);
  const before = door.calls();
  const ended = done.size;
  await submit('calls', asked.calls, { runForSeconds: 1 });
  await until('the end of all runs', () => done.size === ended + asked.calls);
  await until('the end of all pods', async () => (await podsOf(installation)) === 0);
  const calls = [...grown(before, door.calls())];
  const per = (pattern: RegExp) =>
    calls.reduce((sum, [what, times]) => sum + (pattern.test(what) ? times : 0), 0) / asked.calls;
  const parts = Object.fromEntries(calls.map(([what, times]) => [what, times / asked.calls]));
  report.say({ figure: 'API calls per command, ours', unit: 'calls', values: [per(/./)], bar: 3, more: { parts } });
  report.say({ figure: 'deletes per pod, ours', unit: 'calls', values: [per(/^DELETE/)], bar: 1 });
  await client[Symbol.asyncDispose]();
  await installation[Symbol.asyncDispose]();
}
