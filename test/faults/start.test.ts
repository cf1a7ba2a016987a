/** A cluster, a namespace or a permission that is away at the start, and comes back. */
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connect } from '../../src/client/index.ts';
import { type ClusterUnderTest, freshName, TARGETS } from '../support/kubernetes.ts';
import type { ReentryProcess } from '../support/processes.ts';
import { runReentry } from '../support/processes.ts';
import { aStage, type Stage } from '../support/stage.ts';

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

/** A connections file: the cluster as `default`, and behind each of the doors. */
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

async function page(of: ReentryProcess, path: string): Promise<{ readonly status: number; readonly text: string }> {
  const [, port] = /"port":(\d+),"msg":"serving health and metrics"/.exec(of.stderr()) ?? [];
  if (port === undefined) return { status: 0, text: '' };
  const reply = await fetch(`http://127.0.0.1:${port}${path}`);
  return { status: reply.status, text: await reply.text() };
}

const paramsIn = (namespace: string, kubernetesConnId?: string) => ({
  ...{ image: 'alpine', namespace, cmds: ['sh', '-c', 'echo hi'] },
  ...(kubernetesConnId === undefined ? {} : { kubernetesConnId }),
});

async function explained(stage: Stage, runId: string): Promise<unknown> {
  const { stdout } = await runReentry(['explain', runId, '--json'], stage.env);
  return JSON.parse(stdout);
}

test('two clusters that are away stop neither the start nor the runs of a third; theirs wait and go on', async () => {
  await using closed = await aDoor('closed', await apiPort());
  await using silent = await aDoor('silent', await apiPort());
  await using stage = await aStage(target, { workers: 0, triggerers: 0 });
  const connections = { REENTRY_CONNECTIONS: await connectionsFile({ closed, silent }), REENTRY_START_CREDITS: '4' };
  const worker = stage.start('worker', connections);
  const triggerer = stage.start('triggerer', connections);
  await using client = await connect({ servers: stage.nats.url });

  for (const role of [worker, triggerer])
    await expect.poll(async () => (await page(role, '/readyz')).status, { timeout: 20_000 }).toBe(200);
  const here = await client.submit({ params: paramsIn(stage.namespace) });
  expect(await client.waitFor(here.runId)).toMatchObject({ state: 'succeeded' });

  // More than the credits of a worker: none of them may hold one.
  const away = [];
  for (const name of ['closed', 'silent'])
    for (let n = 0; n < 6; n += 1) away.push(await client.submit({ params: paramsIn(stage.namespace, name) }));
  const [first, last] = [away[0]?.runId ?? '', away.at(-1)?.runId ?? ''];
  for (const [runId, name] of [
    [first, 'closed'],
    [last, 'silent'],
  ] as const)
    await expect
      .poll(() => explained(stage, runId), { timeout: 30_000 })
      .toMatchObject({
        ...{ phase: 'Queued', attempt: 1, userFailures: 0, infraFailures: 0 },
        blocked: { code: 'CONNECTION_UNREACHABLE', summary: expect.stringContaining(`connection ${name}`) },
      });
  const again = await client.submit({ params: paramsIn(stage.namespace) });
  expect(await client.waitFor(again.runId)).toMatchObject({ state: 'succeeded' });

  await expect
    .poll(async () => (await page(worker, '/readyz')).text, { timeout: 20_000 })
    .toMatch(/^ready\nconnection closed is unreachable: .*\nconnection silent is unreachable: /);
  const { text: metrics } = await page(worker, '/metrics');
  const gauge = (name: string) =>
    new RegExp(
      `^reentry_connection_ready{role="worker",connection="${name}",pod_namespace="${stage.namespace}"} (\\d)$`,
      'm',
    ).exec(metrics)?.[1];
  expect(['default', 'closed', 'silent'].map(gauge)).toEqual(['1', '0', '0']);
  const doctor = await runReentry(['doctor'], { ...stage.env, ...connections });
  expect(doctor.stdout).toMatch(/warning workers: .*connection closed is unreachable/);

  await closed.open();
  await silent.open();
  for (const { runId } of away) expect(await client.waitFor(runId)).toMatchObject({ state: 'succeeded' });
  await expect.poll(async () => (await page(worker, '/readyz')).text, { timeout: 60_000 }).toBe('ready\n');
}, 240_000);

