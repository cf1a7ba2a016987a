/** A release of the chart on a node that runs containers, with a nats-server that has its users. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type JsonRecord, recordIn, textIn } from '../../src/core/json.ts';
import { targetOf } from '../../src/kubernetes/kubeconfig.ts';
import { CHART, helm, rendered } from './helm.ts';
import type { ServedImage } from './image-registry.ts';
import { type ClusterUnderTest, freshName } from './kubernetes.ts';
import { aNatsServer } from './nats-server.ts';
import { freePorts } from './ports.ts';
import { runReentry } from './processes.ts';

/** A release's processes, and the chart's values for them, on distinct ports. */
export interface Shape {
  readonly processes: readonly string[];
  values(ports: readonly number[]): object;
}

/** An installed release. */
export interface Release extends AsyncDisposable {
  /** Where its task pods run: a namespace that enforces Pod Security `restricted`. */
  readonly tasks: string;
  /** `helm upgrade` with new pods for all processes; waits until they are ready and gives helm's output. */
  upgrade(): Promise<string>;
  /** `helm test`, with its logs. */
  test(): Promise<string>;
  /** `reentry ARGS` as client of tenant `sales`. */
  cli(...args: readonly string[]): ReturnType<typeof runReentry>;
}

const TENANT = 'sales';

/**
 * Installs the chart with an image, waits until it is ready.
 *
 * The node has only its machine's network, so an admission policy puts the release's pods on it; nothing else of the chart is changed.
 */
export async function aRelease(api: ClusterUnderTest, image: ServedImage, shape: Shape): Promise<Release> {
  const stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'reentry-release-'));
  stack.defer(() => rm(folder, { recursive: true }));
  const [namespace, tasks, policy] = [await api.namespace(), await api.namespace(), freshName('network')];
  const post = async (path: string, body: object): Promise<void> => {
    const { status, body: reply } = await api.raw('POST', path, body);
    if (status !== 201) throw new Error(`POST ${path}: ${String(status)} ${textIn(reply, 'message') ?? ''}`);
  };
  const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
  await api.raw('PATCH', `/api/v1/namespaces/${tasks}`, { metadata: { labels } }, 'application/merge-patch+json');
  const server = new URL(targetOf('test', { kubeconfig: api.kubeconfig }, {}).cluster.server);
  for (const object of onNodesNetwork(namespace, policy, server)) {
    await post(admission(object['kind']), object);
    stack.defer(async () => {
      await api.raw('DELETE', `${admission(object['kind'])}/${policy}`);
    });
  }

  const users = { enabled: true, tenants: [{ name: TENANT, feeds: [] }] };
  const objects = await rendered({ nats: { users }, ...shape.values([1, 2, 3]) }, namespace);
  const map = objects.find((one) => textIn(one['metadata'], 'name')?.endsWith('-nats-users'));
  const conf = textIn(recordIn(map, 'data'), 'reentry-users.conf') ?? '';
  // In a cluster the passwords come from nats-server's environment.
  const config = conf.replace(/\$REENTRY_NATS_PASSWORD_(\w+)/g, (_, name: string) => `"pw-${name}"`);
  const nats = stack.use(await aNatsServer({ config }));
  const stringData = Object.fromEntries(
    ['setup', ...shape.processes].map((name) => [name, `pw-${name.toUpperCase()}`] as const),
  );
  const secret = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'nats-passwords' }, stringData };
  await post(`/api/v1/namespaces/${namespace}/secrets`, secret);
  const client = {
    ...{ REENTRY_NATS_URL: nats.url, REENTRY_NATS_USER: `reentry-client-${TENANT}`, REENTRY_TENANT: TENANT },
    REENTRY_NATS_PASS_FILE: join(folder, 'password'),
  };
  await writeFile(client.REENTRY_NATS_PASS_FILE, `pw-CLIENT_${TENANT.toUpperCase()}`);

  const kube = (...args: readonly string[]) => helm(...args, '--kubeconfig', api.kubeconfig, '--namespace', namespace);
  // On one network each process needs its own port, different from its predecessor's.
  const chartArgs = async (): Promise<readonly string[]> => {
    const values = {
      image: image.values,
      config: { natsUrl: nats.url, installation: namespace, storageBytes: 512 * 1024 ** 2 },
      namespaces: [tasks],
      nats: { auth: { method: 'password', secret: secret.metadata.name }, users },
      defaults: { replicas: 1 },
      networkPolicy: { enabled: true },
      ...shape.values(await freePorts(3)),
    };
    const file = join(folder, `${freshName('values')}.json`);
    await writeFile(file, JSON.stringify(values));
    return ['demo', CHART, '--values', file, '--wait', '--timeout', '4m'];
  };
  stack.defer(async () => {
    await kube('uninstall', 'demo', '--wait', '--timeout', '2m');
  });
  await kube('install', ...(await chartArgs()));
  return {
    tasks,
    upgrade: async () => await kube('upgrade', ...(await chartArgs())),
    test: async () => await kube('test', 'demo', '--logs', '--timeout', '3m'),
    cli: (...args) => runReentry(args, client),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** Puts the release's pods on their node's network, with the API server's address on it. */
function onNodesNetwork(release: string, name: string, server: URL): readonly JsonRecord[] {
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
