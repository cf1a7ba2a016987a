/** Waiting runs, stored as a worker would have: a pod in the API; state, request and subscription in the broker. */
import { setTimeout as delay } from 'node:timers/promises';
import { installationSelector, LABELS, podAnnotations, podLabels } from '../../src/core/pod/labels.ts';
import { shardOf } from '../../src/core/identity.ts';
import type { Manifest } from '../../src/ports/cluster.ts';
import { projectPod } from '../../src/core/pod/projection.ts';
import { WIRE_VERSION } from '../../src/core/wire-version.ts';
import type { RunState } from '../../src/wire/run-state.ts';
import type { Subscription } from '../../src/wire/triggers.ts';
import { type Bucket, layoutOf, DEFAULT_ASSET_PREFIX } from '../../src/wire/streams.ts';
import { DEFAULT_SUBJECT_ROOT, keys } from '../../src/wire/subjects.ts';
import type { ClusterUnderTest } from '../support/kubernetes.ts';
import type { RunningInstallation } from '../support/running-installation.ts';
import type { Api } from './api.ts';
import { pipelined } from './runs.ts';

/** Names of an installation's streams and buckets. */
export const { assets } = layoutOf(DEFAULT_SUBJECT_ROOT, DEFAULT_ASSET_PREFIX);

/** A run of tenant `default` that waits for its pod's end. */
export interface WaitingRun {
  readonly runId: string;
  readonly pod: string;
  readonly shard: string;
}

const jsonType = { 'content-type': 'application/json' };
const started = (): string => new Date().toISOString().replace(/\.\d+/, '');

/** A pod that no node runs and no scheduler places: the bench writes its status. */
function manifestOf(
  target: ClusterUnderTest,
  installation: RunningInstallation,
  run: { tenant: string; runId: string },
): Manifest {
  const identity = { installation: installation.namespace, run, attempt: 1, queue: 'default', context: {} };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: run.runId, labels: podLabels(identity), annotations: podAnnotations(identity, 'base') },
    spec: {
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 0,
      ...(target.faults === undefined ? { schedulerName: 'none' } : { nodeName: 'no-node' }),
      containers: [{ name: 'base', image: 'busybox', command: ['sleep', '100000'] }],
    },
  };
}

/** Creates `count` waiting runs, `width` at a time, all Deferred: workers have nothing to do with them. */
export async function seedWaiting(
  target: ClusterUnderTest,
  installation: RunningInstallation,
  api: Api,
  { prefix, count, width = 48 }: { readonly prefix: string; readonly count: number; readonly width?: number },
): Promise<readonly WaitingRun[]> {
  const js = installation.connection.nc.jetstream();
  const put = async (bucket: Bucket, key: string, value: unknown): Promise<number> =>
    (await js.publish(bucket.subject(key), JSON.stringify(value), { timeout: 10_000 })).seq;
  const seeded: WaitingRun[] = [];
  const path = `/api/v1/namespaces/${installation.namespace}/pods`;
  const write = async (method: 'POST' | 'PATCH', at: string, body: unknown): Promise<Manifest> => {
    const headers = method === 'PATCH' ? { 'content-type': 'application/merge-patch+json' } : jsonType;
    const reply = await api.call(method, at, { headers, body: JSON.stringify(body) });
    const text = await reply.body.text();
    if (reply.statusCode >= 300) throw new Error(`${method} ${at}: ${String(reply.statusCode)} ${text}`);
    const answer: Manifest = JSON.parse(text);
    return answer;
  };
  await pipelined(count, width, async (n) => {
    const run = { tenant: 'default', runId: `${prefix}-${String(n)}` };
    await write('POST', path, manifestOf(target, installation, run));
    const containerStatuses = [
      {
        name: 'base',
        image: 'busybox',
        imageID: '',
        ready: true,
        restartCount: 0,
        state: { running: { startedAt: started() } },
      },
    ];
    const pod = projectPod(
      'default',
      await write('PATCH', `${path}/${run.runId}/status`, { status: { phase: 'Running', containerStatuses } }),
    );
    const ref = { connection: 'default', namespace: installation.namespace, name: pod.name, uid: pod.uid };
    const wanted = { terminal: true };
    const now = Date.now();
    const state: RunState = {
      v: WIRE_VERSION,
      phase: 'Deferred',
      queue: 'default',
      operator: 'pod',
      attempt: 1,
      step: 1,
      userFailures: 0,
      infraFailures: 0,
      faults: 0,
      fence: { stream: 'SEED', seq: 1, epoch: 1, by: 'bench' },
      op: 'seed',
      await: wanted,
      pod: ref,
      timings: { acceptedAt: now, launchedAt: now },
      requestHash: 'seed',
    };
    await put(assets.requestBucket, keys.run(run), {
      params: { image: 'busybox', namespace: installation.namespace, getLogs: false },
    });
    const stateRev = await put(assets.stateBucket, keys.run(run), state);
    const subscription: Subscription = {
      ...{ v: WIRE_VERSION, queue: 'default', attempt: 1, step: 1, stateRev, pod: ref },
      await: wanted,
      then: 'resume',
    };
    await put(assets.subscriptionBucket, keys.subscription(shardOf(run), run), subscription);
    seeded.push({ runId: run.runId, pod: pod.name, shard: shardOf(run) });
  });
  return seeded;
}

/** Ends a pod as a kubelet would; resolves when the API has it. */
export async function endPod(installation: RunningInstallation, api: Api, pod: string, exitCode = 0): Promise<void> {
  const terminated = { exitCode, reason: exitCode === 0 ? 'Completed' : 'Error', finishedAt: started() };
  const containerStatuses = [
    { name: 'base', image: 'busybox', imageID: '', ready: false, restartCount: 0, state: { terminated } },
  ];
  const { statusCode, body } = await api.call(
    'PATCH',
    `/api/v1/namespaces/${installation.namespace}/pods/${pod}/status`,
    {
      headers: { 'content-type': 'application/merge-patch+json' },
      body: JSON.stringify({ status: { phase: exitCode === 0 ? 'Succeeded' : 'Failed', containerStatuses } }),
    },
  );
  const text = await body.text();
  if (statusCode !== 200) throw new Error(`ending ${pod}: ${String(statusCode)} ${text}`);
}

/** Ends pods at a steady rate (open loop), with retries through outages of the API; returns when each end was requested. */
export async function endAll(
  installation: RunningInstallation,
  api: Api,
  runs: readonly WaitingRun[],
  perSecond: number,
  onEnd: (run: WaitingRun, at: number) => void = () => undefined,
): Promise<ReadonlyMap<string, number>> {
  const requestedAt = new Map<string, number>();
  const begunAt = performance.now();
  const ends: Promise<void>[] = [];
  const endOne = async (run: WaitingRun): Promise<void> => {
    for (;;) {
      const at = Date.now();
      try {
        await endPod(installation, api, run.pod);
        requestedAt.set(run.runId, at);
        onEnd(run, at);
        return;
      } catch (error) {
        // An API server that restarts refuses the write: repeated until it is stored.
        if (performance.now() - begunAt > 120_000) throw error;
        await delay(200);
      }
    }
  };
  for (const [n, run] of runs.entries()) {
    await delay(Math.max(0, begunAt + (n * 1_000) / perSecond - performance.now()));
    ends.push(endOne(run));
  }
  await Promise.all(ends);
  return requestedAt;
}

/** The selector of the installation's pods. */
export const selectorOf = (installation: RunningInstallation): string => installationSelector(installation.namespace);
/** The label with a pod's installation. */
export const INSTALLATION_LABEL = LABELS.installation;
