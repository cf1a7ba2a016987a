import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isRecord, type JsonRecord, recordIn, recordsIn, textIn } from '../../src/core/json.ts';
import { makeSafeLabelValue } from '../../src/core/pod/labels.ts';
import { extendField } from '../../src/core/pod/merge.ts';
import { addSuffix, isPodName } from '../../src/core/pod/names.ts';
import { KubernetesError } from '../../src/errors.ts';
import { KubeConfig } from '../../src/airflow/kube-config.ts';
import { KubernetesExecutor } from '../../src/airflow/kubernetes-executor.ts';
import { createPodId, makeUniquePodId, stripUnsafeKubernetesSpecialChars } from '../../src/airflow/legacy.ts';
import { executorPodName, PodGenerator } from '../../src/airflow/pod-generator.ts';
import { constructPod, type ConstructPodOptions, PodReconciliationError } from '../../src/operator/construct-pod.ts';
import { buildSelectorForK8sExecutorPod, orphanedPodsSelector } from '../../src/airflow/pod-selectors.ts';
import { buildLabelsForK8sExecutorPod } from '../../src/core/pod/executor-labels.ts';
import { getBasePodFromTemplate } from '../../src/airflow/pod-template.ts';
import { labelsToKey } from '../../src/airflow/task-key.ts';
import { aKey, type PodApi, podApi } from '../support/pod-api.ts';

let api: PodApi;
beforeAll(async () => {
  api = await podApi();
});
afterAll(() => api[Symbol.asyncDispose]());

const key = { dagId: 'd', taskId: 't', runId: 'r', tryNumber: 1, mapIndex: -1 };
const pod = (options: Partial<ConstructPodOptions> = {}): JsonRecord =>
  constructPod({ ...key, owner: '5', podId: 'pod-id', namespace: 'default', args: ['x'], ...options });
const metadata = (of: JsonRecord): JsonRecord => recordIn(of, 'metadata');
const labels = (of: JsonRecord): JsonRecord => recordIn(metadata(of), 'labels');
const annotations = (of: JsonRecord): JsonRecord => recordIn(metadata(of), 'annotations');
const container = (of: JsonRecord, index = 0): JsonRecord => recordsIn(recordIn(of, 'spec'), 'containers')[index] ?? {};
const template = {
  metadata: { name: 'p', namespace: 'tpl' },
  spec: { containers: [{ name: 'base', image: 'template:1' }] },
};

test('X62: deleting a pod that is gone succeeds silently; any other failure is thrown', async () => {
  const scheduler = api.executor({ jobId: 'x62' }).kubeScheduler!;
  api.deletions.push(404, 400);
  await scheduler.deletePod('pod', 'default', 'uid');
  await expect(scheduler.deletePod('pod', 'default', 'uid')).rejects.toThrow(KubernetesError);
  // Without a uid the pod is read; there is none of that name.
  await scheduler.deletePod('pod', 'default');
});

test('X63: an executor that is not started makes no request and watches no namespace', async () => {
  const asked = api.server.asked.length;
  const executor = new KubernetesExecutor({ cluster: api.cluster, jobId: 'x63' });
  expect(executor.kubeScheduler).toBeUndefined();
  await expect(executor.sync()).rejects.toThrow(/not been started/);
  expect(await executor.end()).toEqual({ notLaunched: [] });
  executor.terminate();
  expect(api.server.asked.length).toBe(asked);
});

test.each([
  { mode: 'True', list: 'A,B,C', given: ['A', 'B', 'C'], watched: ['A', 'B', 'C', 'default'] },
  { mode: 'True', list: '', given: undefined, watched: [undefined] },
  { mode: 'False', list: 'A,B', given: undefined, watched: ['default'] },
])('X64: ($mode, "$list") watches $watched', async ({ mode, list, given, watched }) => {
  const kubeConfig = new KubeConfig({ multi_namespace_mode: mode, multi_namespace_mode_namespace_list: list });
  expect([kubeConfig.multiNamespaceModeNamespaceList, kubeConfig.namespaces]).toEqual([given, watched]);
  const executor = api.executor({ jobId: 'x64', kubeConfig });
  expect([...executor.kubeScheduler!.kubeWatchers.keys()]).toEqual(watched.map((one) => one ?? 'ALL_NAMESPACES'));
  await executor.end();
});

