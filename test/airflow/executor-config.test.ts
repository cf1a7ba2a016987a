import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { recordIn, recordsIn } from '../../src/core/json.ts';
import type { Coordinator, KubernetesExecutorOptions } from '../../src/airflow/kubernetes-executor.ts';
import { KubernetesExecutorConfig } from '../../src/operator/kubernetes-executor-config.ts';
import { podOverrideIn } from '../../src/operator/executor-config.ts';
import { keyText } from '../../src/airflow/task-key.ts';
import { aKey, type PodApi, podApi } from '../support/pod-api.ts';

let api: PodApi;
beforeAll(async () => {
  api = await podApi();
});
afterAll(() => api[Symbol.asyncDispose]());

const TEMPLATE = `
metadata: {name: placeholder, namespace: elsewhere, labels: {mylabel: foo}}
spec:
  imagePullSecrets: [{name: airflow-registry}]
  securityContext: {runAsUser: 50000, fsGroup: 50000}
  containers: [{name: base, image: template:1, env: [{name: T, value: "1"}]}]
`;
const override = {
  metadata: { labels: { release: 'stable' } },
  spec: { containers: [{ name: 'base', image: 'override:1' }] },
};

function queued(config: unknown, queue?: string, options: Partial<KubernetesExecutorOptions> = {}) {
  const executor = api.executor(options);
  const key = aKey();
  executor.executeAsync(key, ['airflow', 'tasks', 'run'], queue, config);
  return { executor, key, job: executor.podLaunchAttempts.get(keyText(key))?.job };
}

test('X22: a pod where a config is expected fails the task and frees its slot', () => {
  const { executor, key } = queued({ metadata: { name: 'x' }, spec: { containers: [] } });
  expect(executor.eventOf(key)).toMatchObject({ state: 'failed', info: expect.stringContaining('config is invalid') });
  expect([executor.taskQueue.size, executor.running.size, executor.slotsAvailable]).toEqual([0, 0, 32]);
});

test('X23: the form of Airflow 1.10 and an override exclude each other', () => {
  expect(() => podOverrideIn({ KubernetesExecutor: { image: 'a' }, podOverride: override })).toThrow(/exclude/);
});

test.each([
  'text',
  7,
  [],
  { podOverride: 'text' },
  { podOverride: { spec: { containers: 'x' } } },
  { podTemplateFile: 7 },
])('X22: %j is no config', (config) => {
  const { executor, key } = queued(config);
  expect(executor.eventOf(key)?.state).toBe('failed');
});

test('X24: the pod is merged from template, task and override', async () => {
  const { executor, job } = queued({ pod_template_file: '/t.yaml', pod_override: override }, undefined, {
    files: (path) => (path === '/t.yaml' ? TEMPLATE : undefined),
  });
  expect(job).toMatchObject({ podTemplateFile: '/t.yaml', kubeExecutorConfig: override });
  await executor.sync();
  const pod = api.asked('POST').at(-1)?.body;
  const labels = recordIn(recordIn(pod, 'metadata'), 'labels');
  expect(labels).toMatchObject({
    mylabel: 'foo',
    release: 'stable',
    'airflow-worker': '5',
    kubernetes_executor: 'True',
  });
  expect(recordIn(pod, 'metadata')['namespace']).toBe('default');
  expect(recordIn(pod, 'spec')).toMatchObject({
    imagePullSecrets: [{ name: 'airflow-registry' }],
    securityContext: { runAsUser: 50000, fsGroup: 50000 },
    restartPolicy: 'Never',
  });
  expect(recordsIn(recordIn(pod, 'spec'), 'containers')).toEqual([
    {
      name: 'base',
      image: 'override:1',
      args: ['airflow', 'tasks', 'run'],
      env: [
        { name: 'T', value: '1' },
        { name: 'AIRFLOW_IS_K8S_EXECUTOR_POD', value: 'True' },
      ],
    },
  ]);
});

