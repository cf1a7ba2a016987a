import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { KubernetesError } from '../../src/errors.ts';
import type { KubernetesExecutorOptions } from '../../src/airflow/kubernetes-executor.ts';
import { PodMutationHookError, PodReconciliationError } from '../../src/operator/construct-pod.ts';
import { keyText } from '../../src/airflow/task-key.ts';
import type { ExecutorOptions } from '../../src/airflow/kube-config.ts';
import { aKey, createdName, type CreateReply, type PodApi, podApi } from '../support/pod-api.ts';

let api: PodApi;
beforeAll(async () => {
  api = await podApi();
});
afterAll(() => api[Symbol.asyncDispose]());
let before = 0;
beforeEach(() => {
  api.replies.splice(0);
  before = api.asked('POST').length;
});

const creations = (): number => api.asked('POST').length - before;
const refusal = (status: number, message = 'no', more: Partial<CreateReply> = {}): CreateReply => ({
  status,
  body: JSON.stringify({ kind: 'Status', code: status, message }),
  ...more,
});

/** The clock of these tests moves only by hand, so no code under test may wait for it. */
const turns = { run: <T>(create: () => Promise<T>): Promise<T> => create() };

function launch(options: ExecutorOptions = {}, more: Partial<KubernetesExecutorOptions> = {}) {
  const clock = { nowMs: 1_000_000 };
  const executor = api.executor({ kubeConfig: options, nowMs: () => clock.nowMs, turns, ...more });
  const key = aKey();
  executor.executeAsync(key, ['true']);
  return { executor, key, clock, state: () => executor.eventOf(key)?.state };
}

describe('permanent refusals', () => {
  test.each([400, 404, 422, 418].flatMap((status) => [0, 1].map((retries) => ({ status, retries }))))(
    'X1: $status with $retries retries: one creation, nothing queued, the task failed',
    async ({ status, retries }) => {
      const { executor, state } = launch({ task_publish_max_retries: String(retries) });
      api.replies.push(refusal(status));
      await executor.sync();
      await executor.sync();
      expect([creations(), executor.taskQueue.size, state(), executor.running.size]).toEqual([1, 0, 'failed', 0]);
    },
  );

  test('X2: 403 without a quota message fails at once, with or without retries', async () => {
    const { executor, state } = launch({ task_publish_max_retries: '1' });
    api.replies.push(refusal(403, 'pods is forbidden: User cannot create'));
    await executor.sync();
    expect([creations(), state(), executor.taskPublishRetries.size]).toEqual([1, 'failed', 0]);
  });

  test('X13: a change to the pod that throws fails the task with that error; no pod is created', async () => {
    const thrown = new Error('no such sidecar');
    let calls = 0;
    const { executor, key, state } = launch(
      { task_publish_max_retries: '3' },
      {
        mutatePod: () => {
          calls += 1;
          throw thrown;
        },
      },
    );
    await executor.sync();
    const event = executor.eventOf(key);
    expect([calls, creations(), executor.taskQueue.size, state()]).toEqual([1, 0, 0, 'failed']);
    expect(event?.cause).toBeInstanceOf(PodMutationHookError);
    expect(event?.cause instanceof Error ? event.cause.cause : undefined).toBe(thrown);
  });

  test('X14: parts that cannot be merged fail the task, with the reason', async () => {
    const executor = api.executor({
      files: () => 'spec: {containers: [{name: base, env: oops}]}',
      kubeConfig: { pod_template_file: 't' },
    });
    const key = aKey();
    executor.executeAsync(key, ['true']);
    await executor.sync();
    const event = executor.eventOf(key);
    expect([creations(), event?.state]).toEqual([0, 'failed']);
    expect(event?.cause).toBeInstanceOf(PodReconciliationError);
    expect(event?.info).toContain('env must be a list');
  });
});