test('a pod in a namespace that is not watched is refused: its end would not be observed', async () => {
  const executor = api.executor({ jobId: 'elsewhere' });
  const task = aKey();
  executor.executeAsync(task, ['x'], undefined, { podOverride: { metadata: { namespace: 'elsewhere' } } });
  await executor.sync();
  expect(executor.eventOf(task)).toMatchObject({
    state: 'failed',
    info: expect.stringContaining('"elsewhere" is not watched'),
  });
});

const bytes = Array.from({ length: 256 }, (_, code) => String.fromCharCode(code)).join('');
const random = (seed: number): string =>
  Array.from({ length: 20 }, (_, index) => String.fromCharCode(32 + ((seed * 7919 + index * 104_729) % 95))).join('');
test.each([
  'my_dag_id',
  'Компьютер',
  '影師嗎',
  bytes,
  '***',
  '-',
  ...Array.from({ length: 100 }, (_, seed) => random(seed)),
])('X65: %j becomes a valid name', (id) => {
  for (const name of [executorPodName({ dagId: id, taskId: id }), executorPodName({ taskId: id }), createPodId(id, id)])
    expect(isPodName(name), name).toBe(true);
});

test('X66: a long name is cut and made unique; labels are cut, annotations are not', () => {
  const long = 'a'.repeat(512);
  const made = pod({ podId: long, dagId: long, taskId: long, runId: long, random: () => 'abcd1234' });
  expect(metadata(made)['name']).toBe(`${'a'.repeat(54)}-abcd1234`);
  for (const value of Object.values(labels(made))) expect(String(value).length).toBeLessThanOrEqual(63);
  expect(annotations(made)).toMatchObject({ dag_id: long, task_id: long, run_id: long });
});

test.each(['name-', 'name--', 'name.', 'name-.'])('X67: %s is trimmed before its suffix', (name) => {
  expect(addSuffix(name, 'abcd1234')).toBe('name-abcd1234');
});

test('X68: a missing template gives one warning and an empty pod', () => {
  const warned: string[] = [];
  const log = { warn: (_fields: object, message: string) => void warned.push(message) };
  expect(getBasePodFromTemplate('/nowhere.yaml', { podTemplateFile: '' }, { log })).toEqual({});
  expect(warned).toHaveLength(1);
  const files = (): string => 'spec: [1]';
  expect(() => getBasePodFromTemplate('t', { podTemplateFile: '' }, { files })).toThrow(/t: has a spec/);
  expect(() => getBasePodFromTemplate('t', { podTemplateFile: '' }, { files: () => '{' })).toThrow(/pod template t/);
});

test.each([undefined, null, {}])('X69: an override of %j changes nothing', (podOverride) => {
  expect(pod({ podOverride, baseWorkerPod: template })).toEqual(pod({ baseWorkerPod: template }));
});

test('X70: an empty image is none; name, command and volumes of an override are used', () => {
  const made = pod({
    kubeImage: undefined,
    baseWorkerPod: { ...template, spec: { ...template.spec, volumes: [{ name: 'a' }] } },
    podOverride: {
      metadata: { name: 'mine' },
      spec: { containers: [{ name: 'base', image: '', command: ['run'] }], volumes: [{ name: 'b' }] },
    },
  });
  expect(container(made)).toMatchObject({ image: 'template:1', command: ['run'], args: ['x'] });
  expect(metadata(made)['name']).toBe('mine');
  expect(recordIn(made, 'spec')['volumes']).toEqual([{ name: 'a' }, { name: 'b' }]);
});

test('X71: without an image the template’s stays; an override’s namespace beats the configured one, which beats the template’s', () => {
  const made = pod({ baseWorkerPod: template });
  expect([container(made)['image'], metadata(made)['namespace']]).toEqual(['template:1', 'default']);
  const moved = pod({ baseWorkerPod: template, podOverride: { metadata: { namespace: 'mine' } } });
  expect(metadata(moved)['namespace']).toBe('mine');
});

