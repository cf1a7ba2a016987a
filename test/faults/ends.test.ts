/**
 * Faults during the last step of a run: the connection to the API server is cut while pods end, or a worker is frozen while it creates them. Workers and
 * triggerers are processes; the verdict is taken from stored events, stored logs and the cluster's pods.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Client, connect } from '../../src/client/index.ts';
import { installationSelector } from '../../src/core/pod/labels.ts';
import { DEFAULT_SUBJECT_ROOT, subjectsUnder } from '../../src/wire/subjects.ts';
import { judged, type KnownRun } from '../support/fault-judge.ts';
import { type ClusterUnderTest, TARGETS } from '../support/kubernetes.ts';
import { type RunningInstallation, startInstallation } from '../support/running-installation.ts';
import { requestProxy } from '../support/request-proxy.ts';

const subjects = subjectsUnder(DEFAULT_SUBJECT_ROOT);
const LINES = Array.from({ length: 200 }, (_, n) => `line ${String(n + 1)}`);
/** The events `resumed` of all runs. */
const RESUMED = subjects.event.of({ tenant: 'default', runId: 'x' }, 'resumed').replace('.x.', '.*.');
/** Longer than the 31 s after which a result once counted as unreadable. */
const OUTAGE_MS = 45_000;

let target: ClusterUnderTest;
beforeAll(async () => {
  const [local] = TARGETS;
  if (local === undefined) throw new Error('there is always a local cluster');
  target = await local.start();
});
afterAll(async () => {
  await target[Symbol.asyncDispose]();
});

/** Triggerers reach the API server directly, workers through `env`. */
async function installed(env: Readonly<Record<string, string>>, workers = 2) {
  const installation = await startInstallation(target, { workers: 0, triggerers: 1 });
  for (let n = 0; n < workers; n += 1) installation.start('worker', env);
  const client = await connect({ servers: installation.nats.url });
  await expect.poll(() => client.list().catch(() => undefined), { timeout: 60_000 }).toBeDefined();
  const disposed = async (): Promise<void> => {
    await client[Symbol.asyncDispose]();
    await installation[Symbol.asyncDispose]();
  };
  return { installation, client, target, [Symbol.asyncDispose]: disposed };
}

const pods = (installation: RunningInstallation) =>
  target.cluster.listPods(installation.namespace, installationSelector(installation.namespace));

/** Submits runs whose pods write `LINES` and end once all of them are seen running; `result`: they also write one. */
async function submitted(
  client: Client,
  installation: RunningInstallation,
  count: number,
  result?: unknown,
): Promise<readonly KnownRun[]> {
  const write = result === undefined ? '' : `printf '%s' '${JSON.stringify(result)}' >/airflow/xcom/return.json; `;
  const script = `for i in $(seq ${String(LINES.length)}); do echo line $i; done; ${write}sleep 5`;
  const params = {
    ...{ image: 'alpine', namespace: installation.namespace, cmds: ['sh', '-c', script], terminationGracePeriod: 1 },
    ...(result === undefined ? {} : { doXcomPush: true, xcomMode: 'sidecar' as const }),
  };
  const submitting = Array.from({ length: count }, () => client.submit({ params, retries: 1 }));
  return (await Promise.all(submitting)).map(({ runId }) => ({
    ...{ runId, state: 'succeeded', lines: LINES },
    ...(result === undefined ? {} : { result }),
  }));
}

const hasEnded = (pod: Awaited<ReturnType<typeof pods>>[number]): boolean =>
  pod.containers.some(({ name, state }) => name === 'base' && state === 'terminated');

