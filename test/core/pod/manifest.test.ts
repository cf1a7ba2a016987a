import { describe, expect, test } from 'vitest';
import { findPodSelector, installationSelector, makeSafeLabelValue, podLabels } from '../../../src/core/pod/labels.ts';
import {
  podManifest,
  type ManifestSettings,
  redactedManifest,
  refusedInParams,
} from '../../../src/core/pod/manifest.ts';
import { reconcilePods } from '../../../src/core/pod/merge.ts';
import { attemptSuffix, normalizeName, podName } from '../../../src/core/pod/names.ts';
import { projectPod } from '../../../src/core/pod/projection.ts';
import { recordIn, recordsIn } from '../../../src/core/json.ts';
import { podParamsSchema, type PodParamsInput } from '../../../src/operator/pod-params.ts';

const run = { tenant: 't', runId: 'orders/1' };
const settings: ManifestSettings = {
  ...{ installation: 'main', run, attempt: 2, queue: 'q', context: { dagId: 'dag*', taskId: 'load it', mapIndex: 3 } },
  ...{ defaultNamespace: 'jobs', podSecurity: 'baseline' },
};
const build = (params: PodParamsInput, more: Partial<ManifestSettings> = {}) =>
  podManifest(podParamsSchema.parse(params), { ...settings, ...more });
const spec = (params: PodParamsInput, more: Partial<ManifestSettings> = {}) => recordIn(build(params, more), 'spec');

/** Labels of a pod that an executor retained, as in an exported manifest. */
const MARKS = {
  ...{ already_checked: 'True', airflow_executor_done: 'True', airflow_pod_revoked: 'x' },
  ...{ kubernetes_executor: 'True', 'airflow-worker': 'executor', team: 'etl' },
};

describe('a pod’s name', () => {
  test('is the same for the same attempt and another for the next', () => {
    const name = podName({ name: 'load', randomNameSuffix: true }, run, 1);
    expect(name).toMatch(/^load-[a-z2-7]{10}$/);
    expect(podName({ name: 'load', randomNameSuffix: true }, run, 1)).toBe(name);
    expect(attemptSuffix(run, 2)).not.toBe(attemptSuffix(run, 1));
    expect(attemptSuffix({ tenant: 'a/b', runId: 'c' }, 1)).not.toBe(attemptSuffix({ tenant: 'a', runId: 'b/c' }, 1));
  });
  test.each([
    [{ name: 'a'.repeat(99), randomNameSuffix: true }, /^a{52}-[a-z2-7]{10}$/],
    [{ taskId: '.hi.-_09HI', randomNameSuffix: true }, /^hi-09hi-[a-z2-7]{10}$/],
    [{ randomNameSuffix: true }, /^pod-[a-z2-7]{10}$/],
    [{ name: 'as-it-is', randomNameSuffix: false }, /^as-it-is$/],
    [{ taskId: 'Straße', randomNameSuffix: false }, /^strasse$/],
  ])('%o', (wanted, name) => {
    expect(podName(wanted, run, 1)).toMatch(name);
  });
  test('given names become Kubernetes names', () => {
    expect(normalizeName('test_extra-123')).toBe('test-extra-123');
    expect(normalizeName('_a.b_')).toBe('a-b');
  });
});

describe('a base without a value', () => {
  test('leaves the client’s value, even an empty one', () => {
    const base = { spec: { automountServiceAccountToken: null, enableServiceLinks: undefined, nodeSelector: null } };
    const client = { spec: { automountServiceAccountToken: false, enableServiceLinks: false, nodeSelector: {} } };
    expect(reconcilePods(base, client)['spec']).toMatchObject(client.spec);
    expect(
      spec({ image: 'i', automountServiceAccountToken: false }, { template: base })['automountServiceAccountToken'],
    ).toBe(false);
  });
});

describe('labels', () => {
  test.each([
    ['dag*', 'dag-6b24921d4'],
    ['task*', 'task-b6aca8991'],
    ['fine_1.2', 'fine_1.2'],
  ])('%s is %s', (text, value) => {
    expect(makeSafeLabelValue(text)).toBe(value);
  });
  test('are valid for any ids', () => {
    for (const text of ['***', '', 'é', 'x'.repeat(512), '-a-']) {
      expect(makeSafeLabelValue(text)).toMatch(/^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$/);
    }
  });
  test('that mark a pod are no part of its task’s selector', () => {
    expect(findPodSelector(MARKS, undefined)).toBe('team=etl,already_checked!=True,!airflow-worker');
  });
  test('select the pods of their run and installation', () => {
    const labels = podLabels(settings);
    expect(installationSelector('main')).toBe(`reentry.dev/installation=${labels['reentry.dev/installation'] ?? ''}`);
    expect(labels).toMatchObject({
      dag_id: 'dag-6b24921d4',
      map_index: '3',
      try_number: '2',
      kubernetes_pod_operator: 'True',
    });
    expect(labels['reentry.dev/run']).toMatch(/^[0-9a-f]{16}$/);
  });
});