test('X72: index 0 is labelled and annotated; −1 is neither', () => {
  const made = pod({ mapIndex: 0 });
  expect([labels(made)['map_index'], annotations(made)['map_index']]).toEqual(['0', '0']);
  expect([labels(pod())['map_index'], annotations(pod())['map_index']]).toEqual([undefined, undefined]);
});

test.each(['text', { spec: { containers: [{ name: 'base', env: 'x' }] } }, { metadata: 7 }])(
  'X73: override %j does not make a pod',
  (podOverride) => {
    expect(() => pod({ podOverride })).toThrow(PodReconciliationError);
  },
);

test('X74: only lists can be extended', () => {
  expect(() => extendField({ volumes: 'x' }, { volumes: [] }, 'volumes')).toThrow(TypeError);
});

test('X75: containers are paired by position; lists of a pair are joined', () => {
  const [one, two] = PodGenerator.reconcileContainers(
    [
      { name: 'b1', image: 'i1', ports: [{ containerPort: 1 }] },
      { name: 'b2', image: 'i2' },
    ],
    [{ name: 'c1', ports: [{ containerPort: 2 }] }, { name: 'c2' }],
  );
  expect(one).toMatchObject({ name: 'c1', image: 'i1', ports: [{ containerPort: 1 }, { containerPort: 2 }] });
  expect(two).toMatchObject({ name: 'c2', image: 'i2' });
});

test('X76: the override’s fields of a spec win over the base’s', () => {
  expect(PodGenerator.reconcileSpecs({ priority: 1, activeDeadlineSeconds: 100 }, { priority: 2 })).toMatchObject({
    priority: 2,
    activeDeadlineSeconds: 100,
  });
});

test('X77: labels are safe forms; a selector has no version, and without an owner matches any', () => {
  const identity = { ...key, dagId: 'dag*', taskId: 'task*', version: '1+2' };
  expect(buildLabelsForK8sExecutorPod(identity)).toMatchObject({
    dag_id: 'dag-6b24921d4',
    task_id: 'task-b6aca8991',
    'reentry.dev/version': '1-2',
  });
  expect(buildSelectorForK8sExecutorPod(identity)).toBe(
    'dag_id=dag-6b24921d4,kubernetes_executor=True,run_id=r,task_id=task-b6aca8991,try_number=1,airflow-worker',
  );
  expect(buildSelectorForK8sExecutorPod({ ...key, owner: '5' })).toBe(
    'airflow-worker=5,dag_id=d,kubernetes_executor=True,run_id=r,task_id=t,try_number=1',
  );
});

test('X78: a generator takes a pod or a template, and exactly one', () => {
  expect(() => new PodGenerator({})).toThrow(/exactly one/);
  expect(() => new PodGenerator({ pod: {}, template: {} })).toThrow(/exactly one/);
  expect(new PodGenerator({ pod: template }).pod).toBe(template);
});

test('X86: live siblings are left alone', () => {
  expect(orphanedPodsSelector(['5', '7', '9'])).toContain('airflow-worker notin (5,7,9)');
  expect(orphanedPodsSelector(['5'])).toContain('airflow-worker!=5');
});

describe('identity that must not be lost', () => {
  test('wins over every override when the caller puts it last', () => {
    const made = pod({
      podOverride: { metadata: { labels: { mine: 'no' }, annotations: { id: 'no' } } },
      labels: { mine: 'yes' },
      annotations: { id: 'yes' },
    });
    expect([labels(made)['mine'], annotations(made)['id']]).toEqual(['yes', 'yes']);
  });

  test('inputs are not modified', () => {
    const before = JSON.stringify(template);
    pod({ baseWorkerPod: template, podOverride: { spec: { containers: [{ name: 'base', env: [{ name: 'A' }] }] } } });
    expect(JSON.stringify(template)).toBe(before);
  });
});

