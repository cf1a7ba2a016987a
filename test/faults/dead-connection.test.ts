/**
 * Dead connections to the API server, as after a load balancer dropped its flows: they stay open and transfer nothing, while new ones
 * work. Real times, real processes, HTTP/2. Prints a JSON line with the figures.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Client, connect } from '../../src/client/index.ts';
import { type ClusterUnderTest, TARGETS } from '../support/kubernetes.ts';
import { healthPage } from '../support/processes.ts';
import { startInstallation } from '../support/running-installation.ts';
import { startApiProxy, type TcpProxy } from '../support/tcp-proxy.ts';

const FAULTS = 2;
/** Runs before each fault, whose pods end unseen by a watch that has died, and runs after it. */
const RUNS_BEFORE = 10;
const RUNS_AFTER = 10;
const CALLS_WITHIN_S = 20;
const WATCHES_WITHIN_S = 90;

const [local] = TARGETS;
let target: ClusterUnderTest;
let folder: string;
let proxy: TcpProxy;
beforeAll(async () => {
  if (local === undefined) throw new Error('there is always a local cluster');
  target = await local.start();
  folder = await mkdtemp(join(tmpdir(), 'reentry-dead-'));
  proxy = await startApiProxy(target.kubeconfig, join(folder, 'kubeconfig'));
});
afterAll(async () => {
  await proxy[Symbol.asyncDispose]();
  await target[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

/** A run: its final state, and when it ended by the monotonic clock. */
interface Watched {
  readonly state: Promise<string>;
  endedAt: number | undefined;
}

test('workers and triggerers continue on new ones, and lose no run', async () => {
  await using installation = await startInstallation(
    { ...target, kubeconfig: join(folder, 'kubeconfig') },
    { workers: 1, triggerers: 1 },
  );
  await using client = await connect({ servers: installation.nats.url });
  const submit = async (runForSeconds: number): Promise<Watched> =>
    await watched(client, installation.namespace, runForSeconds);
  expect(await (await submit(0)).state).toBe('succeeded');

  const runs: Watched[] = [];
  const figures: { readonly fresh: number; readonly all: number }[] = [];
  for (let fault = 0; fault < FAULTS; fault += 1) {
    const before = await Promise.all(Array.from({ length: RUNS_BEFORE }, () => submit(3)));
    await expect.poll(async () => (await target.cluster.listPods(installation.namespace, '')).length).toBe(RUNS_BEFORE);
    proxy.silence();
    const faultAt = performance.now();
    const after: Watched[] = [];
    for (let n = 0; n < RUNS_AFTER; n += 1) {
      after.push(await submit(0));
      await delay(200);
    }
    await Promise.all([...before, ...after].map(({ state }) => state));
    const seconds = (ended: readonly Watched[]) => ended.map(({ endedAt = Infinity }) => (endedAt - faultAt) / 1000);
    figures.push({ fresh: Math.min(...seconds(after)), all: Math.max(...seconds([...before, ...after])) });
    runs.push(...before, ...after);
  }
  const states = await Promise.all(runs.map(({ state }) => state));
  const rounded = (values: readonly number[]) => values.map((value) => Math.round(value * 10) / 10);
  const lost = states.filter((state) => state !== 'succeeded').length;
  const fresh = figures.map((figure) => figure.fresh);
  const all = figures.map((figure) => figure.all);
  process.stdout.write(
    `${JSON.stringify({
      test: 'dead-connection',
      ...{ faults: FAULTS, runs: runs.length, lost },
      ...{ recoverySeconds: rounded(fresh), allEndedSeconds: rounded(all), connections: proxy.accepted() },
    })}\n`,
  );
  expect(lost).toBe(0);
  expect(Math.max(...fresh)).toBeLessThan(CALLS_WITHIN_S);
  expect(Math.max(...all)).toBeLessThan(WATCHES_WITHIN_S);
  for (const { process: role } of installation.roles)
    expect(role.stderr() + role.stdout()).toContain('closed dead connections');
});

const aRun = (namespace: string, runForSeconds: number) => ({
  params: { image: 'busybox', namespace, getLogs: false, cmds: ['sleep', String(runForSeconds)] },
});

async function watched(client: Client, namespace: string, runForSeconds: number): Promise<Watched> {
  const { runId } = await client.submit(aRun(namespace, runForSeconds));
  const run: Watched = {
    endedAt: undefined,
    // A run that never ends is the failure: the test's time-out reports it.
    state: client.waitFor(runId).then(({ state }) => {
      run.endedAt = performance.now();
      return state;
    }),
  };
  return run;
}

test('a server that does not respond is reported by /readyz and the metric until it does', async () => {
  await using installation = await startInstallation(
    { ...target, kubeconfig: join(folder, 'kubeconfig') },
    { workers: 1, triggerers: 0 },
  );
  const worker = installation.roles[0]?.process;
  if (worker === undefined) throw new Error('the installation has one worker');
  const page = async (path: string): Promise<string> => (await healthPage(worker, path)).text;
  await expect.poll(() => page('/readyz'), { timeout: 20_000 }).toBe('ready\n');
  await using client = await connect({ servers: installation.nats.url });
  proxy.hold();
  await client.submit(aRun(installation.namespace, 0));
  await expect
    .poll(() => page('/readyz'), { timeout: 40_000 })
    .toContain('API server of connection default has not answered for ');
  const seconds = async (): Promise<number> =>
    Number(
      /^reentry_api_server_unanswered_seconds\{[^}]*\} (?<value>\S+)$/m.exec(await page('/metrics'))?.groups?.['value'],
    );
  await expect.poll(seconds, { timeout: 40_000 }).toBeGreaterThan(10);
  proxy.release();
  await expect.poll(() => page('/readyz'), { timeout: 40_000 }).toBe('ready\n');
  await expect.poll(seconds, { timeout: 10_000 }).toBeLessThan(2);
});
