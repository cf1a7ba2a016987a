import { expect, test } from 'vitest';
import { launchPod } from '../../src/operator/launch.ts';
import type { Cluster } from '../../src/ports/cluster.ts';
import { freshName } from '../support/kubernetes.ts';
import { type PodApi, podApi } from '../support/pod-api.ts';
import { podRuns, sh } from '../support/pod-runs.ts';

const { aContext, kube } = podRuns();

interface Faults {
  readonly takesMs?: readonly number[];
  readonly cancelledAt?: number;
  readonly beforePostMs?: number;
}

/**
 * Launches a pod on a scripted server. `takesMs`: how long the process stands still in each check of the owner; after these a check takes no time.
 * `beforePostMs`: the same between the check and the request.
 * `cancelledAt`: the check that finds a cancel.
 */
async function launched(api: PodApi, { takesMs = [], cancelledAt = 0, beforePostMs = 0 }: Faults) {
  const base = aContext(sh('true'));
  let now = 0;
  let checks = 0;
  const checkOwner = () => {
    now += takesMs[checks] ?? 0;
    checks += 1;
    return Promise.resolve({ cancelRequested: checks === cancelledAt });
  };
  const createPod: Cluster['createPod'] = (...args) => {
    now += beforePostMs;
    return api.cluster.createPod(...args);
  };
  const project: Cluster['project'] = (pod) => api.cluster.project(pod);
  const cluster: Cluster = Object.create(api.cluster, { createPod: { value: createPod }, project: { value: project } });
  const step = {
    ...{ params: base.params, events: new Map<string, never>(), context: { ...base, checkOwner } },
    cluster,
  };
  const outcome: unknown = await launchPod(step, kube().pod({ name: freshName('late') }), {
    steadyNow: () => now,
  }).catch((error: unknown) => error);
  return { outcome, checks, posts: api.asked('POST').length };
}

test('a pod is created after one check of the owner if nothing is delayed', async () => {
  await using api = await podApi();
  expect(await launched(api, {})).toMatchObject({ outcome: { kind: 'defer' }, checks: 1, posts: 1 });
});

test('a process that was frozen in the check, or after it, checks again before it sends the request', async () => {
  await using api = await podApi();
  expect(await launched(api, { takesMs: [3_001] })).toMatchObject({ outcome: { kind: 'defer' }, checks: 2, posts: 1 });
  expect(await launched(api, { takesMs: [3_000] })).toMatchObject({ outcome: { kind: 'defer' }, checks: 1 });
  expect(await launched(api, { beforePostMs: 25_000 })).toMatchObject({ outcome: { kind: 'defer' }, checks: 2 });
});

test('a cancel that the repeated check finds is in time: no request is sent', async () => {
  await using api = await podApi();
  const cancelled = { outcome: { kind: 'over', outcome: { state: 'cancelled' } }, checks: 2, posts: 0 };
  expect(await launched(api, { takesMs: [30_000], cancelledAt: 2 })).toMatchObject(cancelled);
  expect(await launched(api, { beforePostMs: 30_000, cancelledAt: 2 })).toMatchObject(cancelled);
});

test('a check that repeatedly takes too long requeues the launch', async () => {
  await using api = await podApi();
  const late = await launched(api, { takesMs: [5_000, 5_000, 5_000] });
  expect(late).toMatchObject({ outcome: { code: 'BUSY', transient: true }, checks: 3, posts: 0 });
});