describe('pod names of Airflow 1.10', () => {
  test('are the joined ids and a UUID, 253 characters at most', () => {
    expect(stripUnsafeKubernetesSpecialChars('My_dag.id')).toBe('mydagid');
    expect(createPodId('my_dag_id', 'my-task-id')).toMatch(/^mydagidmytaskid-[0-9a-f]{32}$/);
    expect(createPodId('d'.repeat(300), 't')).toHaveLength(253);
    expect(makeUniquePodId('')).toBeUndefined();
    expect(makeUniquePodId('name')).toMatch(/^name-[0-9a-f]{32}$/);
  });

  test('labels name a task among those that are known: exact values first, then their safe forms', () => {
    const odd = { ...key, dagId: 'dag*' };
    const exact = { ...key, dagId: makeSafeLabelValue('dag*') };
    const given = { dag_id: exact.dagId, task_id: 't', try_number: '1' };
    expect(labelsToKey(given, [odd])).toBe(odd);
    expect(labelsToKey(given, [odd, exact])).toBe(exact);
    expect(labelsToKey({ ...given, try_number: 'x' }, [odd])).toBe(odd);
    expect(labelsToKey({ task_id: 't' }, [odd])).toBeUndefined();
  });
});

test('names of created pods are valid, and no two are the same', async () => {
  const executor = api.executor({ jobId: 'names', kubeConfig: { worker_pods_creation_batch_size: '50' } });
  const before = api.asked('POST').length;
  for (let task = 0; task < 50; task += 1) executor.executeAsync(aKey({ dagId: 'Ünï', tryNumber: 2 }), ['x']);
  await executor.sync();
  const names = api
    .asked('POST')
    .slice(before)
    .map(({ body }) => textIn(isRecord(body) ? metadata(body) : {}, 'name') ?? '');
  expect(new Set(names).size).toBe(50);
  expect(names.every(isPodName)).toBe(true);
});

describe('configuration', () => {
  test('all problems are reported at once, by option', () => {
    const wrong = {
      parallelism: '0',
      delete_worker_pods: 'perhaps',
      kube_client_request_args: 'null',
      delete_option_kwargs: '{"orphan_dependents": true}',
      client_factory: 'mine.factory',
    };
    expect(() => new KubeConfig(wrong)).toThrow(
      expect.objectContaining({
        code: 'CONFIG_INVALID',
        problems: expect.arrayContaining(Object.keys(wrong).map((path): unknown => expect.objectContaining({ path }))),
      }),
    );
  });

  test('the options of Airflow 1.10 are checked on demand', () => {
    expect(() => {
      new KubeConfig().validate();
    }).toThrow(/dags_volume_claim/);
    expect(() => {
      new KubeConfig({}, { dags_in_image: true }).validate();
    }).not.toThrow();
    expect(() => {
      new KubeConfig({ pod_template_file: 't' }).validate();
    }).not.toThrow();
    const git = { git_repo: 'r', git_branch: 'b', git_dags_folder_mount_point: '/d' };
    expect(() => {
      new KubeConfig({}, { ...git, git_user: 'u', git_ssh_key_secret_name: 's' }).validate();
    }).toThrow(/excludes/);
    const users = new KubeConfig({}, { run_as_user: '0', fs_group: '' });
    expect([users.getSecurityContextVal('run_as_user'), users.getSecurityContextVal('fs_group')]).toEqual([
      0,
      undefined,
    ]);
    expect(() => new KubeConfig({}, { fs_group: 'x' }).getSecurityContextVal('fs_group')).toThrow(/whole number/);
    expect([KubeConfig.coreSection, KubeConfig.kubernetesSection]).toEqual(['core', 'kubernetes_executor']);
  });
});

test('bare scalars of a template are typed as Airflow types them', () => {
  const text = `
metadata: { labels: { release: 1.0, n: 1, canary: true } }
spec:
  containers:
    - { name: base, image: i, env: [{ name: A, value: 1 }], args: [2.50], ports: [{ containerPort: "80" }] }
`;
  expect(getBasePodFromTemplate('t', { podTemplateFile: '' }, { files: () => text })).toEqual({
    metadata: { labels: { release: '1.0', n: '1', canary: 'True' } },
    spec: {
      containers: [
        { name: 'base', image: 'i', env: [{ name: 'A', value: '1' }], args: ['2.5'], ports: [{ containerPort: 80 }] },
      ],
    },
  });
});
