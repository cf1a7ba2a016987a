import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parseAllDocuments } from 'yaml';
import { isRecord, type JsonRecord } from '../../src/core/json.ts';

const run = promisify(execFile);
/** The chart's folder. */
export const CHART = new URL('../../helm', import.meta.url).pathname;

/** The suites of the chart run where this program is (where it is not, `.config/vitest.config.ts` prints that). */
const program = process.env['REENTRY_HELM'] ?? 'helm';

/** Runs helm. Rejects with its output. */
export async function helm(...args: readonly string[]): Promise<string> {
  const { stdout } = await run(program, [...args], { maxBuffer: 16 * 1024 ** 2 });
  return stdout;
}

/** With the values in a file. */
async function withValues<T>(values: object, use: (file: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'reentry-values-'));
  try {
    const file = join(folder, 'values.json');
    await writeFile(file, JSON.stringify(values));
    return await use(file);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** `helm lint --strict` with values. */
export function lint(values: object): Promise<string> {
  return withValues(values, (file) => helm('lint', CHART, '--strict', '--values', file));
}

/** The chart's objects for values. */
export async function rendered(values: object, namespace = 'reentry'): Promise<readonly JsonRecord[]> {
  const text = await withValues(values, (file) =>
    helm('template', 'demo', CHART, '--namespace', namespace, '--values', file),
  );
  return parseAllDocuments(text).flatMap((document) => {
    const value: unknown = document.toJS();
    return isRecord(value) ? [value] : [];
  });
}

/** Values that together use everything in the chart. `taskNamespaces` must exist where the objects are applied to a server. */
export function matrix(taskNamespaces: readonly string[]): Readonly<Record<string, JsonRecord>> {
  return {
    defaults: {},
    'several namespaces, queues and executors': {
      namespaces: taskNamespaces,
      workers: {
        default: { queues: ['default', 'small'] },
        gpu: { queues: ['gpu'], replicas: 1, nodeSelector: { gpu: 'yes' } },
      },
      executors: {
        default: { enabled: true, queues: ['executor'] },
        bulk: { queues: ['bulk'], config: { drainSeconds: 60 } },
      },
    },
    'cluster-wide, without exec': { clusterWide: true, results: { exec: false } },
    'one process of several roles': {
      namespaces: taskNamespaces,
      serve: { enabled: true, replicas: 1, config: { drainSeconds: 40 } },
      nats: { auth: { method: 'password', secret: 'nats-auth' }, users: { enabled: true } },
    },
    'one process of all roles, and pools beside it': {
      clusterWide: true,
      results: { exec: false },
      serve: {
        ...{
          enabled: true,
          roles: ['worker', 'triggerer', 'executor'],
          queues: ['small'],
          executorQueues: ['nightly'],
        },
        autoscaling: { enabled: true },
      },
      workers: { gpu: { queues: ['gpu'], autoscaling: { enabled: true } } },
      executors: { default: { enabled: true, queues: ['executor'] } },
      nats: { auth: { method: 'creds', secret: 'nats-auth' }, users: { enabled: true } },
      policy: { default: { namespaces: ['jobs'] } },
      templates: { small: { spec: { containers: [{ name: 'base', image: 'busybox' }] } } },
    },
    'only a triggerer': { workers: { default: { enabled: false } }, setup: { enabled: false } },
    'without triggerer and rights': { triggerer: { enabled: false }, rbac: { create: false } },
    'passwords, TLS and users': {
      nats: {
        auth: { method: 'password', secret: 'nats-auth' },
        tls: { secret: 'nats-tls', clientCertificate: true },
        users: { enabled: true, tenants: [{ name: 'sales', feeds: ['billing', 'bi'] }, { name: 'ops' }] },
      },
      config: {
        natsUrl: 'tls://nats-0:4222,tls://nats-1:4222',
        replicas: 3,
        subjectRoot: 'acme.v1',
        assetPrefix: 'ACME_',
      },
    },
    'credentials files': { nats: { auth: { method: 'creds', secret: 'nats-auth' } } },
    'a token': { nats: { auth: { method: 'token', secret: 'nats-auth' } } },
    'policy, clusters and templates': {
      config: {
        concurrencyLimits: { 'sales/db': 2, '*': 4 },
        callbacks: ['/a.js', '/b.js'],
        storageBytes: 10 * 1024 ** 3,
      },
      policy: { tenants: { sales: { images: ['registry.example.com/**'] } }, default: { namespaces: ['jobs'] } },
      connections: { default: { inCluster: true }, eu: { kubeconfig: '/etc/reentry/connections/eu/config' } },
      connectionSecrets: ['eu'],
      templates: { small: { spec: { containers: [{ name: 'base', image: 'busybox' }] } } },
    },
    'scaling and spreading': {
      defaults: {
        autoscaling: { enabled: true, minReplicas: 3, maxReplicas: 9, target: 50 },
        topologySpread: { enabled: true, whenUnsatisfiable: 'DoNotSchedule' },
        podDisruptionBudget: { enabled: true, maxUnavailable: '25%' },
        tolerations: [{ key: 'infra', operator: 'Exists' }],
        priorityClassName: 'system-cluster-critical',
        podAnnotations: { 'example.com/a': 'b' },
        extraEnv: [{ name: 'HTTPS_PROXY', value: 'http://proxy' }],
      },
      executors: { default: { enabled: true, queues: ['executor'] } },
    },
    monitoring: { serviceMonitor: { enabled: true, labels: { release: 'prometheus' } }, alerts: { enabled: true } },
    'closed in': {
      networkPolicy: {
        enabled: true,
        ingressFrom: [{ namespaceSelector: { matchLabels: { team: 'observability' } } }],
      },
      image: { repository: 'registry.example.com/reentry', digest: `sha256:${'0'.repeat(64)}` },
      imagePullSecrets: [{ name: 'pull' }],
      createNamespaces: true,
    },
  };
}
