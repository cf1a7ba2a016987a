import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LABELS } from '../../src/core/pod/labels.ts';
import { KubeConfig } from '../../src/airflow/kube-config.ts';
import { KubernetesJobWatcher, ResourceVersion } from '../../src/airflow/kubernetes-job-watcher.ts';
import { ALL_NAMESPACES, type KubernetesWatch } from '../../src/airflow/records.ts';
import { TaskQueue } from '../../src/airflow/task-queue.ts';
import type { Manifest } from '../../src/ports/cluster.ts';
import { type PodApi, podApi } from '../support/pod-api.ts';

const FATAL = [
  'CreateContainerConfigError',
  'ErrImagePull',
  'CreateContainerError',
  'ImageInspectError',
  'InvalidImageName',
];
const waiting = (reason?: string, message?: string): Manifest => ({
  phase: 'Pending',
  containerStatuses: [{ name: 'base', state: { waiting: { reason, message } } }],
});
const phase = (name: string): Manifest => ({ phase: name });

function pod(status: Manifest, metadata: Manifest = {}): Manifest {
  return {
    metadata: {
      name: 'pod',
      namespace: 'ns',
      uid: 'u',
      resourceVersion: '42',
      labels: { [LABELS.kubernetesExecutor]: 'True', 'airflow-worker': '123' },
      annotations: { dag_id: 'd', task_id: 't', run_id: 'r', try_number: '1' },
      ...metadata,
    },
    spec: { containers: [{ name: 'base' }] },
    status,
  };
}
const dying = { deletionTimestamp: '2026-01-01T00:00:00Z' };

function drained(queue: TaskQueue<KubernetesWatch>): KubernetesWatch[] {
  return queue.remove(() => true).slice();
}

/** The states that one event puts on the queue. */
async function statesOf(type: string, object: Manifest): Promise<readonly unknown[]> {
  const queue = new TaskQueue<KubernetesWatch>();
  const watcher = new KubernetesJobWatcher('ns', queue, '0', '123', {
    workerPodPendingFatalContainerStateReasons: FATAL,
  });
  await watcher.runOnce([{ type, object }]);
  return drained(queue).map(({ state }) => state);
}

test.each(FATAL.map((reason) => ({ reason })))(
  'X46: a pending pod that waits for $reason failed',
  async ({ reason }) => {
    expect(await statesOf('MODIFIED', pod(waiting(reason, 'not found')))).toEqual(['failed']);
  },
);
test('X47: a throttled pull is no failure', async () => {
  expect(await statesOf('MODIFIED', pod(waiting('ErrImagePull', 'pull QPS exceeded')))).toEqual([]);
});
test.each([{ reason: 'ContainerCreating' }, { reason: undefined }])(
  'X48: waiting for $reason is no failure',
  async ({ reason }) => {
    expect(await statesOf('MODIFIED', pod(waiting(reason)))).toEqual([]);
  },
);
test('X49: a deleted pending pod has no result; a separate search finds the lost pod', async () => {
  expect(await statesOf('DELETED', pod(phase('Pending'), dying))).toEqual([]);
});
test('X50: a failed pod failed', async () => {
  expect(await statesOf('MODIFIED', pod(phase('Failed')))).toEqual(['failed']);
});
test.each(['Pending', 'Running', 'Succeeded'])('X51: what a provider failed is failed, also when %s', async (name) => {
  expect(await statesOf('MODIFIED', pod({ phase: name, reason: 'ProviderFailed' }))).toEqual(['failed']);
});
test('X52: a succeeded pod leaves the result to the task’s own state', async () => {
  expect(await statesOf('MODIFIED', pod(phase('Succeeded')))).toEqual([null]);
});
test.each(['Pending', 'Running', 'Succeeded', 'Failed', 'Unknown'])(
  'X53: a pod (%s) that left the watch undeleted was adopted by another',
  async (name) => {
    expect(await statesOf('DELETED', pod(phase(name)))).toEqual(['adopted']);
  },
);
test('X54: a running pod that was deleted failed', async () => {
  expect(await statesOf('DELETED', pod(phase('Running'), dying))).toEqual(['failed']);
});
test('X55: a running pod has no result', async () => {
  expect(await statesOf('MODIFIED', pod(phase('Running')))).toEqual([]);
});
test('X56: a pod whose node is lost has no result', async () => {
  expect(await statesOf('MODIFIED', pod(phase('Unknown')))).toEqual([]);
});

