import { expect, test } from 'vitest';
import type { PodParamsInput } from '../../src/operator/pod-params.ts';
import type { Cluster } from '../../src/ports/cluster.ts';
import { podRuns, sh } from '../support/pod-runs.ts';

const { operator, podOf, toTheEnd, storedLines, cluster, broker } = podRuns();

test.each([0, 1])(
  'delete_active_pod retains a pod whose main containers have ended with %d, although its phase is behind',
  async (code) => {
    const { context, outcome } = await toTheEnd(sh(`exit ${String(code)}`, { onFinishAction: 'delete_active_pod' }));
    const pod = await podOf(context);
    // As a kubelet reports it for a moment; the local cluster's node has no such lag.
    const lagging = { ...pod, phase: 'Running' as const };
    const findPod: Cluster['findPod'] = () => Promise.resolve(lagging);
    const patchPod: Cluster['patchPod'] = (...args) => cluster().patchPod(...args);
    const deletePod: Cluster['deletePod'] = (...args) => cluster().deletePod(...args);
    const at = { findPod: { value: findPod }, patchPod: { value: patchPod }, deletePod: { value: deletePod } };
    const kubelet: Cluster = Object.create(cluster(), at);
    await operator.cleanUp({ ...context, cluster: () => kubelet }, outcome, pod);
    expect(await podOf(context)).toMatchObject({ alreadyChecked: true, deletedAt: undefined });
  },
);

test.each<[PodParamsInput['containerLogs']]>([[[]], ['']])(
  'containerLogs %j is the base container',
  async (containerLogs) => {
    const { context } = await toTheEnd(sh('echo hi', { containerLogs }));
    expect(await storedLines(context)).toEqual(['hi']);
  },
);

test('logs of several containers are stored in the order of the pod, not of the request', async () => {
  const init = (name: string) => ({ name, image: 'alpine', command: ['sh', '-c', `echo from ${name}`] });
  const initContainers = [init('i1'), init('i2')];
  const { context } = await toTheEnd(sh('echo from base', { initContainers, initContainerLogs: ['i2', 'i1'] }));
  const { chunks } = await broker().logs.read(context.run, { limit: 10 });
  expect(chunks.map(({ container }) => container)).toEqual(['i1', 'i2', 'base']);
});