describe('temporary refusals', () => {
  const QUOTA = 'pods "x" is forbidden: exceeded quota: q';
  const MODIFIED = 'Operation cannot be fulfilled on resourcequotas "q": the object has been modified';

  test('X3: a full quota fails without retries, and with one waits for the next sync', async () => {
    const none = launch();
    api.replies.push(refusal(403, QUOTA));
    await none.executor.sync();
    expect(none.state()).toBe('failed');

    const retried = launch({ task_publish_max_retries: '1' });
    api.replies.push(refusal(403, QUOTA));
    await retried.executor.sync();
    expect([retried.executor.taskQueue.size, retried.state()]).toEqual([1, 'queued']);
    await retried.executor.sync();
    expect([retried.executor.taskQueue.size, retried.state(), retried.executor.launchedPods.size]).toEqual([
      0,
      'queued',
      1,
    ]);

    const twice = launch({ task_publish_max_retries: '1' });
    api.replies.push(refusal(403, QUOTA), refusal(403, QUOTA));
    await twice.executor.sync();
    await twice.executor.sync();
    expect([twice.state(), twice.executor.running.size]).toEqual(['failed', 0]);
  });

  test.each([
    ['X4', 409, MODIFIED],
    ['X5', 410, 'too old resource version: 1 (2)'],
    ['X8', 500, 'failed calling webhook "w"'],
    ['X9', 502, 'bad gateway'],
    ['X9', 504, 'gateway timeout'],
  ])('%s: a temporary %i is retried at the next sync, under the same name', async (_number, status, message) => {
    const { executor, state } = launch({ task_publish_max_retries: '1' });
    // The adapter checks whether a write without response happened, and repeats it once; together one attempt.
    api.replies.push(
      ...Array.from({ length: status === 502 || status === 504 ? 2 : 1 }, () => refusal(status, message)),
    );
    await executor.sync();
    expect([executor.taskQueue.size, state()]).toEqual([1, 'queued']);
    await executor.sync();
    expect([executor.taskQueue.size, state(), executor.launchedPods.size]).toEqual([0, 'queued', 1]);
    expect(new Set(api.asked('POST').slice(before).map(createdName)).size).toBe(1);
  });

  test('X8: a second refusal uses the last retry', async () => {
    const { executor, state } = launch({ task_publish_max_retries: '1' });
    api.replies.push(refusal(500, 'webhook'), refusal(500, 'webhook'));
    await executor.sync();
    await executor.sync();
    expect([state(), creations()]).toEqual(['failed', 2]);
  });

  test('X6: 429 in plain text with Retry-After 3: created once the time is over, not before', async () => {
    const { executor, clock, state } = launch({ task_publish_max_retries: '1' });
    api.replies.push({ status: 429, body: 'Too many requests', retryAfter: '3' });
    await executor.sync();
    clock.nowMs += 2_999;
    await executor.sync();
    expect([creations(), executor.taskQueue.size]).toEqual([1, 1]);
    clock.nowMs += 1;
    await executor.sync();
    expect([creations(), executor.launchedPods.size, state()]).toEqual([2, 1, 'queued']);
  });

  test('X7: 429 without a body and without retries fails', async () => {
    const { executor, state } = launch();
    api.replies.push({ status: 429 });
    await executor.sync();
    expect([creations(), state()]).toEqual([1, 'failed']);
  });

  test('X10: 503 with Retry-After 1 waits; once the retries are used up it fails', async () => {
    const { executor, clock, state } = launch({ task_publish_max_retries: '1' });
    api.replies.push(refusal(503, 'busy', { retryAfter: '1' }), refusal(503, 'busy', { retryAfter: '1' }));
    await executor.sync();
    expect([executor.createPodsAfterMs, executor.taskQueue.size]).toEqual([clock.nowMs + 1000, 1]);
    clock.nowMs += 1000;
    await executor.sync();
    expect([state(), creations()]).toEqual(['failed', 2]);
  });

  test('X11: a long Retry-After delays every sync, until its instant is reset', async () => {
    const { executor, clock, state } = launch({ task_publish_max_retries: '1' });
    api.replies.push({ status: 429, retryAfter: '999999' });
    for (let sync = 0; sync < 4; sync += 1) await executor.sync();
    expect(creations()).toBe(1);
    executor.createPodsAfterMs = clock.nowMs - 1;
    await executor.sync();
    expect([creations(), state()]).toEqual([2, 'queued']);
  });

  test('X12: a broken connection is retried, and without retries fails the task', async () => {
    const cut: CreateReply = { status: 0, cut: true };
    const { executor, state } = launch({ task_publish_max_retries: '1' });
    api.replies.push(cut, cut);
    await executor.sync();
    expect([executor.taskQueue.size, state()]).toEqual([1, 'queued']);
    await executor.sync();
    expect(executor.launchedPods.size).toBe(1);
    expect(new Set(api.asked('POST').slice(before).map(createdName)).size).toBe(1);

    const none = launch();
    api.replies.push(cut, cut);
    await none.executor.sync();
    expect(none.state()).toBe('failed');
  });
});

