import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { z } from 'zod';
import { textIn } from '../../src/core/json.ts';
import type { PodProjection } from '../../src/core/pod/projection.ts';
import { Auth } from '../../src/kubernetes/auth.ts';
import { openClusters, type Tuning } from '../../src/kubernetes/clusters.ts';
import { targetOf } from '../../src/kubernetes/kubeconfig.ts';
import { startLocalCluster } from '../../src/local/cluster.ts';
import { type Fault, Faults } from './local-faults.ts';
import type { Cluster, Manifest } from '../../src/ports/cluster.ts';

/** A response of the API, unchanged. */
export interface RawReply {
  readonly status: number;
  readonly body: unknown;
}

/** A Kubernetes that tests run against. */
export interface ClusterUnderTest extends AsyncDisposable {
  readonly cluster: Cluster;
  readonly kubeconfig: string;
  /** Injects faults; only on the local cluster. */
  readonly faults: { order(fault: Fault): void } | undefined;
  /** Every response of the API server to a creation of a pod in a namespace, from its audit log (`REENTRY_TEST_AUDIT_LOG`: that file). */
  readonly podCreations: ((namespace: string) => Promise<readonly PodCreation[]>) | undefined;
  /** Another adapter to the same cluster, with its own time-outs and limits. */
  open(tuning: Partial<Tuning>): Cluster;
  /** Calls the API directly, without the adapter. */
  raw(
    method: 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE',
    path: string,
    body?: unknown,
    contentType?: string,
  ): Promise<RawReply>;
  /** A new namespace, deleted with the cluster under test. */
  namespace(): Promise<string>;
  /** Manifest of a pod. Without `script` it runs no process and succeeds after `runForSeconds`. */
  pod(options?: PodOptions): Manifest;
  /** Waits until `when` holds for the pod; returns it. */
  until(pod: PodProjection, when: (pod: PodProjection) => boolean): Promise<PodProjection>;
}

/** One response to a creation. 504: the client had disconnected before; the pod may exist all the same. */
export interface PodCreation {
  readonly name: string;
  readonly status: number;
}

/** How a test's pod behaves. */
export interface PodOptions {
  readonly name?: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** Shell script of container `base`. */
  readonly script?: string;
  /** Without script: seconds until it ends; default 3600. */
  readonly runForSeconds?: number;
  readonly exitCode?: number;
  readonly spec?: Manifest;
}

/** How the cluster behaves; only for the local one. */
interface TargetOptions {
  /** Size at which the local cluster's node rotates a log; rotated parts cannot be read; default 10 MiB. */
  readonly logMaxBytes?: number;
}

/** Where contracts are tested: always on the local cluster, and on the Kubernetes of `KUBECONFIG` if that is set. */
export const TARGETS: readonly {
  readonly name: string;
  readonly start: (options?: TargetOptions) => Promise<ClusterUnderTest>;
}[] = [
  { name: 'the local cluster', start: startLocal },
  ...(process.env['KUBECONFIG'] === undefined || process.env['KUBECONFIG'] === ''
    ? []
    : [{ name: 'the Kubernetes of KUBECONFIG', start: startGiven(process.env['KUBECONFIG']) }]),
];