test('logs and results at the end survive an outage of the API server', async () => {
  await using proxy = await requestProxy(target.kubeconfig);
  await using tried = await installed({ KUBECONFIG: proxy.kubeconfig });
  const { installation, client } = tried;
  const resumed = new Map<string, number>();
  const listening = installation.connection.nc.subscribe(RESUMED, {
    callback: (_, { subject }) => resumed.set(subject, (resumed.get(subject) ?? 0) + 1),
  });
  const runs = [...(await submitted(client, installation, 4)), ...(await submitted(client, installation, 3, [7]))];
  const phases = async () => (await client.list()).runs.map(({ phase }) => phase);
  await expect.poll(phases, { timeout: 60_000 }).toEqual(runs.map(() => 'Deferred'));
  proxy.cut();
  await expect
    .poll(async () => (await pods(installation)).filter(hasEnded).length, { timeout: 60_000 })
    .toBe(runs.length);
  await delay(OUTAGE_MS);
  const healedAt = performance.now();
  proxy.heal();
  const ends = await Promise.all(runs.map(({ runId }) => client.waitFor(runId)));
  const recoverySeconds = Math.round((performance.now() - healedAt) / 1000);
  await expect.poll(async () => (await pods(installation)).length, { timeout: 60_000 }).toBe(0);
  const verdict = await judged(tried, { case: 'api-away-at-the-end', faults: 1, recoverySeconds }, runs);
  expect(verdict).toMatchObject({ lost: 0, twice: 0, false: [], stuck: 0 });
  expect(ends.map(({ attempt }) => attempt)).toEqual(runs.map(() => 1));
  // A client without a stream receives each `resumed` once, however often the step was repeated.
  expect([...resumed.values()]).toEqual(runs.map(() => 1));
  listening.unsubscribe();
});

test('logs at the end survive reads of the node that break for a moment', async () => {
  await using proxy = await requestProxy(target.kubeconfig);
  await using tried = await installed({ KUBECONFIG: proxy.kubeconfig });
  const { installation, client } = tried;
  proxy.cutAt(/^GET \S+\/log\?/);
  const runs = await submitted(client, installation, 6);
  await expect.poll(() => proxy.cuts, { timeout: 60_000 }).toBeGreaterThanOrEqual(runs.length);
  const healedAt = performance.now();
  proxy.heal();
  await Promise.all(runs.map(({ runId }) => client.waitFor(runId)));
  const recoverySeconds = Math.round((performance.now() - healedAt) / 1000);
  await expect.poll(async () => (await pods(installation)).length, { timeout: 60_000 }).toBe(0);
  const verdict = await judged(tried, { case: 'log-reads-cut', faults: 1, recoverySeconds }, runs);
  expect(verdict).toMatchObject({ lost: 0, twice: 0, false: [], stuck: 0 });
});

test.each(['SIGCONT', 'SIGKILL'] as const)(
  'a pod that is created after its run has ended is gone within seconds of %s to its creator',
  async (signal) => {
    await using proxy = await requestProxy(target.kubeconfig);
    await using tried = await installed({ KUBECONFIG: proxy.kubeconfig }, 1);
    const { installation, client } = tried;
    const frozen = installation.roles.find(({ name }) => name === 'worker');
    if (frozen === undefined) throw new Error('the installation has a worker');
    proxy.holdAt(/^POST \S+\/pods\?/);
    const submit = (runForSeconds: number) => {
      const fullPodSpec = { ...target.pod({ runForSeconds }) };
      return client.submit({
        params: JSON.parse(JSON.stringify({ namespace: installation.namespace, fullPodSpec, getLogs: false })),
      });
    };
    const short = await Promise.all([submit(1), submit(1), submit(1)]);
    const long = await Promise.all([submit(600), submit(600), submit(600)]);
    const count = short.length + long.length;
    await expect.poll(() => proxy.held, { timeout: 60_000 }).toBe(count);
    process.kill(frozen.process.pid, 'SIGSTOP');
    installation.start('worker');
    await expect.poll(async () => (await client.list()).runs.length, { timeout: 60_000 }).toBe(count);
    for (const { runId } of long) await client.cancel(runId);
    for (const { runId } of [...short, ...long]) await client.waitFor(runId);
    await expect.poll(async () => (await pods(installation)).length, { timeout: 60_000 }).toBe(0);
    // Requests that were on their way arrive now.
    proxy.heal();
    await expect.poll(async () => (await pods(installation)).length, { timeout: 60_000, interval: 20 }).toBe(count);
    const createdAt = performance.now();
    process.kill(frozen.process.pid, signal);
    await expect.poll(async () => (await pods(installation)).length, { timeout: 100_000, interval: 100 }).toBe(0);
    const recoverySeconds = Math.round((performance.now() - createdAt) / 1000);
    const runs = [
      ...short.map(({ runId }) => ({ runId, state: 'succeeded' })),
      ...long.map(({ runId }) => ({ runId, state: 'cancelled' })),
    ];
    const verdict = await judged(tried, { case: `late-create-${signal}`, faults: 2, recoverySeconds }, runs);
    expect(verdict).toMatchObject({ lost: 0, twice: 0, false: [], stuck: 0 });
    // 10 s, and a busy machine.
    expect(recoverySeconds).toBeLessThan(15);
  },
);
