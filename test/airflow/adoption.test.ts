import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { JsonRecord } from '../../src/core/json.ts';
import { keyOfPod } from '../../src/airflow/adoption.ts';
import { KubeConfig, teamSource } from '../../src/airflow/kube-config.ts';
import { KubernetesExecutor } from '../../src/airflow/kubernetes-executor.ts';
import { executorPodAnnotations, type TaskKey } from '../../src/core/pod/executor-labels.ts';
import { keyText } from '../../src/airflow/task-key.ts';
import type { TaskInstance } from '../../src/airflow/records.ts';
import { aKey, aResult, type PodApi, podApi } from '../support/pod-api.ts';

let api: PodApi;
beforeEach(async () => {
  api = await podApi();
});
afterEach(() => api[Symbol.asyncDispose]());

const podOf = (key: TaskKey, phase = 'Running', more: JsonRecord = {}): JsonRecord => ({
  metadata: {
    name: `pod-${key.taskId}`,
    namespace: 'default',
    uid: `uid-of-${key.taskId}`,
    resourceVersion: '7',
    creationTimestamp: '2026-01-01T00:00:00Z',
    labels: { kubernetes_executor: 'True', 'airflow-worker': '1' },
    annotations: executorPodAnnotations(key),
    ...more,
  },
  spec: { containers: [{ name: 'base' }] },
  status: { phase },
});
const lists = (): readonly (string | null)[] =>
  api
    .asked('GET')
    .filter(({ path }) => path.endsWith('/pods'))
    .map(({ query }) => query.get('labelSelector'));
const ownerPatches = () => api.asked('PATCH').map(({ path, body }) => [path.split('/').at(-1), body]);
const adoptable = (owner: string): string =>
  `kubernetes_executor=True,airflow-worker=${owner},airflow_executor_done!=True`;
const foreign = 'kubernetes_executor=True,airflow-worker!=5,airflow_executor_done!=True,!reentry.dev/installation';

describe('launched pods', () => {
  test('X79: a task of an earlier owner is searched for by one list, and returned when it has no pod', async () => {
    const executor = api.executor();
    const task = { key: aKey(), queuedByJobId: '1' };
    expect(await executor.tryAdoptTaskInstances([task])).toEqual([task]);
    expect(lists()).toEqual([adoptable('1'), foreign]);
    api.items = [podOf(task.key)];
    expect(await executor.tryAdoptTaskInstances([{ ...task, queuedByJobId: '10' }])).toEqual([]);
    expect(lists().slice(2)).toEqual([adoptable('10'), foreign]);
  });

  test('X80: one list per owner, not per task', async () => {
    const executor = api.executor();
    const tasks = ['10', '40', '40'].map((queuedByJobId) => ({ key: aKey(), queuedByJobId }));
    expect(await executor.tryAdoptTaskInstances(tasks)).toEqual(tasks);
    expect(lists()).toEqual([adoptable('10'), adoptable('40'), foreign]);
  });

  test('X81: without pods every task is returned, tasks without an owner first', async () => {
    const executor = api.executor();
    const [none, one] = [{ key: aKey() }, { key: aKey(), queuedByJobId: '1' }];
    expect(await executor.tryAdoptTaskInstances([one, none])).toEqual([none, one]);
    expect(executor.running.size).toBe(0);
  });

  test('X82: a task that runs here already is not returned', async () => {
    const executor = api.executor();
    const key = aKey();
    executor.running.set(keyText(key), key);
    expect(await executor.tryAdoptTaskInstances([{ key, queuedByJobId: '1' }])).toEqual([]);
  });

  test('X83: a pod whose label is changed is adopted; one whose change is refused is not', async () => {
    const executor = api.executor();
    const [good, bad] = [aKey(), aKey()];
    const podIds = new Map<string, TaskInstance>([good, bad].map((key) => [keyText(key), { key }]));
    await executor.adoptLaunchedTask(api.cluster, api.cluster.project(podOf(good)), podIds);
    api.patches.push(400);
    await executor.adoptLaunchedTask(api.cluster, api.cluster.project(podOf(bad)), podIds);
    expect([...executor.running.keys(), ...podIds.keys()]).toEqual([keyText(good), keyText(bad)]);
    expect(ownerPatches()[0]).toEqual([
      `pod-${good.taskId}`,
      { metadata: { labels: { 'airflow-worker': '5' }, uid: `uid-of-${good.taskId}` } },
    ]);
  });

  test('X84: a pod of another task is not touched', async () => {
    const executor = api.executor();
    await executor.adoptLaunchedTask(api.cluster, api.cluster.project(podOf(aKey())), new Map());
    expect([api.asked('PATCH').length, executor.running.size]).toEqual([0, 0]);
  });
});

