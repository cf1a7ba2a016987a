import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { recordIn } from '../../src/core/json.ts';
import { KubeConfig, type ExecutorOptions } from '../../src/airflow/kube-config.ts';
import { KubernetesExecutor, type KubernetesExecutorOptions } from '../../src/airflow/kubernetes-executor.ts';
import { keyText } from '../../src/airflow/task-key.ts';
import type { TaskKey } from '../../src/core/pod/executor-labels.ts';
import { HttpCluster } from '../../src/kubernetes/cluster.ts';
import { TUNING } from '../../src/kubernetes/settings.ts';
import type { BufferedEvent } from '../../src/airflow/base-executor.ts';
import { type ClusterUnderTest, TARGETS } from '../support/kubernetes.ts';
import { aKey } from '../support/pod-api.ts';

/** Time-out of tests against a real cluster, in milliseconds. */
const POLL = { timeout: 30_000 };

/** A program that uses only the library and a cluster. */
describe.each(TARGETS)('the executor as a library, on $name', ({ start }) => {
  let under: ClusterUnderTest;
  let namespace: string;
  const executors: KubernetesExecutor[] = [];
  beforeAll(async () => {
    under = await start();
  });
  beforeEach(async () => {
    namespace = await under.namespace();
  });
  afterAll(async () => {
    await Promise.all(executors.map((executor) => executor.end()));
    await under[Symbol.asyncDispose]();
  });

  function embed(jobId: string, options: ExecutorOptions = {}, more: Partial<KubernetesExecutorOptions> = {}) {
    const executor = new KubernetesExecutor({
      cluster: under.cluster,
      jobId,
      commandRule: 'any',
      kubeConfig: { namespace, pod_template_file: 'template', worker_pods_creation_batch_size: '20', ...options },
      // A task's own template is the script that its pod runs.
      files: (path) => JSON.stringify(under.pod(path === 'template' ? { runForSeconds: 0 } : { script: path })),
      ...more,
    });
    executors.push(executor);
    executor.start();
    return executor;
  }
  const job = (): string => `job-${aKey().taskId}`;
  /** An override that sets how the pod behaves. */
  const like = (options: Parameters<ClusterUnderTest['pod']>[0]) => {
    const { metadata } = under.pod(options);
    return { podOverride: { metadata: { annotations: recordIn({ metadata }, 'metadata')['annotations'] } } };
  };

  /** Calls heartbeat until each of `keys` has ended; returns their last events. */
  async function driven(executor: KubernetesExecutor, keys: readonly TaskKey[]) {
    const ended = new Map<string, BufferedEvent>();
    await expect
      .poll(
        async () => {
          await executor.heartbeat();
          for (const event of executor.getEventBuffer())
            if (event.state !== 'queued' && event.state !== 'running') ended.set(keyText(event.key), event);
          return keys.filter((key) => !ended.has(keyText(key))).length;
        },
        { timeout: 45_000, interval: 20 },
      )
      .toBe(0);
    return keys.map((key) => ended.get(keyText(key)));
  }
  const pods = () => under.cluster.listPods(namespace, 'kubernetes_executor=True');

  test('20 tasks run in 8 slots, failures have details, and no pod of a success is left', async () => {
    const executor = embed(job(), { parallelism: '8', async_pod_creation: 'True' });
    const keys = Array.from({ length: 20 }, () => aKey());
    let most = 0;
    for (const [index, key] of keys.entries())
      executor.queueTask({
        key,
        command: ['run'],
        executorConfig: index % 10 === 0 ? like({ runForSeconds: 0, exitCode: 3 }) : {},
      });
    const watching = setInterval(() => {
      most = Math.max(most, executor.running.size);
    }, 1);
    const events = await driven(executor, keys);
    clearInterval(watching);
    expect(events.map((event) => event?.state)).toEqual(
      keys.map((_, index) => (index % 10 === 0 ? 'failed' : 'success')),
    );
    expect(events[0]?.failureDetails).toMatchObject({
      podStatus: 'Failed',
      containerType: 'main',
      containerName: 'base',
      exitCode: 3,
    });
    expect(events[0]?.info).toContain('container base ended with exit code 3');
    expect(most).toBeLessThanOrEqual(8);
    expect([executor.running.size, executor.slotsAvailable]).toEqual([0, 8]);
    // Failed pods are retained for inspection.
    await expect
      .poll(
        async () => (await pods()).filter(({ deletedAt }) => deletedAt === undefined).map(({ phase }) => phase),
        POLL,
      )
      .toEqual(['Failed', 'Failed']);
  });

  test('a successor adopts running tasks, is notified of ended ones, and gets back those never launched', async () => {
    const [first, second] = [job(), job()];
    const before = embed(first);
    const [long, short, never] = [aKey(), aKey(), aKey()];
    before.executeAsync(long, ['run'], undefined, like({ runForSeconds: 3600 }));
    before.executeAsync(short, ['run'], undefined, like({ runForSeconds: 0 }));
    await before.sync();
    const shortPod = before.launchedPods.get(keyText(short))!;
    expect(await before.end()).toEqual({ notLaunched: [] });
    await expect
      .poll(async () => (await pods()).find(({ name }) => name === shortPod.podName)?.phase, POLL)
      .toBe('Succeeded');

    const executor = embed(second);
    const tasks = [long, short, never].map((key) => ({ key, queuedByJobId: first }));
    expect((await executor.tryAdoptTaskInstances(tasks)).map(({ key }) => key)).toEqual([never]);
    const [event] = await driven(executor, [short]);
    expect([event?.state, executor.running.has(keyText(long))]).toEqual(['success', true]);
    // A deletion of a running pod by another client is noticed, too.
    const pod = executor.launchedPods.get(keyText(long))!;
    await under.raw('DELETE', `/api/v1/namespaces/${namespace}/pods/${pod.podName}`);
    expect((await driven(executor, [long]))[0]?.state).toBe('failed');
  });

  test('finished pods of a dead scheduler are deleted by the next sync', async () => {
    const before = embed(job());
    const key = aKey();
    before.executeAsync(key, ['run']);
    await before.sync();
    await before.end();
    await expect.poll(async () => (await pods()).map(({ phase }) => phase), POLL).toEqual(['Succeeded']);
    const executor = embed(job());
    await executor.sync();
    await expect.poll(async () => (await pods()).filter(({ deletedAt }) => deletedAt === undefined), POLL).toEqual([]);
    expect(executor.getEventBuffer()).toEqual([]);
  });

  test('a pod that is labelled as done is reported once, and no successor adopts it', async () => {
    const id = job();
    const before = embed(id, { delete_worker_pods: 'False' });
    const key = aKey();
    before.executeAsync(key, ['run']);
    expect((await driven(before, [key]))[0]?.state).toBe('success');
    const [pod] = await pods();
    expect(pod?.executor).toMatchObject({ done: true, owner: id });
    await before.end();
    const executor = embed(id);
    await expect.poll(() => executor.kubeScheduler?.kubeWatchers.get(namespace)?.synced, POLL).toBe(true);
    await executor.sync();
    expect([executor.getEventBuffer(), (await pods()).length]).toEqual([[], 1]);
  });

  test('a revoked task leaves no pod, no slot and no event', async () => {
    const executor = embed(job());
    const key = aKey();
    executor.executeAsync(key, ['run'], undefined, like({ runForSeconds: 3600 }));
    await executor.sync();
    executor.getEventBuffer();
    await executor.revokeTask(key);
    await expect.poll(async () => (await pods()).filter(({ deletedAt }) => deletedAt === undefined), POLL).toEqual([]);
    await executor.sync();
    expect([executor.getEventBuffer(), executor.running.size]).toEqual([[], 0]);
  });

  test('X90: the log of a running task is its last lines; an unreadable log gives a message', async () => {
    const executor = embed(job());
    const key = aKey();
    const script = "printf 'a_\\n\\033[31mb_\\033[0m\\nc_\\n'; exec sleep 300";
    executor.executeAsync(key, ['run'], undefined, { podTemplateFile: script });
    await executor.sync();
    const task = { key, queuedByJobId: executor.schedulerJobId };
    await expect.poll(async () => (await executor.getTaskLog(task)).logs, { timeout: 30_000 }).toEqual(['a_\nb_\nc_']);
    expect((await executor.getTaskLog(task)).messages).toHaveLength(2);
    const none = await executor.getTaskLog({ ...task, key: aKey() });
    expect(none.logs).toEqual(['']);
    expect(none.messages.at(-1)).toContain('Reading the log failed: 0 pods');
    await executor.revokeTask(key);
  });

  test('service account keys become secrets, and can be replaced', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'reentry-keys-'));
    await writeFile(join(directory, 'key'), '{"type":"service_account"}');
    const kubeConfig = new KubeConfig({ namespace }, { gcp_service_account_keys: ` one = ${directory}/key ` });
    const executor = new KubernetesExecutor({ cluster: under.cluster, jobId: job(), kubeConfig });
    await using writer = new HttpCluster('test', { kubeconfig: under.kubeconfig }, TUNING, {});
    await executor.injectSecrets(writer);
    await executor.injectSecrets(writer);
    const { body } = await under.raw('GET', `/api/v1/namespaces/${namespace}/secrets/one`);
    const { 'key.json': key } = recordIn(body, 'data');
    expect(Buffer.from(String(key), 'base64').toString()).toBe('{"type":"service_account"}');
    await rm(directory, { recursive: true });
    await expect(executor.injectSecrets(writer)).rejects.toThrow(/ENOENT/);
  });
});

test('a creation whose response is lost makes one pod', async () => {
  await using under = await TARGETS[0]!.start();
  const namespace = await under.namespace();
  const executor = new KubernetesExecutor({
    cluster: under.cluster,
    jobId: 'lost',
    commandRule: 'any',
    kubeConfig: { namespace },
  });
  executor.start();
  const key = aKey();
  const podOverride = under.pod({ runForSeconds: 3600 });
  under.faults?.order({ fault: 'loseReply', verb: 'create', resource: 'pods' });
  executor.executeAsync(key, ['run'], undefined, { podOverride });
  await executor.sync();
  const pods = await under.cluster.listPods(namespace, 'kubernetes_executor=True');
  expect([executor.running.size, executor.launchedPods.size, pods.length]).toEqual([1, 1, 1]);
  await executor.end();
});
