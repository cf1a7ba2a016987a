import { afterAll, beforeAll } from 'vitest';
import { z } from 'zod';
import { isRecord, type JsonRecord, textIn } from '../../src/core/json.ts';
import { KubeConfig } from '../../src/airflow/kube-config.ts';
import type { FailureDetails, ResultState, TaskState } from '../../src/airflow/records.ts';
import { keyText } from '../../src/airflow/task-key.ts';
import { aKey, type PodApi, podApi } from '../support/pod-api.ts';
import { compareWithOracle, type OracleCase } from './harness.ts';

let api: PodApi;
beforeAll(async () => {
  api = await podApi();
});
afterAll(() => api[Symbol.asyncDispose]());

const TASK_STATES = [
  'scheduled',
  'queued',
  'running',
  'restarting',
  'success',
  'failed',
  'skipped',
  'up_for_retry',
  'up_for_reschedule',
  'upstream_failed',
  'deferred',
  'removed',
] as const satisfies readonly TaskState[];
const taskStates = z.enum(TASK_STATES).nullable();
const resultStates = z.union([taskStates, z.literal('adopted'), z.literal('completed')]);

const detailsOf = (details: JsonRecord): FailureDetails => ({
  podStatus: textIn(details, 'pod_status'),
  podReason: textIn(details, 'pod_reason'),
  containerReason: textIn(details, 'container_reason'),
});

async function answer({ input }: OracleCase): Promise<unknown> {
  const key = aKey();
  const calls: string[][] = [];
  const excluded = z.array(z.string()).parse(input['pod_launch_failure_excluded_container_reasons']);
  const executor = api.executor({
    kubeConfig: new KubeConfig({
      delete_worker_pods: String(input['delete_worker_pods'] === true),
      delete_worker_pods_on_failure: String(input['delete_worker_pods_on_failure'] === true),
      pod_launch_failure_retries: String(Number(input['pod_launch_failure_retries'])),
      pod_launch_failure_excluded_container_reasons: excluded.join(','),
    }),
    tasks: {
      state: () => {
        calls.push(['database_state']);
        return Promise.resolve(taskStates.parse(input['database_state'] ?? null));
      },
    },
  });
  if (input['key_is_running'] === true) executor.running.set(keyText(key), key);
  const attempt = input['launch_attempt'];
  if (isRecord(attempt)) {
    executor.executeAsync(key, ['true']);
    await executor.sync();
    const job = executor.podLaunchAttempts.get(keyText(key))?.job;
    if (job === undefined) throw new Error('the task was not taken');
    const launched = executor.launchedPods.get(keyText(key));
    // "pod" in a recording is the launched pod.
    const before = textIn(attempt, 'requeued_for_pod');
    executor.podLaunchAttempts.set(keyText(key), {
      job,
      attempts: Number(attempt['attempts']),
      requeuedForPod: before === 'pod' ? launched?.podName : before,
    });
    if (input['key_is_running'] !== true) executor.running.delete(keyText(key));
    executor.getEventBuffer();
  }
  const pod = executor.launchedPods.get(keyText(key));
  const podName = pod?.podName ?? 'pod';
  const asked = api.server.asked.length;
  const state: ResultState = resultStates.parse(input['state'] ?? null);
  await executor.changeState({
    key,
    state,
    podName,
    namespace: 'default',
    podUid: pod?.podUid ?? `uid of ${key.taskId}`,
    resourceVersion: '1',
    failureDetails: isRecord(input['failure_details']) ? detailsOf(input['failure_details']) : undefined,
  });
  const written = api.server.asked.slice(asked).flatMap(({ method }) => {
    if (method === 'DELETE') return [['delete_pod', 'pod']];
    return method === 'PATCH' ? [['patch_done', 'pod']] : [];
  });
  const left = executor.podLaunchAttempts.get(keyText(key));
  const event = executor.eventOf(key);
  return {
    // Writes come first in Airflow, too.
    calls: [...written, ...calls, ...(executor.taskQueue.size > 0 ? [['requeue']] : [])],
    event: event === undefined ? null : { has_info: event.info !== undefined, state: event.state },
    launch_attempt:
      left === undefined
        ? null
        : {
            attempts: left.attempts,
            requeued_for_pod: left.requeuedForPod === podName ? 'pod' : (left.requeuedForPod ?? null),
          },
    still_running: executor.running.has(keyText(key)),
  };
}

compareWithOracle(
  'executor-state',
  {
    only: ({ input }) => input['function'] === '_change_state',
    answer,
  },
  'change',
);