test('an executor starts commands on the cluster that is there', async () => {
  await using closed = await aDoor('closed', await apiPort());
  await using stage = await aStage(target, { workers: 0, triggerers: 0 });
  const connections = { REENTRY_CONNECTIONS: await connectionsFile({ closed }) };
  stage.start('serve', connections, ['triggerer', 'executor']);
  await using client = await connect({ servers: stage.nats.url });
  const params = { image: 'alpine', namespace: stage.namespace, command: ['true'] };
  const away = await client.submit({ operator: 'command', params: { ...params, kubernetesConnId: 'closed' } });
  const here = await client.submit({ operator: 'command', params });
  expect(await client.waitFor(here.runId)).toMatchObject({ state: 'succeeded' });
  await expect
    .poll(() => explained(stage, away.runId), { timeout: 30_000 })
    .toMatchObject({ attempt: 1, infraFailures: 0, blocked: { code: 'CONNECTION_UNREACHABLE' } });
  await closed.open();
  expect(await client.waitFor(away.runId)).toMatchObject({ state: 'succeeded' });
}, 120_000);

test('a permission that is missing is named with its namespace; runs wait for it, also when it is taken away later', async () => {
  await using stage = await aStage(target, { workers: 0, triggerers: 0 });
  const denied = { fault: 'deny', verb: 'create', resource: 'pods' } as const;
  target.faults?.order(denied);
  const worker = stage.start('worker');
  stage.start('triggerer');
  await using client = await connect({ servers: stage.nats.url });
  const first = await client.submit({ params: paramsIn(stage.namespace) });
  await expect
    .poll(() => explained(stage, first.runId), { timeout: 30_000 })
    .toMatchObject({ phase: 'Queued', infraFailures: 0, blocked: { code: 'PERMISSIONS_MISSING' } });
  expect(await page(worker, '/readyz')).toEqual({
    status: 503,
    text: `connection default lacks permissions in namespace ${stage.namespace}: create pods\n`,
  });
  target.faults?.order({ fault: 'clear' });
  expect(await client.waitFor(first.runId)).toMatchObject({ state: 'succeeded' });

  target.faults?.order(denied);
  const second = await client.submit({ params: paramsIn(stage.namespace) });
  await expect
    .poll(() => explained(stage, second.runId), { timeout: 30_000 })
    .toMatchObject({ phase: 'Queued', infraFailures: 0, blocked: { code: 'PERMISSIONS_MISSING' } });
  target.faults?.order({ fault: 'clear' });
  expect(await client.waitFor(second.runId)).toMatchObject({ state: 'succeeded' });
}, 120_000);

test('a run in a namespace that is listed and missing waits until it is there', async () => {
  await using stage = await aStage(target, { workers: 0, triggerers: 0 });
  const late = freshName('late');
  const env = { REENTRY_NAMESPACES: `${stage.namespace},${late}` };
  stage.start('worker', env);
  stage.start('triggerer', env);
  await using client = await connect({ servers: stage.nats.url });
  const run = await client.submit({ params: paramsIn(late) });
  await expect
    .poll(() => explained(stage, run.runId), { timeout: 30_000 })
    .toMatchObject({
      phase: 'Queued',
      blocked: { code: 'PERMISSIONS_MISSING', summary: expect.stringContaining(late) },
    });
  await target.raw('POST', '/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: late } });
  expect(await client.waitFor(run.runId)).toMatchObject({ state: 'succeeded' });
}, 120_000);

test('a connection that is not configured is refused at once', async () => {
  await using stage = await aStage(target, { workers: 1, triggerers: 1 });
  await using client = await connect({ servers: stage.nats.url });
  const run = await client.submit({ params: paramsIn(stage.namespace, 'nowhere') });
  expect(await client.waitFor(run.runId)).toMatchObject({
    state: 'failed',
    diagnosis: { code: 'UNKNOWN_CONNECTION' },
  });
}, 60_000);