describe('finished pods of dead schedulers', () => {
  test('X85: are adopted and reported; one that could not be relabelled is retried at the next time', async () => {
    const executor = api.executor();
    const [one, two] = [aKey(), aKey()];
    api.items = [podOf(one, 'Succeeded'), podOf(two, 'Succeeded'), podOf(aKey(), 'Running')];
    await executor.adoptCompletedPods();
    expect([...executor.completed.values()].map(({ key, state }) => [key, state])).toEqual([
      [one, 'completed'],
      [two, 'completed'],
    ]);
    expect([api.asked('PATCH').length, executor.running.size]).toEqual([2, 0]);
    executor.completed.clear();
    api.patches.push(500, 500);
    await executor.adoptCompletedPods();
    expect(executor.completed.size).toBe(0);
  });

  test('X86: are distinguished from those of live siblings', async () => {
    const executor = api.executor({ tasks: { liveOwners: () => Promise.resolve(['9', '7']) } });
    await executor.adoptCompletedPods();
    expect(lists()).toEqual([
      'kubernetes_executor=True,airflow-worker notin (5,7,9),airflow_executor_done!=True,!reentry.dev/installation',
    ]);
  });

  test('X87: are not adopted when the live siblings are unknown, and the rest of the sync continues', async () => {
    const executor = api.executor({ tasks: { liveOwners: () => Promise.reject(new Error('no database')) } });
    const key = aKey();
    executor.executeAsync(key, ['airflow', 'tasks', 'run']);
    await executor.sync();
    expect([lists(), executor.launchedPods.size]).toEqual([[], 1]);
  });
});

describe('revoking a task', () => {
  test('X88: labels the pod, deletes it once, and forgets the task; later events of the pod are ignored', async () => {
    const executor = api.executor();
    const key = aKey();
    executor.executeAsync(key, ['x']);
    await executor.sync();
    const failed = aResult(executor, key, { state: 'failed' });
    executor.getEventBuffer();
    await executor.revokeTask(key);
    expect(api.asked('PATCH').map(({ body }) => body)).toMatchObject([
      { metadata: { labels: { airflow_pod_revoked: 'True' } } },
    ]);
    await executor.changeState(failed);
    expect([api.asked('DELETE').length, executor.hasTask(key), executor.eventOf(key)]).toEqual([1, false, undefined]);
  });

  test('removes a waiting job from the queue, and deletes a pod in creation once it exists', async () => {
    const executor = api.executor();
    const [waiting, creating] = [aKey(), aKey()];
    executor.executeAsync(waiting, ['x']);
    await executor.revokeTask(waiting);
    await executor.sync();
    expect([executor.taskQueue.size, api.asked('POST').length]).toEqual([0, 0]);

    api.hold = true;
    executor.executeAsync(creating, ['x']);
    const syncing = executor.sync();
    await expect.poll(() => api.asked('POST').length).toBe(1);
    await executor.revokeTask(creating);
    api.hold = false;
    api.release();
    await syncing;
    expect([api.asked('DELETE').length, executor.launchedPods.size, executor.running.size]).toEqual([1, 0, 0]);
  });

  test('finds the pod of exactly this try, and never rejects', async () => {
    const executor = api.executor();
    const key = aKey({ tryNumber: 2 });
    api.items = [
      podOf({ ...key, tryNumber: 1 }, 'Pending', { name: 'first' }),
      podOf(key, 'Pending', { name: 'second' }),
    ];
    await executor.revokeTask(key);
    expect(api.asked('DELETE').map(({ path }) => path.split('/').at(-1))).toEqual(['second']);
    api.deletions.push(500);
    await executor.revokeTask(key);
  });

  test('X89: cleanupStuckQueuedTasks deletes the pod and fails the task', async () => {
    const executor = api.executor();
    const key = aKey();
    api.items = [podOf(key, 'Pending')];
    expect(await executor.cleanupStuckQueuedTasks([{ key }])).toEqual([keyText(key)]);
    expect([api.asked('DELETE').length, executor.eventOf(key)?.state]).toEqual([1, 'failed']);
  });

  test('a task whose pod stays pending is launched again, and fails after the configured number of times', async () => {
    const clock = { nowMs: 0 };
    const turns = { run: <T>(create: () => Promise<T>): Promise<T> => create() };
    const executor = api.executor({
      turns,
      nowMs: () => clock.nowMs,
      kubeConfig: {
        task_queued_timeout: '60',
        task_queued_timeout_check_interval: '1',
        num_stuck_in_queued_retries: '1',
      },
    });
    const key = aKey();
    executor.executeAsync(key, ['x']);
    await executor.sync();
    const watcher = executor.kubeScheduler?.kubeWatchers.get('default');
    const pend = async (): Promise<void> => {
      const pod = executor.launchedPods.get(keyText(key))!;
      api.sendEvent('ADDED', podOf(key, 'Pending', { name: pod.podName, uid: pod.podUid }));
      await expect.poll(() => watcher?.pods.has(pod.podUid)).toBe(true);
      clock.nowMs += 61_000;
      await executor.sync();
    };
    await pend();
    expect([api.asked('DELETE').length, api.asked('POST').length, executor.running.size]).toEqual([1, 2, 1]);
    await pend();
    expect([api.asked('DELETE').length, executor.running.size, executor.eventOf(key)?.state]).toEqual([2, 0, 'failed']);
  });
});

