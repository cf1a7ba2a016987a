import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { type LocalCluster, startLocalCluster } from '../../src/local/cluster.ts';
import { openClientBroker } from '../../src/nats/client-broker.ts';
import { connectNats } from '../../src/nats/connection.ts';
import { layoutFrom } from '../../src/nats/link.ts';
import type { ClientBroker } from '../../src/ports/client.ts';
import { natsConfiguration, natsUsers } from '../../src/wire/permissions.ts';
import { VERBS } from '../../src/wire/subjects.ts';
import { aNatsServer, type TestServer } from '../support/nats-server.ts';
import { type ReentryProcess, runReentry, startReentry } from '../support/processes.ts';

/** Roles and tenants with only the users that `reentry setup --permissions` prints. */
const layout = layoutFrom({});
const users = natsUsers(layout, {
  queues: ['default'],
  executorQueues: ['executor'],
  processes: [['worker'], ['triggerer'], ['worker', 'triggerer']],
  tenants: ['sales', 'ops'].map((tenant) => ({ tenant, feeds: [] })),
});
// On a server of its own the passwords come from the environment.
const config = users.reduce(
  (text, { passwordFrom, user }) => text.replace(`$${passwordFrom},`, `"of-${user}",`),
  natsConfiguration(users),
);

let folder: string;
let env: (role: string) => Record<string, string>;
let nats: TestServer;
let cluster: LocalCluster;
const roles: ReentryProcess[] = [];
const clients = new Map<string, ClientBroker>();
const victim = { tenant: 'sales', runId: 'victim' };

