/** Edge cases of building a pod, E1–E45 (see edge-cases.test.ts): the parameters, and the fields of the pod that they set. */
import { describe, expect, test } from 'vitest';
import { isRecord, type JsonRecord, recordIn, recordsIn, textIn } from '../../src/core/json.ts';
import { findPodSelector, LABELS, makeSafeLabelValue, normalizeLabels } from '../../src/core/pod/labels.ts';
import {
  extendField,
  mergeObjects,
  reconcileContainers,
  reconcileInitContainers,
  reconcileSpecs,
} from '../../src/core/pod/merge.ts';
import { addSuffix, createUniqueId, defaultNamespace, isPodName, MAX_POD_NAME } from '../../src/core/pod/names.ts';
import { podManifest } from '../../src/core/pod/manifest.ts';
import { type PodParamsInput, podParamsSchema } from '../../src/operator/pod-params.ts';
import { PodManifests } from '../../src/operator/pod-manifests.ts';
import { runRequestSchema } from '../../src/wire/run-request.ts';
import type { RunContext } from '../../src/wire/run-request.ts';

const run = { tenant: 't', runId: 'test' };
const task: RunContext = { dagId: 'dag', taskId: 'task', runId: 'test' };

interface Given {
  readonly context?: RunContext;
  readonly podTemplates?: Readonly<Record<string, JsonRecord>>;
  readonly defaultNamespace?: string;
}

/** Builds the pod of a request as a worker does: parses, renders, checks, builds. */
function built(params: unknown, { context = task, podTemplates = {}, ...more }: Given = {}): JsonRecord {
  const requests = new PodManifests({ podSecurity: 'privileged', podTemplates });
  const request = runRequestSchema.parse({ context });
  const parsed = podParamsSchema.parse(params);
  const { params: rendered, problems } = requests.rendered(run, request, parsed, 1);
  const found = [...problems, ...requests.check(request, parsed)];
  if (rendered === undefined || found.length > 0) throw new Error(JSON.stringify(found));
  return podManifest(rendered, {
    ...{ installation: 'i', run, attempt: 1, queue: 'q', context, defaultNamespace: 'default', ...more },
    podSecurity: 'privileged',
    template: podTemplates[rendered.podTemplateFile ?? ''],
  });
}

const spec = (params: PodParamsInput, given?: Given): JsonRecord =>
  recordIn(built({ image: 'i', ...params }, given), 'spec');
const base = (params: PodParamsInput, given?: Given): JsonRecord =>
  recordsIn(spec(params, given), 'containers')[0] ?? {};
const metadata = (params: PodParamsInput, given?: Given): JsonRecord =>
  recordIn(built({ image: 'i', ...params }, given), 'metadata');
const name = (params: PodParamsInput, given?: Given): string => textIn(metadata(params, given), 'name') ?? '';

const variables: RunContext = { ...task, params: { foo: 'one', bar: 'TWO', map: { A: '1', B: '2' } } };