describe('vanished pods', () => {
  test('a task whose pod vanished without an event fails with that reason, and its slot is freed', async () => {
    const clock = { nowMs: 0 };
    const executor = api.executor({ nowMs: () => clock.nowMs, kubeConfig: { orphaned_tasks_check_interval: '60' } });
    const key = aKey();
    executor.executeAsync(key, ['x']);
    await executor.sync();
    clock.nowMs += 60_000;
    await executor.sync();
    expect(executor.eventOf(key)).toMatchObject({ state: 'failed', failureDetails: { podReason: 'PodVanished' } });
    expect(executor.running.size).toBe(0);
  });
});

test('X91: the number of shown log lines is configured per instance, and is at least one', () => {
  const executor = new KubernetesExecutor({
    cluster: api.cluster,
    jobId: 'x',
    kubeConfig: { running_pod_log_lines: '500' },
  });
  expect([executor.RUNNING_POD_LOG_LINES, KubernetesExecutor.RUNNING_POD_LOG_LINES]).toEqual([500, 100]);
  for (const lines of ['0', '-1'])
    expect(() => new KubeConfig({ running_pod_log_lines: lines })).toThrow(/running_pod_log_lines must be at least 1/);
});

test('X92: annotations are shown in logs only when configured', () => {
  const shown = (flag: string): unknown =>
    api.executor({ kubeConfig: { logs_task_metadata: flag } }).kubeScheduler?.annotationsForLogging({ dag_id: 'd' });
  expect([shown('False'), shown('True')]).toEqual(['<omitted>', { dag_id: 'd' }]);
});

test('X93: teams have their own options, slots and queues', () => {
  const environment = {
    AIRFLOW__A___KUBERNETES_EXECUTOR__WORKER_PODS_CREATION_BATCH_SIZE: '4',
    AIRFLOW__B___KUBERNETES_EXECUTOR__WORKER_PODS_CREATION_BATCH_SIZE: '8',
    AIRFLOW__A___KUBERNETES_EXECUTOR__NAMESPACE: 'team-a',
    AIRFLOW__A___KUBERNETES_EXECUTOR__TASK_PUBLISH_MAX_RETRIES: '5',
  };
  const configOf = (team: string | undefined) =>
    new KubeConfig(teamSource((_section, name) => (name === 'namespace' ? 'everyone' : undefined), environment, team));
  const [a, b, none] = ['A', 'B', undefined].map(configOf);
  expect(
    [a, b, none].map((one) => [one?.workerPodsCreationBatchSize, one?.kubeNamespace, one?.taskPublishMaxRetries]),
  ).toEqual([
    [4, 'team-a', 5],
    [8, 'everyone', 0],
    [1, 'everyone', 0],
  ]);
  const [one, other] = [a, b].map((kubeConfig) => api.executor({ kubeConfig }));
  one?.executeAsync(aKey(), ['x']);
  expect([one?.running.size, other?.running.size, one?.taskQueue.size, other?.taskQueue.size]).toEqual([1, 0, 1, 0]);
});

