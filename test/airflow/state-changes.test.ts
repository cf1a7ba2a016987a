import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ExecutorOptions } from '../../src/airflow/kube-config.ts';
import type { KubernetesResults, TaskState } from '../../src/airflow/records.ts';
import { keyText } from '../../src/airflow/task-key.ts';
import { aKey, aResult, type PodApi, podApi } from '../support/pod-api.ts';

let api: PodApi;
beforeAll(async () => {
  api = await podApi();
});
afterAll(() => api[Symbol.asyncDispose]());

/** A launched task, and the API requests since then. */
async function launched(options: ExecutorOptions = {}, taskState?: TaskState | null) {
  let lookups = 0;
  const tasks = {
    state: () => {
      lookups += 1;
      return Promise.resolve(taskState ?? null);
    },
  };
  const executor = api.executor({ kubeConfig: options, ...(taskState === undefined ? {} : { tasks }) });
  const key = aKey();
  executor.executeAsync(key, ['true']);
  await executor.sync();
  executor.getEventBuffer();
  const [deleted, patched] = [api.asked('DELETE').length, api.asked('PATCH').length];
  return {
    executor,
    key,
    lookups: () => lookups,
    deleted: () => api.asked('DELETE').length - deleted,
    patched: () => api.asked('PATCH').length - patched,
    result: (fields: Partial<KubernetesResults>) => aResult(executor, key, fields),
    running: () => executor.running.has(keyText(key)),
    state: () => executor.eventOf(key)?.state,
    /** Runs the next sync, so that a queued launch gets its pod. */
    relaunch: () => executor.sync(),
  };
}
const evicted = { podStatus: 'Failed', podReason: 'Evicted' };

test('X31: a running task is reported and occupies its slot', async () => {
  const { executor, result, running, state } = await launched();
  await executor.changeState(result({ state: 'running' }));
  expect([state(), running()]).toEqual(['running', true]);
});

test('X32: a success is reported, frees the slot, and its pod is deleted once, however often the result arrives', async () => {
  const { executor, result, running, state, deleted } = await launched();
  const success = result({ state: 'success' });
  await executor.changeState(success);
  await executor.changeState(success);
  await executor.changeState({ ...success, state: null });
  expect([state(), running(), deleted()]).toEqual(['success', false, 1]);
});

test('X33: a failure with both policies off is marked as done', async () => {
  const { executor, result, state, deleted, patched } = await launched({ delete_worker_pods: 'False' });
  await executor.changeState(result({ state: 'failed' }));
  expect([state(), deleted(), patched()]).toEqual(['failed', 0, 1]);
});

test('X34: a success whose pod is not deleted is marked as done', async () => {
  const { executor, result, state, deleted, patched } = await launched({ delete_worker_pods: 'False' });
  await executor.changeState(result({ state: null }));
  expect([state(), deleted(), patched()]).toEqual(['success', 0, 1]);
  expect(api.asked('PATCH').at(-1)?.body).toMatchObject({ metadata: { labels: { airflow_executor_done: 'True' } } });
});

test('X35: the pod of a failure is deleted if configured, and not marked', async () => {
  const { executor, result, state, deleted, patched } = await launched({ delete_worker_pods_on_failure: 'True' });
  await executor.changeState(result({ state: 'failed' }));
  expect([state(), deleted(), patched()]).toEqual(['failed', 1, 0]);
});

test('a failed pod is retained by default, unchanged', async () => {
  const { executor, result, deleted, patched } = await launched();
  await executor.changeState(result({ state: 'failed', failureDetails: evicted }));
  expect([deleted(), patched()]).toEqual([0, 0]);
  expect(executor.getEventBuffer()[0]).toMatchObject({ info: 'the pod failed: Evicted', failureDetails: evicted });
});

test('a pod that fails without having ended is deleted even if failed pods are retained: it could still start', async () => {
  const { executor, result, deleted } = await launched({ pod_launch_failure_retries: '0' });
  await executor.changeState(result({ state: 'failed', mayStillStart: true }));
  expect(deleted()).toBe(1);
});

