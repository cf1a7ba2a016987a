/** A cluster, a namespace or a permission that is missing at the start, and returns. */
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connect } from '../../src/client/index.ts';
import { type ClusterUnderTest, freshName, TARGETS } from '../support/kubernetes.ts';
import { healthPage, runReentry } from '../support/processes.ts';
import { startInstallation, type RunningInstallation } from '../support/running-installation.ts';

const [local] = TARGETS;
let target: ClusterUnderTest;
let folder: string;
beforeAll(async () => {
  if (local === undefined) throw new Error('there is always a local cluster');
  target = await local.start();
  folder = await mkdtemp(join(tmpdir(), 'reentry-start-'));
});
afterAll(async () => {
  await target[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

/** A port where the cluster's API server is not, or not yet. */
interface Door extends AsyncDisposable {
  readonly port: number;
  /** From now on the API server of the cluster is behind it. */
  open(): Promise<void>;
}

/** `closed`: connections are refused. `silent`: they are accepted, and nothing answers. */
async function aDoor(kind: 'closed' | 'silent', to: number): Promise<Door> {
  const sockets = new Set<Socket>();
  const serve = async (port: number, accept: (socket: Socket) => void): Promise<Server> => {
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.on('error', () => socket.destroy());
      accept(socket);
    });
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    return server;
  };
  const shut = async (server: Server) => {
    for (const socket of sockets) socket.destroy();
    sockets.clear();
    server.close();
    await once(server, 'close');
  };
  let server = await serve(0, () => undefined);
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  if (kind === 'closed') await shut(server);
  return {
    port,
    async open() {
      if (kind === 'silent') await shut(server);
      server = await serve(port, (socket) => {
        const beyond = createConnection(to, '127.0.0.1');
        sockets.add(beyond);
        beyond.on('error', () => socket.destroy());
        socket.pipe(beyond).pipe(socket);
      });
    },
    [Symbol.asyncDispose]: () => (server.listening ? shut(server) : Promise.resolve()),
  };
}

/** A connections file: the cluster as `default`, and through each of the ports. */
async function connectionsFile(doors: Readonly<Record<string, Door>>): Promise<string> {
  const kubeconfig = await readFile(target.kubeconfig, 'utf8');
  const lines = [`default: { kubeconfig: ${target.kubeconfig} }`];
  for (const [name, { port }] of Object.entries(doors)) {
    const file = join(folder, freshName('kubeconfig'));
    await writeFile(file, kubeconfig.replace(/127\.0\.0\.1:\d+/g, `127.0.0.1:${String(port)}`));
    lines.push(`${name}: { kubeconfig: ${file} }`);
  }
  const file = join(folder, freshName('connections'));
  await writeFile(file, lines.join('\n'));
  return file;
}

async function apiPort(): Promise<number> {
  return Number(/127\.0\.0\.1:(\d+)/.exec(await readFile(target.kubeconfig, 'utf8'))?.[1]);
}

const paramsIn = (namespace: string, kubernetesConnId?: string) => ({
  ...{ image: 'alpine', namespace, cmds: ['sh', '-c', 'echo hi'] },
  ...(kubernetesConnId === undefined ? {} : { kubernetesConnId }),
});

async function explained(installation: RunningInstallation, runId: string): Promise<unknown> {
  const { stdout } = await runReentry(['explain', runId, '--json'], installation.env);
  return JSON.parse(stdout);
}

test('two unreachable clusters stop neither the start nor the runs of a third; their own runs wait and continue', async () => {
  await using closed = await aDoor('closed', await apiPort());
  await using silent = await aDoor('silent', await apiPort());
  await using installation = await startInstallation(target, { workers: 0, triggerers: 0 });
  const connections = { REENTRY_CONNECTIONS: await connectionsFile({ closed, silent }), REENTRY_START_CREDITS: '4' };
  const worker = installation.start('worker', connections);
  const triggerer = installation.start('triggerer', connections);
  await using client = await connect({ servers: installation.nats.url });

  for (const role of [worker, triggerer])
    await expect.poll(async () => (await healthPage(role, '/readyz')).status, { timeout: 20_000 }).toBe(200);
  const here = await client.submit({ params: paramsIn(installation.namespace) });
  expect(await client.waitFor(here.runId)).toMatchObject({ state: 'succeeded' });

  // More than the credits of a worker: none of them may hold one.
  const away = [];
  for (const name of ['closed', 'silent'])
    for (let n = 0; n < 6; n += 1) away.push(await client.submit({ params: paramsIn(installation.namespace, name) }));
  const [first, last] = [away[0]?.runId ?? '', away.at(-1)?.runId ?? ''];
  for (const [runId, name] of [
    [first, 'closed'],
    [last, 'silent'],
  ] as const)
    await expect
      .poll(() => explained(installation, runId), { timeout: 30_000 })
      .toMatchObject({
        ...{ phase: 'Queued', attempt: 1, userFailures: 0, infraFailures: 0 },
        blocked: { code: 'CONNECTION_UNREACHABLE', summary: expect.stringContaining(`connection ${name}`) },
      });
  const again = await client.submit({ params: paramsIn(installation.namespace) });
  expect(await client.waitFor(again.runId)).toMatchObject({ state: 'succeeded' });

  await expect
    .poll(async () => (await healthPage(worker, '/readyz')).text, { timeout: 20_000 })
    .toMatch(/^ready\nconnection closed is unreachable: .*\nconnection silent is unreachable: /);
  const { text: metrics } = await healthPage(worker, '/metrics');
  const gauge = (name: string) =>
    new RegExp(
      `^reentry_connection_ready{role="worker",connection="${name}",pod_namespace="${installation.namespace}"} (\\d)$`,
      'm',
    ).exec(metrics)?.[1];
  expect(['default', 'closed', 'silent'].map(gauge)).toEqual(['1', '0', '0']);
  const doctor = await runReentry(['doctor'], { ...installation.env, ...connections });
  expect(doctor.stdout).toMatch(/warning workers: .*connection closed is unreachable/);

  await closed.open();
  await silent.open();
  for (const { runId } of away) expect(await client.waitFor(runId)).toMatchObject({ state: 'succeeded' });
  await expect.poll(async () => (await healthPage(worker, '/readyz')).text, { timeout: 60_000 }).toBe('ready\n');
}, 240_000);

test('an executor starts commands on the reachable cluster', async () => {
  await using closed = await aDoor('closed', await apiPort());
  await using installation = await startInstallation(target, { workers: 0, triggerers: 0 });
  const connections = { REENTRY_CONNECTIONS: await connectionsFile({ closed }) };
  installation.start('serve', connections, ['triggerer', 'executor']);
  await using client = await connect({ servers: installation.nats.url });
  const params = { image: 'alpine', namespace: installation.namespace, command: ['true'] };
  const away = await client.submit({ operator: 'command', params: { ...params, kubernetesConnId: 'closed' } });
  const here = await client.submit({ operator: 'command', params });
  expect(await client.waitFor(here.runId)).toMatchObject({ state: 'succeeded' });
  await expect
    .poll(() => explained(installation, away.runId), { timeout: 30_000 })
    .toMatchObject({ attempt: 1, infraFailures: 0, blocked: { code: 'CONNECTION_UNREACHABLE' } });
  await closed.open();
  expect(await client.waitFor(away.runId)).toMatchObject({ state: 'succeeded' });
}, 120_000);

test('a missing permission is reported with its namespace; runs wait for it, also when it is withdrawn later', async () => {
  await using installation = await startInstallation(target, { workers: 0, triggerers: 0 });
  const denied = { fault: 'deny', verb: 'create', resource: 'pods' } as const;
  target.faults?.order(denied);
  const worker = installation.start('worker');
  installation.start('triggerer');
  await using client = await connect({ servers: installation.nats.url });
  const first = await client.submit({ params: paramsIn(installation.namespace) });
  await expect
    .poll(() => explained(installation, first.runId), { timeout: 30_000 })
    .toMatchObject({ phase: 'Queued', infraFailures: 0, blocked: { code: 'PERMISSIONS_MISSING' } });
  expect(await healthPage(worker, '/readyz')).toEqual({
    status: 503,
    text: `connection default lacks permissions in namespace ${installation.namespace}: create pods\n`,
  });
  target.faults?.order({ fault: 'clear' });
  expect(await client.waitFor(first.runId)).toMatchObject({ state: 'succeeded' });

  target.faults?.order(denied);
  const second = await client.submit({ params: paramsIn(installation.namespace) });
  await expect
    .poll(() => explained(installation, second.runId), { timeout: 30_000 })
    .toMatchObject({ phase: 'Queued', infraFailures: 0, blocked: { code: 'PERMISSIONS_MISSING' } });
  target.faults?.order({ fault: 'clear' });
  expect(await client.waitFor(second.runId)).toMatchObject({ state: 'succeeded' });
}, 120_000);

test('a run in a configured but missing namespace waits until it exists', async () => {
  await using installation = await startInstallation(target, { workers: 0, triggerers: 0 });
  const late = freshName('late');
  const env = { REENTRY_NAMESPACES: `${installation.namespace},${late}` };
  installation.start('worker', env);
  installation.start('triggerer', env);
  await using client = await connect({ servers: installation.nats.url });
  const run = await client.submit({ params: paramsIn(late) });
  await expect
    .poll(() => explained(installation, run.runId), { timeout: 30_000 })
    .toMatchObject({
      phase: 'Queued',
      blocked: { code: 'PERMISSIONS_MISSING', summary: expect.stringContaining(late) },
    });
  await target.raw('POST', '/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: late } });
  expect(await client.waitFor(run.runId)).toMatchObject({ state: 'succeeded' });
}, 120_000);

test('a connection that is not configured is refused at once', async () => {
  await using installation = await startInstallation(target, { workers: 1, triggerers: 1 });
  await using client = await connect({ servers: installation.nats.url });
  const run = await client.submit({ params: paramsIn(installation.namespace, 'nowhere') });
  expect(await client.waitFor(run.runId)).toMatchObject({
    state: 'failed',
    diagnosis: { code: 'UNKNOWN_CONNECTION' },
  });
}, 60_000);