describe('conversion and rendering', () => {
  test('E1 a map of variables is rendered in names and values', () => {
    expect(base({ envVars: { '{{ params.bar }}': '{{ params.foo }}' } }, { context: variables })['env']).toEqual([
      { name: 'TWO', value: 'one' },
    ]);
  });
  test('E2 a list of variables is rendered in names and values only', () => {
    const secret = { secretKeyRef: { name: '{{ params.foo }}', key: 'k' } };
    const envVars = [
      { name: '{{ params.bar }}', value: 'x-{{ params.foo }}' },
      { name: 'S', valueFrom: secret },
    ];
    expect(base({ envVars }, { context: variables })['env']).toEqual([
      { name: 'TWO', value: 'x-one' },
      { name: 'S', valueFrom: secret },
    ]);
  });
  test.each(['{{ params.map }}', '{{ params.map | json }}', '{"A": "1", "B": "{{ params.map.B }}"}'])(
    'E3 a text that renders to a map of variables counts as one: %s',
    (envVars) => {
      expect(base({ envVars }, { context: variables })['env']).toEqual([
        { name: 'A', value: '1' },
        { name: 'B', value: '2' },
      ]);
    },
  );
  test.each(['bad env', 123, '{{ params.foo }}'])(
    'E4 anything else is refused, with the expected type: %s',
    (envVars) => {
      expect(() => built({ image: 'i', envVars }, { context: variables })).toThrow(/map of names to values, a list/);
    },
  );
  test('E5 variables from pod fields alone are the only ones, however often the pod is built', () => {
    const podRuntimeInfoEnvs = [{ name: 'IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } }];
    expect(base({ podRuntimeInfoEnvs })['env']).toEqual(podRuntimeInfoEnvs);
    expect(base({ podRuntimeInfoEnvs, envVars: { A: '1' } })['env']).toEqual([
      { name: 'A', value: '1' },
      ...podRuntimeInfoEnvs,
    ]);
    expect(base({ podRuntimeInfoEnvs })['env']).toEqual(podRuntimeInfoEnvs);
  });
  test('E6 config maps are sources of variables; their names are rendered', () => {
    const envFrom = [{ configMapRef: { name: 'cm-one' } }];
    expect(base({ configmaps: ['cm-{{ params.foo }}'] }, { context: variables })['envFrom']).toEqual(envFrom);
    expect(
      base({ envFrom: [{ configMapRef: { name: 'cm-{{ params.foo }}' } }] }, { context: variables })['envFrom'],
    ).toEqual(envFrom);
  });
  test.each([
    ['fakeSecret', [{ name: 'fakeSecret' }]],
    ['s1,s2, s3', [{ name: 's1' }, { name: 's2' }, { name: 's3' }]],
    [
      [{ name: 'a' }, { name: 'b' }],
      [{ name: 'a' }, { name: 'b' }],
    ],
  ])('E7 pull secrets %j are accepted', (imagePullSecrets, expected) => {
    expect(spec({ imagePullSecrets })['imagePullSecrets']).toEqual(expected);
  });
  test.each([
    { ports: ['8080'] },
    { ports: [8080] },
    { volumes: ['v'] },
    { volumeMounts: [1] },
    { affinity: 'x' },
    { tolerations: ['x'] },
  ])('E8 a value that is no Kubernetes object is refused: %j', (wrong) => {
    const parsed = podParamsSchema.safeParse({ image: 'i', ...wrong });
    expect(parsed.error?.issues[0]?.path[0]).toBe(Object.keys(wrong)[0]);
  });
  test('E9 affinity and tolerations are Kubernetes JSON and set unchanged', () => {
    const affinity = {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {
          nodeSelectorTerms: [{ matchExpressions: [{ key: 'k', operator: 'In', values: ['v'] }] }],
        },
      },
    };
    const tolerations = [{ key: 'k', operator: 'Exists', effect: 'NoSchedule', tolerationSeconds: 0 }];
    expect(spec({ affinity, tolerations })).toMatchObject({ affinity, tolerations });
  });
  test('E10 every template field is rendered, of objects only their names', () => {
    const context: RunContext = { ...task, params: { x: 'px', claim: 'c' } };
    const manifest = built(
      {
        ...{
          image: 'i:{{ params.x }}',
          name: 'n-{{ params.x }}',
          hostname: 'h-{{ params.x }}',
          cmds: ['{{ params.x }}'],
          arguments: ['{{ params.x }}'],
        },
        ...{
          labels: { l: '{{ params.x }}' },
          annotations: { a: '{{ params.x }}' },
          namespace: 'ns-{{ params.x }}',
          nodeSelector: { n: '{{ params.x }}' },
        },
        containerResources: {
          limits: { cpu: '{{ params.x | size }}' },
          requests: { memory: '{{ params.x | size }}Gi' },
        },
        volumes: [
          { name: 'v-{{ params.x }}', persistentVolumeClaim: { claimName: '{{ params.claim }}' } },
          { name: 'w', configMap: { name: '{{ params.x }}', items: [{ key: '{{ params.x }}', path: 'p' }] } },
          { name: 'h', hostPath: { path: '/{{ params.x }}' } },
        ],
        volumeMounts: [{ name: 'v-{{ params.x }}', mountPath: '/{{ params.x }}', subPath: '{{ params.x }}' }],
        baseContainerName: 'b-{{ params.x }}',
      },
      { context },
    );
    expect(manifest).toMatchObject({
      metadata: { namespace: 'ns-px', labels: { l: 'px' }, annotations: { a: 'px' } },
      spec: {
        hostname: 'h-px',
        nodeSelector: { n: 'px' },
        volumes: [
          { name: 'v-px', persistentVolumeClaim: { claimName: 'c' } },
          { name: 'w', configMap: { name: 'px', items: [{ key: '{{ params.x }}' }] } },
          { name: 'h', hostPath: { path: '/{{ params.x }}' } },
        ],
        containers: [
          {
            ...{ name: 'b-px', image: 'i:px', command: ['px'], args: ['px'] },
            resources: { limits: { cpu: '2' }, requests: { memory: '2Gi' } },
            volumeMounts: [{ name: 'v-px', mountPath: '/{{ params.x }}', subPath: 'px' }],
          },
        ],
      },
    });
    expect(textIn(recordIn(manifest, 'metadata'), 'name')).toMatch(/^n-px-/);
  });
  test('E11 security contexts, host aliases, DNS, host name and node selector are set unchanged', () => {
    const given = {
      hostAliases: [{ ip: '1.1.1.1', hostnames: ['h'] }],
      dnsConfig: { nameservers: ['1.1.1.1'] },
      securityContext: { runAsUser: 5 },
      ...{ hostname: 'h', subdomain: 's', nodeSelector: { a: 'b' } },
    };
    expect(spec(given)).toMatchObject(given);
    expect(base({ containerSecurityContext: { runAsUser: 7 } })['securityContext']).toEqual({ runAsUser: 7 });
  });
  test('E12 pull policy, termination message policy, grace period and service account token are set', () => {
    expect(base({ imagePullPolicy: 'Always' })).toMatchObject({
      imagePullPolicy: 'Always',
      terminationMessagePolicy: 'File',
    });
    expect(base({ terminationMessagePolicy: 'FallbackToLogsOnError' })['terminationMessagePolicy']).toBe(
      'FallbackToLogsOnError',
    );
    expect(spec({ terminationGracePeriod: 300, automountServiceAccountToken: false })).toMatchObject({
      terminationGracePeriodSeconds: 300,
      automountServiceAccountToken: false,
    });
    expect(spec({})).not.toHaveProperty('terminationGracePeriodSeconds');
  });
});

describe('secrets', () => {
  const secret = 'airflow-secrets';
  test('E13 without target and key all entries become variables', () => {
    expect(base({ secrets: [{ deployType: 'env', secret }] })).toMatchObject({
      envFrom: [{ secretRef: { name: secret } }],
    });
    expect(base({ secrets: [{ deployType: 'env', secret }] })).not.toHaveProperty('env');
  });
  test('E14 a key becomes one variable with its name in upper case', () => {
    const container = base({ secrets: [{ deployType: 'env', deployTarget: 'sql_conn', secret, key: 'conn' }] });
    expect(container['env']).toEqual([
      { name: 'SQL_CONN', valueFrom: { secretKeyRef: { name: secret, key: 'conn' } } },
    ]);
    expect(container).not.toHaveProperty('envFrom');
  });
  test.each([
    ['E15', '/etc/foo', []],
    ['E18', '/etc/Foo_Bar', [{ key: 'k', path: 'p' }]],
  ])('%s a volume is mounted read-only at its target, in its case', (_, deployTarget, items) => {
    const pod = spec({ secrets: [{ deployType: 'volume', deployTarget, secret, items }] });
    const [volume] = recordsIn(pod, 'volumes');
    expect(volume).toEqual({
      name: expect.stringMatching(/^secretvol/),
      secret: { secretName: secret, ...(items.length === 0 ? {} : { items }) },
    });
    expect(recordsIn(recordsIn(pod, 'containers')[0], 'volumeMounts')).toEqual([
      { name: volume?.['name'], mountPath: deployTarget, readOnly: true },
    ]);
  });
  test.each([
    ['E16', { deployType: 'configmap', deployTarget: 'X', secret }, 'deployType'],
    ['E17', { deployType: 'env', secret, key: 'k' }, 'deployTarget'],
  ])('%s is refused with its path', (_, wrong, field) => {
    expect(podParamsSchema.safeParse({ image: 'i', secrets: [wrong] }).error?.issues[0]?.path).toEqual([
      'secrets',
      0,
      field,
    ]);
  });
  test('E19 all three kinds are added after the existing entries', () => {
    const container = base({
      envVars: { A: '1' },
      envFrom: [{ configMapRef: { name: 'cm' } }],
      secrets: [
        { deployType: 'env', secret },
        { deployType: 'volume', deployTarget: '/v', secret },
        { deployType: 'env', deployTarget: 'k', secret, key: 'k' },
      ],
    });
    expect(recordsIn(container, 'env').map((one) => one['name'])).toEqual(['A', 'K']);
    expect(recordsIn(container, 'envFrom').map((one) => Object.keys(one)[0])).toEqual(['configMapRef', 'secretRef']);
    expect(container['volumeMounts']).toHaveLength(1);
  });
});

describe('names, labels, namespace', () => {
  test.each([
    ['E20', 'this-task-name', /^this-task-name-[a-z2-7]{10}$/],
    ['E21', '.hi.-_09HI', /^hi-09hi-[a-z2-7]{10}$/],
    ['E22', 'a'.repeat(250), /^a{52}-[a-z2-7]{10}$/],
  ])('%s a pod without a name is named after its task', (_, taskId, expected) => {
    expect(name({}, { context: { ...task, taskId } })).toMatch(expected);
  });
  test('E23 the DAG’s id is not in the name', () => {
    expect(name({}, { context: { ...task, dagId: 'sales' } })).not.toContain('sales');
  });
  test('E24 a given name keeps its beginning, and is unchanged without the suffix, from any source', () => {
    const pod = { metadata: { name: 'given.name' } };
    const podTemplates = { 'pod.yaml': pod };
    for (const from of [{ fullPodSpec: pod }, { podTemplateDict: pod }, { podTemplateFile: 'pod.yaml' }]) {
      expect(name(from, { podTemplates })).toMatch(/^given\.name-[a-z2-7]{10}$/);
      expect(name({ ...from, randomNameSuffix: false }, { podTemplates })).toBe('given.name');
    }
    expect(name({ name: 'given', randomNameSuffix: false })).toBe('given');
  });
  test('E25 underscores become dashes', () => {
    expect(name({ name: 'test_extra-123' })).toMatch(/^test-extra-123-/);
  });
  test.each(['name@extra', 'a'.repeat(300)])('E26 the name %s is refused', (wrong) => {
    expect(() => built({ image: 'i', name: wrong })).toThrow('params.name');
  });
  test.each(['ab-', 'ab--', 'ab.', 'ab..', 'ab-.', `${'a'.repeat(54)}-b`])(
    'E27 %s loses dashes and dots before its suffix',
    (given) => {
      const suffixed = addSuffix(given, 'x7k2m9qz');
      expect(suffixed).toMatch(/^a+b?-x7k2m9qz$/);
      expect(isPodName(suffixed) && suffixed.length <= MAX_POD_NAME).toBe(true);
    },
  );
  test('E28 a run’s pod has the user’s, the task’s and the owner’s labels', () => {
    expect(recordIn(metadata({ labels: { foo: 'bar', none: null } }), 'labels')).toMatchObject({
      ...{ foo: 'bar', none: '', dag_id: 'dag', task_id: 'task', run_id: 'test', try_number: '1' },
      ...{ kubernetes_pod_operator: 'True', [LABELS.installation]: 'i' },
    });
  });
  test.each([
    [10, '10'],
    [0, '0'],
    [-1, undefined],
  ])('E29 map index %s', (mapIndex, expected) => {
    expect(recordIn(metadata({}, { context: { ...task, mapIndex } }), 'labels')['map_index']).toBe(expected);
  });
  test('E30 only null is changed', () => {
    expect(normalizeLabels({ empty: '', zero: 0, false: false, none: null })).toEqual({
      empty: '',
      zero: 0,
      false: false,
      none: '',
    });
  });
  test('E31 a null label is selected as empty', () => {
    const selector = findPodSelector({ a: null, zero: 0, no: false }, undefined);
    expect(selector).toBe('a=,no=false,zero=0,already_checked!=True,!airflow-worker');
  });
  test('E32 a task’s pods are selected by all their labels', () => {
    expect(findPodSelector({ foo: 'bar' }, task)).toBe(
      'dag_id=dag,foo=bar,kubernetes_pod_operator=True,run_id=test,task_id=task,already_checked!=True,!airflow-worker',
    );
  });
  test('E33 ids that are no valid label values are hashed, and fit', () => {
    expect([makeSafeLabelValue('dag*'), makeSafeLabelValue('task*')]).toEqual(['dag-6b24921d4', 'task-b6aca8991']);
    const labels = recordIn(
      metadata({}, { context: { dagId: 'd'.repeat(250), taskId: 't'.repeat(250), runId: 'r'.repeat(250) } }),
      'labels',
    );
    for (const value of Object.values(labels)) expect(String(value).length).toBeLessThanOrEqual(63);
  });
  test('E34 the namespace is the parameter’s, else the pod’s, the connection’s, the service account’s, or default', () => {
    const fullPodSpec = { metadata: { namespace: 'full' } };
    const podTemplateDict = { metadata: { namespace: 'template' } };
    const connection = { defaultNamespace: defaultNamespace('connection', 'account') };
    expect(metadata({ namespace: 'param', fullPodSpec }, connection)['namespace']).toBe('param');
    expect(metadata({ fullPodSpec, podTemplateDict }, connection)['namespace']).toBe('full');
    expect(metadata({ podTemplateDict }, connection)['namespace']).toBe('template');
    expect(metadata({}, connection)['namespace']).toBe('connection');
    expect([defaultNamespace('', 'abc\n'), defaultNamespace('', undefined), defaultNamespace(undefined, '')]).toEqual([
      'abc',
      'default',
      'default',
    ]);
  });
});

describe('merging', () => {
  const template = {
    metadata: { labels: { a: 'template' }, namespace: 'template' },
    spec: {
      serviceAccountName: 'template',
      affinity: { nodeAffinity: {} },
      containers: [{ name: 'x', image: 'template', command: ['template'], imagePullPolicy: 'Never' }],
    },
  };
  test('E35 a full pod alone is unchanged; parameters override and add', () => {
    const pod = built({ fullPodSpec: template });
    expect(pod).toMatchObject({
      metadata: { namespace: 'template', labels: { a: 'template' } },
      spec: { containers: [{ name: 'base', image: 'template', command: ['template'] }] },
    });
    expect(built({ fullPodSpec: template, image: 'param', name: 'n', labels: { b: 'param' } })).toMatchObject({
      metadata: { name: expect.stringMatching(/^n-/), labels: { a: 'template', b: 'param' } },
      spec: { containers: [{ image: 'param' }] },
    });
  });
  test('E36 a template file keeps account, affinity, pull policy and command', () => {
    expect(built({ podTemplateFile: 'pod.yaml' }, { podTemplates: { 'pod.yaml': template } })).toMatchObject({
      spec: {
        serviceAccountName: 'template',
        affinity: { nodeAffinity: {} },
        containers: [{ imagePullPolicy: 'Never', command: ['template'] }],
      },
    });
  });
  test('E37 init containers of a template dict are kept and rendered, labels merged', () => {
    const podTemplateDict = {
      metadata: { labels: { a: 'dict' } },
      spec: { initContainers: [{ name: 'init', image: 'i', args: ['{{ params.foo }}'] }] },
    };
    expect(built({ image: 'i', labels: { b: 'param' }, podTemplateDict }, { context: variables })).toMatchObject({
      metadata: { labels: { a: 'dict', b: 'param' } },
      spec: { initContainers: [{ name: 'init', args: ['one'] }], containers: [{ name: 'base', image: 'i' }] },
    });
  });
  test('E38 merging with an empty side gives the other', () => {
    const pod = { a: 1 };
    for (const empty of [undefined, {}])
      expect([mergeObjects(pod, empty), mergeObjects(empty, pod)]).toEqual([pod, pod]);
  });
  test('E39 only lists are extended', () => {
    expect(() => extendField({ env: 'x' }, { env: [] }, 'env')).toThrow(TypeError);
  });
  test('E40 lists are concatenated, the base’s first; an empty side gives the other', () => {
    expect(extendField({ env: [1] }, { env: [2] }, 'env')['env']).toEqual([1, 2]);
    expect([extendField({ env: [1] }, {}, 'env')['env'], extendField({}, { env: [2] }, 'env')['env']]).toEqual([
      [1],
      [2],
    ]);
  });
  test('E41 containers are paired by position', () => {
    const merged = reconcileContainers(
      [{ name: 'b1', image: 'b1', ports: [{ containerPort: 1 }] }, { name: 'b2' }],
      [{ name: 'c1', ports: [{ containerPort: 2 }] }],
    );
    expect(merged).toEqual([
      { name: 'c1', image: 'b1', ports: [{ containerPort: 1 }, { containerPort: 2 }] },
      { name: 'b2' },
    ]);
  });
  test('E42 the client’s values of a spec win over the base’s', () => {
    expect(reconcileSpecs({ priority: 1, activeDeadlineSeconds: 100 }, { priority: 2 })).toMatchObject({
      priority: 2,
      activeDeadlineSeconds: 100,
    });
  });
  test('E43 init containers of different names are concatenated, those of one name merged', () => {
    const names = (list: readonly JsonRecord[]): readonly unknown[] => list.map((one) => one['name']);
    expect(names(reconcileInitContainers([{ name: 'a' }], [{ name: 'b' }]))).toEqual(['a', 'b']);
    expect(reconcileInitContainers([{ name: 'a', image: 'x' }], [{ name: 'a', image: 'y' }])).toEqual([
      { name: 'a', image: 'y' },
    ]);
  });
  test('E44 an unknown template is refused, with the known names', () => {
    expect(() => built({ image: 'i', podTemplateFile: 'none.yaml' }, { podTemplates: { 'pod.yaml': {} } })).toThrow(
      'no such template (pod.yaml)',
    );
  });
});

test('the given objects are not modified', () => {
  const freeze = <Value>(value: Value): Value => {
    if (isRecord(value) || Array.isArray(value)) Object.values(value).forEach(freeze);
    return Object.freeze(value);
  };
  const params = freeze({
    image: 'i',
    envFrom: [{ secretRef: { name: 's' } }],
    configmaps: ['cm'],
    secrets: [{ deployType: 'volume' as const, deployTarget: '/s', secret: 's' }],
    fullPodSpec: {
      spec: { containers: [{ name: 'x', env: [{ name: 'A', value: '1' }] }], initContainers: [{ name: 'i' }] },
    },
  });
  expect(built(params)).toEqual(built(params));
  expect(createUniqueId(['a'])).toBe('a');
});
