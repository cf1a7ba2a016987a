/**
 * The image and the chart as a platform team meets them: `helm install` on a node that runs containers. The node has no network but its machine's,
 * so the release's pods are given that one on their way in; nothing else of the chart is changed.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type JsonRecord, recordIn, recordsIn, textIn } from '../../src/core/json.ts';
import { targetOf } from '../../src/kubernetes/kubeconfig.ts';
import { CHART, helm, rendered } from '../support/helm.ts';
import { type ServedImage, servedImage } from '../support/image-registry.ts';
import { type ClusterUnderTest, freshName, TARGETS } from '../support/kubernetes.ts';
import { aNatsServer, type TestServer } from '../support/nats-server.ts';
import { freePorts } from '../support/ports.ts';
import { runReentry } from '../support/processes.ts';

const given = TARGETS.find(({ name }) => name.includes('KUBECONFIG'));
const { REENTRY_TEST_IMAGE: layout, REENTRY_TEST_REGISTRIES: hosts } = process.env;
if (given === undefined || layout === undefined || hosts === undefined)
  throw new Error('KUBECONFIG, REENTRY_TEST_IMAGE (an OCI layout of .ci/image) and REENTRY_TEST_REGISTRIES are needed');

const ROLES = ['worker', 'triggerer', 'executor'];
const USERS = ['setup', ...ROLES, 'client-sales'];
const users = { enabled: true, tenants: [{ name: 'sales', feeds: [] }] };
const passwordOf = (user: string) => `pw-${user.toUpperCase().replace('-', '_')}`;

let api: ClusterUnderTest;
let image: ServedImage;
let nats: TestServer;
let folder: string;
let [release, tasks, policy] = ['', '', ''];
const client: Record<string, string> = {};
const kube = (...args: readonly string[]) => helm(...args, '--kubeconfig', api.kubeconfig, '--namespace', release);
const cli = (...args: readonly string[]) => runReentry(args, client);

/** Pods of the release get their node's network, and the API server's address on it. */
function onNodesNetwork(name: string, server: URL): readonly JsonRecord[] {
  const env = Object.entries({ KUBERNETES_SERVICE_HOST: server.hostname, KUBERNETES_SERVICE_PORT: server.port })
    .map(([key, value]) => `Object.spec.containers.env{name: "${key}", value: "${value}"}`)
    .join(', ');
  const own = `Object.spec.containers{name: c.name, env: [${env}]}`;
  const network = `Object{spec: Object.spec{hostNetwork: true, containers: object.spec.containers.map(c, ${own})}}`;
  const onReal = '[JSONPatch{op: "add", path: "/spec/nodeSelector", value: {"node.reentry.dev/kind": "real"}}]';
  const resourceRules = [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['pods'] }];
  const namespaceSelector = { matchLabels: { 'kubernetes.io/metadata.name': release } };
  const apiVersion = 'admissionregistration.k8s.io/v1';
  return [
    {
      ...{ apiVersion, kind: 'MutatingAdmissionPolicy', metadata: { name } },
      spec: {
        ...{
          failurePolicy: 'Fail',
          reinvocationPolicy: 'Never',
          matchConstraints: { namespaceSelector, resourceRules },
        },
        mutations: [
          { patchType: 'ApplyConfiguration', applyConfiguration: { expression: network } },
          { patchType: 'JSONPatch', jsonPatch: { expression: onReal } },
        ],
      },
    },
    { apiVersion, kind: 'MutatingAdmissionPolicyBinding', metadata: { name }, spec: { policyName: name } },
  ];
}
const admission = (kind: unknown) =>
  `/apis/admissionregistration.k8s.io/v1/${String(kind).toLowerCase().replace(/y$/, 'ie')}s`;