describe('errors of a watch', () => {
  const watcher = (): KubernetesJobWatcher =>
    new KubernetesJobWatcher('ns', new TaskQueue(), '7', '123', { workerPodPendingFatalContainerStateReasons: [] });
  test('X57: 410 returns the version to start again from', async () => {
    expect(await watcher().runOnce([{ type: 'ERROR', object: { code: 410, reason: 'Expired', message: 'm' } }])).toBe(
      '0',
    );
  });
  test('X58: any other error ends the watch with the server’s message', async () => {
    const error = { type: 'ERROR', object: { code: 422, reason: 'Invalid', message: 'the selector' } };
    await expect(watcher().runOnce([error])).rejects.toThrow(/422 Invalid: the selector/);
  });
});

test('X60: reasons are trimmed', () => {
  const { workerPodPendingFatalContainerStateReasons: reasons } = new KubeConfig({
    worker_pod_pending_fatal_container_state_reasons: ' e1,e2, e3',
  });
  expect(reasons).toEqual(['e1', 'e2', 'e3']);
});

test('X61: all watches of a process share their resource versions', () => {
  const [one, other] = [new ResourceVersion(), new ResourceVersion()];
  one.resourceVersion['x61'] = '9';
  expect(other).toBe(one);
  expect(other.resourceVersion['x61']).toBe('9');
});

describe('over a real connection', () => {
  let api: PodApi;
  beforeAll(async () => {
    api = await podApi();
  });
  afterAll(() => api[Symbol.asyncDispose]());

  test('X59: a watch that ended starts again from a list, and results keep their order', async () => {
    const executor = api.executor({ jobId: 'x59' });
    const scheduler = executor.kubeScheduler!;
    const first = scheduler.kubeWatchers.get('default')!;
    await expect.poll(() => first.synced).toBe(true);
    await first.stop();
    expect(first.alive).toBe(false);
    await executor.sync();
    const second = scheduler.kubeWatchers.get('default')!;
    expect(second).not.toBe(first);
    await expect.poll(() => [second.alive, second.synced]).toEqual([true, true]);
  });

  test('selects its owner’s unfinished pods, in one watch', async () => {
    const executor = api.executor({ jobId: '123' });
    await expect.poll(() => executor.kubeScheduler?.kubeWatchers.get('default')?.synced).toBe(true);
    const watches = api.server.asked.filter(
      ({ query }) => query.get('labelSelector') === 'airflow-worker=123,airflow_executor_done!=True',
    );
    expect(watches.map(({ path }) => path)).toEqual(['/api/v1/namespaces/default/pods']);
  });

  test('a pod without names is counted and skipped, and the watch continues', async () => {
    const queue = new TaskQueue<KubernetesWatch>();
    const watcher = new KubernetesJobWatcher(
      ALL_NAMESPACES,
      queue,
      undefined,
      '123',
      { workerPodPendingFatalContainerStateReasons: FATAL },
      { cluster: api.cluster },
    );
    watcher.start();
    await expect.poll(() => watcher.synced).toBe(true);
    api.sendEvent('ADDED', pod(phase('Failed'), { uid: 'a', annotations: {} }));
    api.sendEvent('ADDED', pod(phase('Succeeded'), { uid: 'b', resourceVersion: '43' }));
    await expect.poll(() => queue.size).toBe(1);
    expect([watcher.nameless, watcher.resourceVersion]).toEqual([1, '43']);
    await watcher.stop();
    expect(watcher.alive).toBe(false);
  });
});