test('a pod that no executor created names no task', () => {
  expect(keyOfPod(api.cluster.project(podOf(aKey(), 'Running', { labels: {} })))).toBeUndefined();
});

describe('checks of older releases of Airflow', () => {
  const at = (secondsAgo: number): string => new Date(Date.now() - secondsAgo * 1000).toISOString();

  test('X94: pods that have been pending for too long are deleted, the oldest first, a batch at a time', async () => {
    const executor = api.executor({
      kubeConfig: { worker_pods_pending_timeout: '75', worker_pods_pending_timeout_batch_size: '5' },
    });
    const [young, old] = [aKey(), aKey()];
    const older = Array.from({ length: 5 }, () => aKey());
    for (const key of [young, old]) executor.running.set(keyText(key), key);
    api.items = [
      podOf(young, 'Pending', { creationTimestamp: at(60) }),
      podOf(old, 'Pending', { creationTimestamp: at(90) }),
    ];
    expect(await executor.checkWorkerPodsPendingTimeout()).toEqual([`pod-${old.taskId}`]);
    expect([executor.eventOf(old)?.state, executor.eventOf(young), executor.running.size]).toEqual([
      'failed',
      undefined,
      1,
    ]);
    api.items = [
      podOf(old, 'Pending', { creationTimestamp: at(90) }),
      ...older.map((key) => podOf(key, 'Pending', { creationTimestamp: at(120) })),
    ];
    expect(await executor.checkWorkerPodsPendingTimeout()).toEqual(older.map(({ taskId }) => `pod-${taskId}`));
  });

  const cleared = async (queued: readonly TaskInstance[], items: readonly JsonRecord[]) => {
    const rescheduled: TaskKey[] = [];
    const executor = api.executor({
      tasks: {
        queued: () => Promise.resolve(queued),
        reschedule: ({ key }) => Promise.resolve(void rescheduled.push(key)),
      },
    });
    api.items = items;
    await executor.clearNotLaunchedQueuedTasks();
    return { rescheduled, executor };
  };

  test('X95: a queued task without a pod is scheduled again', async () => {
    const key = aKey();
    expect((await cleared([{ key, queuedByJobId: '5' }], [])).rescheduled).toEqual([key]);
  });

  test('X96: a task with a pod is unchanged, also if the pod names its date only; one list for all', async () => {
    const [key, dated] = [aKey(), aKey()];
    const { rescheduled } = await cleared(
      [
        { key, queuedByJobId: '5' },
        { key: dated, queuedByJobId: '5' },
      ],
      [podOf(key), podOf({ ...dated, runId: null })],
    );
    expect([rescheduled, lists()]).toEqual([[], ['airflow-worker=5,airflow_executor_done!=True']]);
  });

  test('X97: of mapped tasks only those without a pod are scheduled again', async () => {
    const key = aKey({ mapIndex: 0 });
    const next = { ...key, mapIndex: 1 };
    const tasks = [key, next].map((one) => ({ key: one, queuedByJobId: '5' }));
    expect((await cleared(tasks, [podOf(key)])).rescheduled).toEqual([next]);
  });

  test('X98: tasks of other queues and owners, and those handled recently, are not searched for', async () => {
    const key = aKey();
    expect(
      (
        await cleared(
          [
            { key, queue: 'celery' },
            { key, queuedByJobId: '9' },
          ],
          [],
        )
      ).rescheduled,
    ).toEqual([]);
    const executor = api.executor({ tasks: { queued: () => Promise.resolve([{ key, queuedByJobId: '5' }]) } });
    executor.executeAsync(key, ['x']);
    expect([await executor.clearNotLaunchedQueuedTasks(), lists()]).toEqual([[], []]);
  });
});