describe('the coordinator of a queue', () => {
  const asked: string[] = [];
  const coordinator =
    (answer: Coordinator | Error) =>
    (queue: string): Coordinator => {
      asked.push(queue);
      if (answer instanceof Error) throw answer;
      return answer;
    };

  test('X25: its template wins over the task’s; without one, the task’s is used', () => {
    const of = (answer: Coordinator) =>
      queued({ podTemplateFile: 'own' }, 'gpu', { coordinator: coordinator(answer) }).job;
    expect(of({ podTemplateFile: 'gpu' })?.podTemplateFile).toBe('gpu');
    expect(of({})?.podTemplateFile).toBe('own');
  });

  test('X26: its image needs repository and tag', () => {
    const of = (answer: Coordinator) => queued({}, 'gpu', { coordinator: coordinator(answer) }).job?.kubeImage;
    expect(of({ workerContainerRepository: 'r', workerContainerTag: 't' })).toBe('r:t');
    expect(of({ workerContainerRepository: 'r' })).toBeUndefined();
    expect(of({ workerContainerTag: 't' })).toBeUndefined();
  });

  test('X27: without a queue it is not called', () => {
    asked.splice(0);
    queued({}, undefined, { coordinator: coordinator({ podTemplateFile: 'gpu' }) });
    expect(asked).toEqual([]);
  });

  test('X28: unusable values are ignored', () => {
    const { executor, key, job } = queued({ podTemplateFile: 'own' }, 'gpu', {
      coordinator: coordinator(new Error('old')),
    });
    expect([job?.podTemplateFile, executor.eventOf(key)?.state]).toEqual(['own', 'queued']);
  });
});

test('X29: the job’s image wins over the configured one', () => {
  const executor = api.executor({ kubeConfig: { worker_container_repository: 'config', worker_container_tag: '1' } });
  const job = {
    key: aKey(),
    command: ['x'],
    kubeExecutorConfig: undefined,
    podTemplateFile: undefined,
    kubeImage: undefined,
  };
  const imageOf = (pod: unknown) => recordsIn(recordIn(pod, 'spec'), 'containers')[0]?.['image'];
  expect(imageOf(executor.kubeScheduler!.buildPod({ ...job, kubeImage: 'job:1' }))).toBe('job:1');
  expect(imageOf(executor.kubeScheduler!.buildPod(job))).toBe('config:1');
});

test('X30: the job is stored, in case it must be launched again', () => {
  const { job, key } = queued({ podOverride: override });
  expect(job).toMatchObject({ key, kubeExecutorConfig: override, command: ['airflow', 'tasks', 'run'] });
});

describe('the form of Airflow 1.10', () => {
  const dictionary = {
    KubernetesExecutor: {
      image: 'legacy:1',
      request_memory: '1Gi',
      limit_cpu: '2',
      limit_gpu: 1,
      gcp_service_account_key: 'account',
      node_selectors: { gpu: 'yes' },
      volumes: [{ name: 'v', emptyDir: {} }],
      volume_mounts: [{ name: 'v', mountPath: '/v' }],
      labels: { team: 'a' },
    },
  };

  test('is converted to an override, limits without requests included', () => {
    expect(podOverrideIn(dictionary)).toEqual({
      metadata: { labels: { team: 'a' }, annotations: { 'iam.cloud.google.com/service-account': 'account' } },
      spec: {
        containers: [
          {
            name: 'base',
            image: 'legacy:1',
            resources: { requests: { memory: '1Gi' }, limits: { cpu: '2', 'nvidia.com/gpu': 1 } },
            volumeMounts: [{ name: 'v', mountPath: '/v' }],
          },
        ],
        volumes: [{ name: 'v', emptyDir: {} }],
        nodeSelector: { gpu: 'yes' },
      },
    });
  });

  test('has fifteen fields, returned unchanged, and as text in their order', () => {
    const config = KubernetesExecutorConfig.fromDict(dictionary);
    expect(Object.keys(config.asDict())).toHaveLength(15);
    expect(config.asDict()).toMatchObject({ image: 'legacy:1', limit_gpu: 1, annotations: {}, affinity: null });
    expect(String(config)).toMatch(
      /^KubernetesExecutorConfig\(image="legacy:1", image_pull_policy=null, request_memory="1Gi", .*labels=\{"team":"a"\}\)$/,
    );
    expect(KubernetesExecutorConfig.fromDict(undefined).asDict()).toMatchObject({
      image: null,
      volumes: null,
      labels: {},
    });
  });

  test('refuses a value that is no dictionary, and unknown fields', () => {
    expect(() => KubernetesExecutorConfig.fromDict('x')).toThrow(/dictionary/);
    expect(() => KubernetesExecutorConfig.fromDict({ KubernetesExecutor: { imgae: 'x' } })).toThrow(/no field "imgae"/);
  });
});