/** For `helm install` and `helm upgrade`. On one network each role needs a port of its own, and another one than its predecessor's. */
async function releaseArgs(): Promise<readonly string[]> {
  const [worker, triggerer, executor] = await freePorts(3);
  const values = {
    image: image.values,
    config: { natsUrl: nats.url, installation: release, storageBytes: 512 * 1024 ** 2 },
    namespaces: [tasks],
    nats: { auth: { method: 'password', secret: 'nats-passwords' }, users },
    defaults: { replicas: 1 },
    workers: { default: { config: { httpPort: worker } } },
    triggerer: { config: { httpPort: triggerer } },
    executors: { default: { enabled: true, config: { httpPort: executor } } },
    networkPolicy: { enabled: true },
  };
  const file = join(folder, `${freshName('values')}.json`);
  await writeFile(file, JSON.stringify(values));
  return ['demo', CHART, '--values', file, '--wait', '--timeout', '4m'];
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'reentry-install-'));
  image = await servedImage(layout, hosts);
  api = await given.start();
  [release, tasks, policy] = [await api.namespace(), await api.namespace(), freshName('network')];
  const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
  await api.raw('PATCH', `/api/v1/namespaces/${tasks}`, { metadata: { labels } }, 'application/merge-patch+json');
  const server = new URL(targetOf('test', { kubeconfig: api.kubeconfig }, {}).cluster.server);
  for (const object of onNodesNetwork(policy, server))
    expect((await api.raw('POST', admission(object['kind']), object)).status).toBe(201);

  const objects = await rendered({ nats: { users }, executors: { default: { enabled: true } } }, release);
  const map = objects.find((one) => textIn(one['metadata'], 'name')?.endsWith('-nats-users'));
  const conf = textIn(recordIn(map, 'data'), 'reentry-users.conf') ?? '';
  nats = await aNatsServer({
    config: conf.replace(/\$REENTRY_NATS_PASSWORD_(\w+)/g, (_, name: string) => `"pw-${name}"`),
  });
  const stringData = Object.fromEntries(USERS.map((user) => [user, passwordOf(user)]));
  const secret = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'nats-passwords' }, stringData };
  expect((await api.raw('POST', `/api/v1/namespaces/${release}/secrets`, secret)).status).toBe(201);
  await writeFile(join(folder, 'password'), passwordOf('client-sales'));
  Object.assign(client, {
    ...{ REENTRY_NATS_URL: nats.url, REENTRY_NATS_USER: 'reentry-client-sales', REENTRY_TENANT: 'sales' },
    REENTRY_NATS_PASS_FILE: join(folder, 'password'),
  });

  expect(await kube('install', ...(await releaseArgs()))).toContain('STATUS: deployed');
}, 300_000);
afterAll(async () => {
  await kube('uninstall', 'demo', '--wait', '--timeout', '2m');
  for (const kind of ['MutatingAdmissionPolicyBinding', 'MutatingAdmissionPolicy'])
    await api.raw('DELETE', `${admission(kind)}/${policy}`);
  await api[Symbol.asyncDispose]();
  await nats[Symbol.asyncDispose]();
  await image[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
}, 180_000);

describe('the image', () => {
  test('runs as a user that is a number, has no shell, and brings its compiled code, which is that user’s', async () => {
    expect(recordIn(image.config, 'config')['User']).toBe('65532:65532');
    const listings = image.layers.map((layer) =>
      promisify(execFile)('tar', ['-tvzf', layer, '--numeric-owner'], { maxBuffer: 64 * 1024 ** 2 }),
    );
    const files = (await Promise.all(listings)).flatMap(({ stdout }) => stdout.split('\n'));
    expect(files.filter((line) => /\/(?:ba|da)?sh$|\/(?:npm|apt|dpkg|busybox)$/.test(line))).toEqual([]);
    const compiled = files.filter((line) => / app\/compiled\/.+\/.+/.test(line));
    expect(compiled.length).toBeGreaterThan(100);
    expect(compiled.filter((line) => !line.includes(' 65532/65532 '))).toEqual([]);
  });
});

describe('a release', () => {
  test('tells from inside that each role may do what it must', async () => {
    const said = await kube('test', 'demo', '--logs', '--timeout', '3m');
    for (const role of ROLES)
      expect(said).toMatch(new RegExp(`^ok .*permissions of .*${role} in namespace ${tasks}`, 'm'));
    expect(said.match(/^ok /gm)?.length).toBeGreaterThanOrEqual(4 * ROLES.length);
    expect(said).not.toMatch(/^(?:broken|warning)/m);
  });

  test('runs pods and commands in a namespace that enforces `restricted`', async () => {
    const script = 'id -u; mkdir -p /airflow/xcom; echo "{\\"n\\": 7}" > /airflow/xcom/return.json';
    const onReal = { nodeSelector: { 'node.reentry.dev/kind': 'real' } };
    const asked = ['submit', '--wait', '--json', '--image', 'busybox', '--param', 'doXcomPush=true'];
    const pod = ['--param', `nodeSelector=${JSON.stringify(onReal.nodeSelector)}`];
    const command = ['--command', '--param', `executorConfig=${JSON.stringify({ podOverride: { spec: onReal } })}`];
    for (const more of [pod, command]) {
      const run = await cli(...asked, ...more, '--', 'sh', '-c', script);
      expect(run).toMatchObject({ code: 0 });
      expect(JSON.parse(run.stdout)).toMatchObject({ state: 'succeeded', result: { n: 7 } });
    }
  });

  test('loses no run while an upgrade replaces the pods of all its roles', async () => {
    const runs = Array.from({ length: 100 }, (_, n) => ({
      runId: `replaced-${String(n)}`,
      params: {
        image: 'busybox',
        getLogs: false,
        nodeSelector: { 'node.reentry.dev/kind': 'kwok' },
        annotations: { 'kwok.reentry.dev/run-for': `${String(2 + (n % 20))}s` },
      },
    }));
    const batch = join(folder, 'batch.jsonl');
    await writeFile(batch, runs.map((run) => JSON.stringify(run)).join('\n'));
    const submitted = cli('submit', '--wait', '--batch', batch);
    expect(await kube('upgrade', ...(await releaseArgs()))).toContain('STATUS: deployed');
    expect(await submitted).toMatchObject({ code: 0, stderr: expect.stringContaining('100 succeeded') });
    const { body } = await api.raw('GET', `/api/v1/namespaces/${tasks}/pods`);
    expect(recordsIn(body, 'items')).toEqual([]);
  });
});