describe('batches', () => {
  const batch = (options: ExecutorOptions, tasks: number) => {
    const executor = api.executor({ kubeConfig: { async_pod_creation: 'True', ...options } });
    const keys = Array.from({ length: tasks }, () => aKey());
    for (const key of keys) executor.executeAsync(key, ['true']);
    return { executor, keys };
  };

  test.each([
    { number: 'X15', tasks: 5, options: { worker_pods_creation_batch_size: '16' }, most: 5 },
    {
      number: 'X16',
      tasks: 9,
      options: { worker_pods_creation_batch_size: '16', pod_creation_max_concurrency: '3' },
      most: 3,
    },
  ])('$number: $tasks tasks are created in one sync, $most at a time at most', async ({ tasks, options, most }) => {
    await using held = await podApi();
    held.hold = true;
    const executor = held.executor({ kubeConfig: { async_pod_creation: 'True', ...options } });
    for (let task = 0; task < tasks; task += 1) executor.executeAsync(aKey(), ['true']);
    const syncing = executor.sync();
    await expect.poll(() => held.mostHeld).toBe(most);
    // Each release makes room for the next ones.
    while (executor.launchedPods.size < tasks && held.asked('POST').length < tasks) {
      const asked = held.asked('POST').length;
      held.release();
      await expect.poll(() => held.asked('POST').length).toBeGreaterThan(asked);
    }
    held.hold = false;
    held.release();
    await syncing;
    expect([held.asked('POST').length, held.mostHeld, executor.launchedPods.size]).toEqual([tasks, most, tasks]);
  });

  test.each([
    ['a full quota', [refusal(403, 'exceeded quota: q')]],
    [
      'a broken connection',
      [
        { status: 0, cut: true },
        { status: 0, cut: true },
      ],
    ],
  ])('X17: in a batch, %s is retried, too', async (_what, replies) => {
    const { executor } = batch({ worker_pods_creation_batch_size: '4', task_publish_max_retries: '1' }, 1);
    api.replies.push(...replies);
    await executor.sync();
    expect(executor.taskQueue.size).toBe(1);
    await executor.sync();
    expect(executor.launchedPods.size).toBe(1);
  });

  test.each([429, 503])('X18: %i with Retry-After in a batch requeues and delays the task', async (status) => {
    const { executor } = batch({ worker_pods_creation_batch_size: '4', task_publish_max_retries: '1' }, 1);
    api.replies.push(refusal(status, 'busy', { retryAfter: '30' }));
    await executor.sync();
    await executor.sync();
    expect([executor.taskQueue.size, creations()]).toEqual([1, 1]);
    expect(executor.createPodsAfterMs).toBeGreaterThan(performance.now() + 20_000);
  });

  test('X18: after a Retry-After the rest of a batch is not tried, and uses no retry', async () => {
    const { executor, keys } = batch(
      { worker_pods_creation_batch_size: '8', pod_creation_max_concurrency: '1', task_publish_max_retries: '1' },
      4,
    );
    api.replies.push(refusal(429, 'busy', { retryAfter: '30' }));
    await executor.sync();
    expect([creations(), executor.taskQueue.size, executor.taskPublishRetries.size]).toEqual([1, 4, 1]);
    expect(executor.taskPublishRetries.has(keyText(keys[0]!))).toBe(true);
  });

  test('X19: of a good and a bad task only the bad one fails', async () => {
    const executor = api.executor({ kubeConfig: { async_pod_creation: 'True', worker_pods_creation_batch_size: '2' } });
    const [bad, good] = [aKey(), aKey()];
    executor.executeAsync(bad, []);
    executor.executeAsync(good, ['true']);
    executor.getEventBuffer();
    await executor.sync();
    expect(executor.getEventBuffer().map(({ key, state }) => [key, state])).toEqual([[bad, 'failed']]);
    expect([...executor.launchedPods.keys()]).toEqual([keyText(good)]);
  });
});

test('X20: a task that no longer needs its pod gets none, and leaves no entry', async () => {
  const { executor, key } = launch({}, { tasks: { isCurrent: () => Promise.resolve(false) } });
  await executor.sync();
  expect([creations(), executor.running.size, executor.eventOf(key)]).toEqual([0, 0, undefined]);
});

test('X21: creations, deletions and patches are counted by status; a refused patch is ignored, a refused deletion is thrown', async () => {
  const counted: string[] = [];
  const meter = {
    count: (name: string, labels: Readonly<Record<string, string>> = {}) => {
      counted.push(`${name} ${labels['status'] ?? ''}`);
    },
    gauge: () => undefined,
    observeSeconds: () => undefined,
  };
  const { executor } = launch({}, { meter, turns: undefined });
  api.replies.push(refusal(422));
  await executor.sync();
  executor.executeAsync(aKey(), ['true']);
  await executor.sync();
  const scheduler = executor.kubeScheduler!;
  const pod = { podName: 'p', namespace: 'default', podUid: 'u' };
  api.deletions.push(400);
  await expect(scheduler.deletePod('p', 'default', 'u')).rejects.toThrow(KubernetesError);
  await scheduler.deletePod('p', 'default', 'u');
  api.patches.push(500);
  expect(await scheduler.patchPodExecutorDone(pod)).toBe(false);
  expect(await scheduler.patchPodExecutorDone(pod)).toBe(true);
  expect(counted).toEqual([
    'executor_pod_creations_total 422',
    'executor_pod_creations_total 200',
    'executor_pod_deletions_total 400',
    'executor_pod_deletions_total 200',
    'executor_pod_patches_total 500',
    'executor_pod_patches_total 200',
  ]);
});