test.each(['success', 'failed', 'deferred'] as const)('X36: the task’s own state counts: %s', async (own) => {
  const { executor, result, state, deleted } = await launched({}, own);
  await executor.changeState(result({ state: null }));
  expect([state(), deleted()]).toEqual([own, 1]);
});

test('X37: a pod that left the watch only frees the slot', async () => {
  const { executor, result, running, state, deleted, patched } = await launched();
  await executor.changeState(result({ state: 'adopted' }));
  expect([state(), running(), deleted(), patched()]).toEqual([undefined, false, 0, 0]);
});

test('X38: a task that is not running gets no event', async () => {
  const { executor } = await launched();
  const stranger = aKey();
  await executor.changeState(aResult(executor, stranger, { state: 'failed', podUid: 'u' }));
  expect(executor.eventOf(stranger)).toBeUndefined();
});

describe('a pod that died before its task began', () => {
  test('X39: the task gets another, and uses none of its retries', async () => {
    const { executor, result, running, state, relaunch, key } = await launched({}, 'queued');
    const first = executor.launchedPods.get(keyText(key));
    await executor.changeState(result({ state: 'failed', failureDetails: evicted }));
    expect([state(), running(), executor.taskQueue.size]).toEqual([undefined, true, 1]);
    await relaunch();
    expect(executor.launchedPods.get(keyText(key))?.podName).not.toBe(first?.podName);
  });

  test('X40: with the limit reached it fails, and its count is removed', async () => {
    const { executor, result, state, relaunch, key } = await launched({}, 'queued');
    await executor.changeState(result({ state: 'failed', failureDetails: evicted }));
    await relaunch();
    await executor.changeState(result({ state: 'failed', failureDetails: evicted }));
    expect([state(), executor.podLaunchAttempts.has(keyText(key)), executor.taskQueue.size]).toEqual([
      'failed',
      false,
      0,
    ]);
  });

  test('X41: an excluded reason is a failure of the task', async () => {
    const { executor, result, state } = await launched({}, 'queued');
    await executor.changeState(result({ state: 'failed', failureDetails: { containerReason: 'Error' } }));
    expect(state()).toBe('failed');
  });

  test('X42: without the job nothing can be launched again', async () => {
    const { executor, result, state, key } = await launched({}, 'queued');
    executor.podLaunchAttempts.delete(keyText(key));
    await executor.changeState(result({ state: 'failed', failureDetails: evicted }));
    expect(state()).toBe('failed');
  });

  test('X43: with 0 retries it fails, and the task’s state is not looked up', async () => {
    const { executor, result, state, lookups } = await launched({ pod_launch_failure_retries: '0' }, 'queued');
    await executor.changeState(result({ state: 'failed', failureDetails: evicted }));
    expect([state(), lookups()]).toEqual(['failed', 0]);
  });

  test('X44: a failure received three times counts once; the next pod’s counts again', async () => {
    const { executor, result, relaunch } = await launched({ pod_launch_failure_retries: '2' }, 'queued');
    const first = result({ state: 'failed', failureDetails: evicted });
    for (let times = 0; times < 3; times += 1) await executor.changeState(first);
    expect(executor.taskQueue.size).toBe(1);
    await relaunch();
    await executor.changeState(first);
    expect(executor.taskQueue.size).toBe(0);
    await executor.changeState(result({ state: 'failed', failureDetails: evicted }));
    expect(executor.taskQueue.size).toBe(1);
  });

  test('without task states the pod decides: a container that never ran is launched again, one that ran is not', async () => {
    const never = await launched();
    await never.executor.changeState(never.result({ state: 'failed', failureDetails: evicted, began: false }));
    expect([never.state(), never.executor.taskQueue.size]).toEqual([undefined, 1]);
    const ran = await launched();
    await ran.executor.changeState(ran.result({ state: 'failed', failureDetails: evicted, began: true }));
    expect(ran.state()).toBe('failed');
  });
});