async function startLocal(options: TargetOptions = {}): Promise<ClusterUnderTest> {
  const directory = await mkdtemp(join(tmpdir(), 'reentry-contract-'));
  const faults = new Faults();
  const local = await startLocalCluster({ directory, ...options, interference: faults.attach });
  return underTest(local.kubeconfigPath, 'local', faults, async () => {
    await local[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
  });
}

function startGiven(kubeconfig: string): () => Promise<ClusterUnderTest> {
  return () => Promise.resolve(underTest(kubeconfig, 'given', undefined, () => Promise.resolve()));
}

/** Interval between two checks of a condition, in milliseconds. */
const POLL_MS = 50;
let serial = 0;

/** A name that no other test of this machine uses. */
export function freshName(prefix: string): string {
  serial += 1;
  return `${prefix}-${process.pid.toString(36)}-${Date.now().toString(36)}-${serial.toString(36)}`;
}

function underTest(
  kubeconfig: string,
  kind: 'local' | 'given',
  faults: ClusterUnderTest['faults'],
  end: () => Promise<void>,
): ClusterUnderTest {
  const opened: AsyncDisposable[] = [];
  const open = (tuning: Partial<Tuning>): Cluster => {
    const clusters = openClusters({ connections: { test: { kubeconfig } }, tuning });
    opened.push(clusters);
    return clusters.get('test');
  };
  const cluster = open({});
  const target = targetOf('test', { kubeconfig }, {});
  const auth = new Auth(target, {});
  let agent: Agent | undefined;
  const namespaces: string[] = [];

  const raw: ClusterUnderTest['raw'] = async (method, path, body, contentType = 'application/json') => {
    const { headers, tls } = await auth.credentials();
    agent ??= new Agent({
      connect: {
        rejectUnauthorized: tls.rejectUnauthorized,
        ...(tls.ca === undefined ? {} : { ca: tls.ca }),
        ...(tls.cert === undefined ? {} : { cert: tls.cert }),
        ...(tls.key === undefined ? {} : { key: tls.key }),
      },
    });
    const reply = await request(`${target.cluster.server}${path}`, {
      dispatcher: agent,
      method,
      headers: {
        ...headers,
        accept: 'application/json',
        ...(body === undefined ? {} : { 'content-type': contentType }),
      },
      body: body === undefined ? null : JSON.stringify(body),
    });
    const text = await reply.body.text();
    return { status: reply.statusCode, body: asJson(text) };
  };

  return {
    cluster,
    kubeconfig,
    faults,
    open,
    raw,
    podCreations: kind === 'local' ? undefined : auditedBy(process.env['REENTRY_TEST_AUDIT_LOG']),
    async namespace() {
      const name = freshName('contract');
      const made = await raw('POST', '/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
      if (made.status !== 201) throw new Error(`namespace ${name} could not be made: ${JSON.stringify(made)}`);
      namespaces.push(name);
      // Pods are refused until the controller has created the account.
      for (;;) {
        const account = await raw('GET', `/api/v1/namespaces/${name}/serviceaccounts/default`);
        if (account.status === 200 || kind === 'local') return name;
        await delay(POLL_MS);
      }
    },
    pod: (options = {}) => aPod(kind, options),
    async until(pod, when) {
      const endsAt = Date.now() + 45_000;
      for (;;) {
        const present = await cluster.getPod(pod.namespace, pod.name);
        const seen = present === undefined ? undefined : cluster.project(present);
        if (seen !== undefined && when(seen)) return seen;
        if (Date.now() > endsAt)
          throw new Error(`pod ${pod.name} did not reach the expected state: ${JSON.stringify(seen)}`);
        await delay(POLL_MS);
      }
    },
    async [Symbol.asyncDispose]() {
      for (const name of namespaces) {
        // No pod of the tests needs its grace period.
        await raw('DELETE', `/api/v1/namespaces/${name}/pods?gracePeriodSeconds=0`);
        await raw('DELETE', `/api/v1/namespaces/${name}`);
      }
      for (const one of opened) await one[Symbol.asyncDispose]();
      await agent?.destroy();
      await end();
    },
  };
}

const auditLineSchema = z.looseObject({
  verb: z.string(),
  objectRef: z.looseObject({ resource: z.string(), namespace: z.string().optional(), name: z.string().optional() }),
  responseStatus: z.looseObject({ code: z.number() }).optional(),
});

/** Reads an API server's audit log, one JSON event a line. */
function auditedBy(file: string | undefined): ClusterUnderTest['podCreations'] {
  if (file === undefined || file === '') return undefined;
  return async (namespace) => {
    const lines = (await readFile(file, 'utf8')).split('\n').filter((line) => line !== '');
    return lines
      .map((line) => auditLineSchema.parse(JSON.parse(line)))
      .filter(({ verb, objectRef }) => {
        return (
          verb === 'create' &&
          objectRef.resource === 'pods' &&
          objectRef['subresource'] === undefined &&
          objectRef.namespace === namespace
        );
      })
      .map(({ objectRef, responseStatus }) => ({ name: objectRef.name ?? '', status: responseStatus?.code ?? 0 }));
  };
}

function aPod(kind: 'local' | 'given', options: PodOptions): Manifest {
  const { script, runForSeconds = 3600, exitCode = 0 } = options;
  const fake =
    kind === 'local'
      ? { 'local.reentry.dev/run-for': String(runForSeconds), 'local.reentry.dev/exit-code': String(exitCode) }
      : { 'kwok.reentry.dev/run-for': `${runForSeconds}s`, 'kwok.reentry.dev/exit-code': String(exitCode) };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: options.name ?? freshName('pod'),
      labels: options.labels ?? {},
      annotations: script === undefined ? fake : {},
    },
    spec: {
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 1,
      ...(kind === 'local'
        ? {}
        : { nodeSelector: { 'node.reentry.dev/kind': script === undefined ? 'kwok' : 'real' } }),
      containers: [{ name: 'base', image: 'busybox', command: ['sh', '-c', script ?? 'true'] }],
      ...options.spec,
    },
  };
}

function asJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The name in a manifest. */
export function nameOf(manifest: Manifest): string {
  return textIn(manifest['metadata'], 'name') ?? '';
}