describe('a manifest', () => {
  test('of an image only', () => {
    const manifest = build({ image: 'alpine' });
    expect(manifest).toEqual({
      ...{ apiVersion: 'v1', kind: 'Pod', status: undefined },
      metadata: {
        name: `load-it-${attemptSuffix(run, 2)}`,
        namespace: 'jobs',
        labels: podLabels(settings),
        annotations: {
          'reentry.dev/tenant': 't',
          'reentry.dev/run-id': 'orders/1',
          'reentry.dev/attempt-number': '2',
          'reentry.dev/queue': 'q',
          'reentry.dev/base-container': 'base',
        },
      },
      spec: {
        containers: [{ name: 'base', image: 'alpine', terminationMessagePolicy: 'File' }],
        restartPolicy: 'Never',
      },
    });
    expect(projectPod('c', manifest)).toMatchObject({ ...run, attempt: 2, baseContainer: 'base', phase: 'Pending' });
  });

  test('has each parameter in its field', () => {
    const [base] = recordsIn(
      spec({
        image: 'i',
        cmds: ['sh'],
        arguments: ['-c', 'true'],
        envVars: { A: '1' },
        configmaps: ['cm'],
        containerResources: { limits: { cpu: '1' } },
        secrets: [
          { deployType: 'env', deployTarget: 'pw', secret: 's', key: 'k' },
          { deployType: 'volume', deployTarget: '/s', secret: 's' },
        ],
      }),
      'containers',
    );
    expect(base).toMatchObject({
      command: ['sh'],
      args: ['-c', 'true'],
      env: [
        { name: 'A', value: '1' },
        { name: 'PW', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } },
      ],
      envFrom: [{ configMapRef: { name: 'cm' } }],
      resources: { limits: { cpu: '1' } },
      volumeMounts: [{ mountPath: '/s', readOnly: true }],
    });
  });

  test.each<[string, PodParamsInput]>([
    ['labels', { labels: MARKS }],
    ['fullPodSpec', { fullPodSpec: { metadata: { labels: MARKS } } }],
    ['podTemplateDict', { podTemplateDict: { metadata: { labels: MARKS } } }],
  ])('has no outcome label of another pod from %s, and is not an executor’s', (_, given) => {
    const manifest = build({ image: 'alpine', ...given });
    expect(recordIn(manifest['metadata'], 'labels')).toEqual({ ...podLabels(settings), team: 'etl' });
    expect(projectPod('c', manifest)).toMatchObject({ alreadyChecked: false });
    expect(projectPod('c', manifest).executor).toBeUndefined();
  });

  test('parameters win over fullPodSpec, which wins over the template', () => {
    const manifest = build({
      image: 'param',
      fullPodSpec: {
        metadata: { labels: { a: 'full' } },
        spec: { containers: [{ name: 'x', image: 'full', command: ['full'] }] },
      },
      podTemplateDict: {
        metadata: { labels: { a: 'dict', b: 'dict' }, namespace: 'dict' },
        spec: {
          containers: [{ name: 'y', image: 'dict', workingDir: '/dict' }, { name: 'side' }],
          serviceAccountName: 'sa',
        },
      },
    });
    expect(manifest).toMatchObject({
      metadata: { namespace: 'dict', labels: { a: 'full', b: 'dict' } },
      spec: {
        serviceAccountName: 'sa',
        containers: [{ name: 'base', image: 'param', command: ['full'], workingDir: '/dict' }, { name: 'side' }],
      },
    });
  });

  test('mirrors the execution time-out with half a minute of slack', () => {
    expect(spec({ image: 'i' }, { executionTimeoutSeconds: 10 })['activeDeadlineSeconds']).toBe(40);
    expect(
      spec({ image: 'i', activeDeadlineSeconds: 5 }, { executionTimeoutSeconds: 10 })['activeDeadlineSeconds'],
    ).toBe(5);
    expect(spec({ image: 'i' })['activeDeadlineSeconds']).toBeUndefined();
  });

  test('runs as user 65534 at level restricted', () => {
    expect(spec({ image: 'i', securityContext: { runAsUser: 0 } }, { podSecurity: 'restricted' })).toMatchObject({
      securityContext: { runAsNonRoot: true, runAsUser: 65_534 },
      containers: [{ securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } } }],
    });
  });

  test('hides environment values when printed', () => {
    const shown = redactedManifest(build({ image: 'i', envVars: { TOKEN: 'secret' } }));
    expect(JSON.stringify(shown)).not.toContain('secret"');
    expect(recordsIn(recordIn(shown, 'spec'), 'containers')[0]?.['env']).toEqual([{ name: 'TOKEN', value: '***' }]);
  });
});

test.each<[PodParamsInput, string]>([
  [{ hostnetwork: true }, 'params.hostnetwork'],
  [{ volumes: [{ name: 'v', hostPath: { path: '/' } }] }, 'params.volumes[0].hostPath'],
  [{ containerSecurityContext: { privileged: true } }, 'params.containerSecurityContext.privileged'],
  [
    { containerSecurityContext: { capabilities: { add: ['SYS_ADMIN'] } } },
    'params.containerSecurityContext.capabilities.add',
  ],
  [{ ports: [{ containerPort: 1, hostPort: 80 }] }, 'params.ports[0].hostPort'],
  [{ fullPodSpec: { spec: { hostPID: true } } }, 'params.fullPodSpec.spec.hostPID'],
  [
    { podTemplateDict: { spec: { containers: [{ name: 'x', securityContext: { privileged: true } }] } } },
    'params.podTemplateDict.spec.containers[0].securityContext.privileged',
  ],
])('refuses fields that endanger a node, with their path: %#', (params, path) => {
  expect(refusedInParams(podParamsSchema.parse({ image: 'i', ...params })).map((problem) => problem.path)).toEqual([
    path,
  ]);
});

test('merging changes neither side', () => {
  const low = Object.freeze({ metadata: Object.freeze({ labels: Object.freeze({ a: '1' }) }) });
  const high = Object.freeze({ metadata: Object.freeze({ labels: Object.freeze({ b: '2' }) }) });
  expect(reconcilePods(low, high)).toEqual({ metadata: { labels: { a: '1', b: '2' } } });
});