const as = (user: string) => ({ user: `reentry-${user}`, pass: `of-reentry-${user}` });
const client = (tenant: string): ClientBroker => {
  const found = clients.get(tenant);
  if (found === undefined) throw new Error(`no client of ${tenant}`);
  return found;
};
const body = (script: string): Uint8Array =>
  new TextEncoder().encode(JSON.stringify({ params: { image: 'alpine', cmds: ['sh', '-c'], arguments: [script] } }));

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'reentry-tenants-'));
  cluster = await startLocalCluster({ directory: join(folder, 'cluster') });
  nats = await aNatsServer({ config });
  env = (role) => ({
    REENTRY_NATS_URL: nats.url.replace('//', `//reentry-${role}:of-reentry-${role}@`),
    REENTRY_KUBECONFIG: cluster.kubeconfigPath,
    REENTRY_CACHE_FOLDER: folder,
    REENTRY_HTTP_PORT: '0',
    REENTRY_LOG_FORMAT: 'json',
    REENTRY_STORAGE_BYTES: String(512 * 1024 ** 2),
  });
  expect(await runReentry(['setup'], env('setup'))).toMatchObject({ code: 0 });
  for (const role of ['worker', 'triggerer']) roles.push(startReentry([role], env(role)));
  for (const role of roles) await vi.waitUntil(() => role.stderr().includes(' started'), { timeout: 60_000 });
  for (const tenant of ['sales', 'ops'])
    clients.set(
      tenant,
      await openClientBroker({ servers: nats.url, ...as(`client-${tenant}`), role: 'client', tenant, name: tenant }),
    );
});
afterAll(async () => {
  for (const one of clients.values()) await one[Symbol.asyncDispose]();
  for (const role of roles) await role[Symbol.asyncDispose]();
  await nats[Symbol.asyncDispose]();
  await cluster[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

test('a tenant’s own run succeeds with the generated users, log and event included', async () => {
  await client('sales').publishRun('default', victim, body('echo secret; sleep 0.1'), 'run:victim');
  const ended = async () => (await client('sales').lastEvent(victim, 'completed'))?.data;
  await expect.poll(ended, { timeout: 60_000 }).toMatchObject({ state: 'succeeded' });
  expect(JSON.stringify(await client('sales').request('sales', 'logs', { runId: 'victim' }))).toContain('secret');
});

test.each(VERBS.filter((verb) => verb !== 'submit' && verb !== 'render' && verb !== 'list'))(
  'another tenant’s %s finds no such run, and is refused in the first one’s name',
  async (verb) => {
    const reply = await client('ops').request('ops', verb, { runId: 'victim' });
    expect(reply).toMatchObject({ error: { code: 'NOT_FOUND' } });
    await expect(client('ops').request('sales', verb, { runId: 'victim' })).rejects.toMatchObject({
      code: 'FORBIDDEN',
    });
  },
);

test('another tenant’s list is empty', async () => {
  expect(await client('ops').request('ops', 'list', {})).toMatchObject({ ok: { runs: [] } });
  expect(JSON.stringify(await client('sales').request('sales', 'list', {}))).toContain('victim');
});

test('the same run id of another tenant is another run', async () => {
  const own = { tenant: 'ops', runId: 'victim' };
  await client('ops').publishRun('default', own, body('exit 4'), 'run:ops-victim');
  const ended = async () => (await client('ops').lastEvent(own, 'completed'))?.data;
  await expect.poll(ended, { timeout: 60_000 }).toMatchObject({ state: 'failed', exitCode: 4 });
  expect((await client('sales').lastEvent(victim, 'completed'))?.data).toMatchObject({ state: 'succeeded' });
});

test('another tenant can neither receive, read, forge nor request anything of the first', async () => {
  await expect(client('ops').lastEvent(victim, 'completed')).rejects.toMatchObject({ code: 'FORBIDDEN' });
  await using connection = await connectNats({
    ...{ servers: nats.url, ...as('client-ops'), role: 'client', tenant: 'ops', name: 'raw' },
  });
  const { nc } = connection;
  const refused = new Set<string>();
  void (async () => {
    for await (const { permissionContext } of nc.status())
      if (permissionContext !== undefined) refused.add(permissionContext.subject);
  })();
  const { subjects, assets } = layout;
  const published = [
    subjects.run.of('default', victim),
    subjects.event.of(victim, 'completed'),
    subjects.log.of(victim, 1, 'base'),
    subjects.step.of('default', 'ctl', victim),
    subjects.service.of('sales', 'cancel'),
    assets.stateBucket.subject('sales.victim'),
    `$JS.API.DIRECT.GET.${assets.stateBucket.stream}.${assets.stateBucket.subject('sales.victim')}`,
    `$JS.API.DIRECT.GET.${assets.requestBucket.stream}.${assets.requestBucket.subject('sales.victim')}`,
    `$JS.API.DIRECT.GET.${assets.logs}.${subjects.log.of(victim, 1, 'base')}`,
    `$JS.API.STREAM.MSG.GET.${assets.events}`,
    `$JS.API.CONSUMER.CREATE.${assets.events}`,
    '_INBOX_client_sales.x',
  ];
  const subscribed = [subjects.event.ofTenant('sales'), subjects.log.ofRun(victim), '_INBOX_client_sales.>', '>'];
  for (const subject of published) nc.publish(subject, '{}');
  for (const subject of subscribed) nc.subscribe(subject, { callback: () => undefined });
  await nc.flush();
  await expect.poll(() => [...refused].sort()).toEqual([...published, ...subscribed].sort());
});

test('one process of both roles works with the union of their permissions, and doctor names what one of them lacks', async () => {
  const whole = ['--role', 'worker', 'triggerer'];
  expect(await runReentry(['doctor', ...whole], env('serve'))).toMatchObject({ code: 0 });
  const { code, stdout } = await runReentry(['doctor', ...whole], env('worker'));
  expect(code).not.toBe(0);
  expect(stdout).toContain('NATS permissions as worker and triggerer: may not publish');
  expect(stdout).toContain('claims of shards');
  expect(stdout).not.toContain('messages of the queues that are served');

  for (const role of roles.splice(0)) {
    role.kill('SIGTERM');
    expect(await role.ended).toBe(0);
  }
  const serve = startReentry(['serve', 'worker', 'triggerer'], env('serve'));
  roles.push(serve);
  for (const role of ['worker', 'triggerer'])
    await vi.waitUntil(() => serve.stderr().includes(`${role} started`), { timeout: 60_000 });
  const own = { tenant: 'sales', runId: 'served' };
  await client('sales').publishRun('default', own, body('sleep 0.1'), 'run:served');
  const ended = async () => (await client('sales').lastEvent(own, 'completed'))?.data;
  await expect.poll(ended, { timeout: 60_000 }).toMatchObject({ state: 'succeeded' });
  const port = /"port":(\d+)/.exec(serve.stderr())?.[1] ?? '';
  const metrics = async () => (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  await expect.poll(metrics, { timeout: 60_000 }).toContain('reentry_queue_waiting{queue="default",why="worker"} 0\n');
  expect(serve.stderr()).not.toContain('FORBIDDEN');
});