test('a result of an earlier pod of the same try does not end the present one', async () => {
  const { executor, key, result, running, state } = await launched();
  const older = result({ state: 'failed', podName: 'older', podUid: 'older', failureDetails: evicted });
  await executor.changeState(older);
  await executor.changeState({ ...older, state: 'adopted' });
  expect([running(), state()]).toEqual([true, undefined]);
  await executor.changeState(result({ state: 'failed', failureDetails: { ...evicted, containerReason: 'Error' } }));
  expect(state()).toBe('failed');

  // The same key again: a result applied before does not end it, neither before nor after it has its pod.
  executor.getEventBuffer();
  const applied = aResult(executor, key, { state: 'failed', podName: 'applied', podUid: 'applied' });
  executor.executeAsync(key, ['true']);
  await executor.changeState(applied);
  await executor.sync();
  await executor.changeState(applied);
  expect([running(), state()]).toEqual([true, 'queued']);
});

test.each([
  { policy: 'True', deletions: 3, marks: 0 },
  { policy: 'False', deletions: 0, marks: 3 },
])(
  'X45: two results and a finished pod of another owner in one sync: $deletions deletions, $marks marks',
  async (row) => {
    const { executor, result, deleted, patched, state } = await launched({ delete_worker_pods: row.policy });
    const other = aKey();
    executor.running.set(keyText(other), other);
    executor.resultQueue.put(result({ state: null }));
    executor.resultQueue.put(aResult(executor, other, { state: null, podName: 'b', podUid: 'b' }));
    executor.completed.set('default/c', aResult(executor, aKey(), { state: 'completed', podName: 'c', podUid: 'c' }));
    await executor.sync();
    expect([deleted(), patched(), executor.completed.size, state()]).toEqual([row.deletions, row.marks, 0, 'success']);
  },
);

test('a result that fails is retried once a sync, and does not block the others', async () => {
  const { executor, result, state, deleted } = await launched();
  const other = aKey();
  executor.running.set(keyText(other), other);
  api.deletions.push(500, 200, 500);
  executor.resultQueue.put(result({ state: null }));
  executor.resultQueue.put(aResult(executor, other, { state: null, podName: 'other', podUid: 'other' }));
  await executor.sync();
  expect([deleted(), state(), executor.eventOf(other)?.state, executor.resultQueue.size]).toEqual([
    2,
    undefined,
    'success',
    1,
  ]);
  await executor.sync();
  await executor.sync();
  expect([deleted(), state(), executor.resultQueue.unfinished]).toEqual([4, 'success', 0]);
});

describe('slots and priority', () => {
  test('tasks start by priority, ties in order of arrival, no more than there are slots', async () => {
    const executor = api.executor({ kubeConfig: { parallelism: '3', worker_pods_creation_batch_size: '8' } });
    const keys = [1, 5, 5, 9].map((priorityWeight) => {
      const key = aKey();
      executor.queueTask({ key, command: ['true'], priorityWeight });
      return key;
    });
    expect([executor.slotsOccupied, executor.slotsAvailable]).toEqual([4, -1]);
    await executor.heartbeat();
    expect([...executor.running.values()]).toEqual([keys[3], keys[1], keys[2]]);
    expect([executor.queuedTasks.size, executor.hasTask(keys[0]!)]).toEqual([1, true]);
    const pod = executor.launchedPods.get(keyText(keys[3]!));
    executor.resultQueue.put(aResult(executor, keys[3]!, { state: null, ...(pod === undefined ? {} : pod) }));
    await executor.heartbeat();
    await executor.heartbeat();
    expect([executor.running.size, executor.queuedTasks.size]).toEqual([3, 0]);
  });

  test('events are returned once, and of some dags only if requested', () => {
    const executor = api.executor();
    const [one, other] = [aKey({ dagId: 'a' }), aKey({ dagId: 'b' })];
    executor.success(one);
    executor.fail(other, 'why');
    expect(executor.getEventBuffer(['b']).map(({ key }) => key)).toEqual([other]);
    expect(executor.getEventBuffer().map(({ key }) => key)).toEqual([one]);
    expect(executor.getEventBuffer()).toEqual([]);
  });
});
