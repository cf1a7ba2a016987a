/**
 * Commands through an executor: `node test/bench/executor.ts [--runs 3] [--launches 1000] [--total 5000] [--calls 100] [--loops 5]`.
 * Launches: `--launches` commands submitted at once, until the last pod is created. References: one pod per loop of one second (Airflow's default),
 * and raw creations one by one and 64 at a time. Completion: `--total` one-second commands until the last `completed`.
 * Calls: counted by a proxy, and in the server's own metrics.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { connect } from '../../src/client/index.ts';
import { executorSelector } from '../../src/core/pod/labels.ts';
import { DEFAULT_SUBJECT_ROOT, subjectsUnder } from '../../src/wire/subjects.ts';
import { commandOf } from '../support/commands.ts';
import { type ClusterUnderTest, freshName, type PodOptions } from '../support/kubernetes.ts';
import { startInstallation, type RunningInstallation } from '../support/running-installation.ts';
import { countedByServer, grown, openApi, openCountingProxy } from './api.ts';
import { cpuSeconds } from './observer.ts';
import { aTarget, numberFlags, reportOf, targetName } from './report.ts';
import { completions, pipelined, submitAll, until } from './runs.ts';

const flags = numberFlags({ runs: 3, launches: 1_000, total: 5_000, calls: 100, loops: 5 });
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
  const submit = (prefix: string, count: number, options: PodOptions) =>
    submitAll(client, commandOf(target, installation, options, { getLogs: false }), { prefix, count, width: 128 });
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
  for (let round = 0; round < flags.runs; round += 1) {
    const [had, ended] = [launched.size, done.size];
    const startedAt = performance.now();
    await submit(`launch-${String(round)}`, flags.launches, { runForSeconds: 20 });
    submitted.push((performance.now() - startedAt) / 1_000);
    await until('all launches', () => launched.size === had + flags.launches);
    seconds.push((performance.now() - startedAt) / 1_000);
    await until('the end of all runs', () => done.size === ended + flags.launches);
    await until('the end of all pods', async () => (await podsOf(installation)) === 0);

    const create = async () => {
      const pod = target.pod({ name: freshName('ref'), runForSeconds: 1 });
      const body = JSON.stringify(pod);
      const headers = { 'content-type': 'application/json' };
      const reply = await api.call('POST', `/api/v1/namespaces/${installation.namespace}/pods`, { headers, body });
      await reply.body.dump();
    };
    const loopsAt = performance.now();
    for (let loop = 0; loop < flags.loops; loop += 1) {
      await create();
      await delay(1_000);
    }
    oneByOne.push(((performance.now() - loopsAt) / flags.loops / 1_000) * flags.launches);
    const rawAt = performance.now();
    for (let n = 0; n < 200; n += 1) await create();
    raw.push(((performance.now() - rawAt) / 200 / 1_000) * flags.launches);
    const wideAt = performance.now();
    await pipelined(flags.launches, 64, create);
    wide.push((performance.now() - wideAt) / 1_000);
    await target.raw('DELETE', `/api/v1/namespaces/${installation.namespace}/pods?gracePeriodSeconds=0`);
  }
  const more = { launches: flags.launches };
  report.add({ figure: 'commands submitted → all launched', unit: 's', values: seconds, bar: 10, more });
  report.add({ figure: '  of which submission', unit: 's', values: submitted });
  report.add({ figure: 'reference: one pod per loop of 1 s (extrapolated)', unit: 's', values: oneByOne, more });
  report.add({ figure: 'reference: raw creations one by one (extrapolated)', unit: 's', values: raw, more });

  report.add({ figure: 'reference: raw creations, 64 at a time', unit: 's', values: wide, more });
  const ratios = seconds.map((value, round) => value / (wide[round] ?? Number.NaN));
  report.add({ figure: 'ratio to raw creations, 64 at a time', unit: 'times', values: ratios });

  const roles = [
    executor,
    ...installation.roles.filter((role) => role.name === 'triggerer').map((role) => role.process),
  ];
  const before = await Promise.all(roles.map(({ pid }) => cpuSeconds(pid)));
  const counted = await countedByServer(api);
  const ended = done.size;
  const startedAt = performance.now();
  await submit('total', flags.total, { runForSeconds: 1 });
  await until('the end of all runs', () => done.size === ended + flags.total);
  report.add({
    figure: 'commands submitted → all completed',
    unit: 's',
    values: [(performance.now() - startedAt) / 1_000],
    bar: 100,
    more: { total: flags.total },
  });
  await until('the end of all pods', async () => (await podsOf(installation)) === 0);
  for (const [n, { pid }] of roles.entries())
    report.add({
      figure: `CPU per 1,000 pods, ${n === 0 ? 'executor' : 'triggerer'}`,
      unit: 's',
      values: [(((await cpuSeconds(pid)) - (before[n] ?? 0)) / flags.total) * 1_000],
    });
  const calls = [...grown(counted, await countedByServer(api))].filter(([what]) => / pods/.test(what));
  report.add({
    figure: "API calls per pod in the server's metrics (all clients)",
    unit: 'calls',
    values: [calls.reduce((sum, [, times]) => sum + times, 0) / flags.total],
    more: { parts: Object.fromEntries(calls.map(([what, times]) => [what, times / flags.total])) },
  });
  const failed = [...done.values()].filter(({ state }) => state !== 'succeeded');
  if (failed.length > 0) throw new Error(`${String(failed.length)} did not succeed: ${JSON.stringify(failed[0])}`);
  await client[Symbol.asyncDispose]();
  await installation[Symbol.asyncDispose]();
}

{
  await using proxy = await openCountingProxy(api);
  const { installation, client, done, submit } = await open(proxy);
  const before = proxy.calls();
  const ended = done.size;
  await submit('calls', flags.calls, { runForSeconds: 1 });
  await until('the end of all runs', () => done.size === ended + flags.calls);
  await until('the end of all pods', async () => (await podsOf(installation)) === 0);
  const calls = [...grown(before, proxy.calls())];
  const per = (pattern: RegExp) =>
    calls.reduce((sum, [what, times]) => sum + (pattern.test(what) ? times : 0), 0) / flags.calls;
  const parts = Object.fromEntries(calls.map(([what, times]) => [what, times / flags.calls]));
  report.add({ figure: 'API calls per command', unit: 'calls', values: [per(/./)], bar: 3, more: { parts } });
  report.add({ figure: 'deletes per pod', unit: 'calls', values: [per(/^DELETE/)], bar: 1 });
  await client[Symbol.asyncDispose]();
  await installation[Symbol.asyncDispose]();
}
