import { describe, expect, test } from 'vitest';
import { recordIn, recordsIn } from '../../src/core/json.ts';
import { projectPod } from '../../src/core/pod/projection.ts';
import { commandParamsSchema, type CommandParamsInput } from '../../src/operator/command-params.ts';
import { CommandManifests, type CommandManifestOptions } from '../../src/operator/command-manifests.ts';
import { runRequestSchema } from '../../src/wire/run-request.ts';
import { DEFAULTS } from '../support/defaults.ts';

const template = {
  metadata: { name: 'placeholder', namespace: 'placeholder', labels: { team: 'etl' } },
  spec: {
    serviceAccountName: 'airflow-worker',
    containers: [{ name: 'base', image: 'placeholder', env: [{ name: 'FROM', value: 'template' }] }],
  },
};
/** Labels of retained pods, as exported manifests have them. */
const MARKS = {
  ...{ already_checked: 'True', airflow_executor_done: 'True', airflow_pod_revoked: 'x' },
  ...{ kubernetes_pod_operator: 'True', team: 'etl' },
};
const run = { tenant: 'sales', runId: 'load-1' };

function manifest(
  given: CommandParamsInput,
  options: Partial<CommandManifestOptions> = {},
  attempt = 1,
  context: object = {},
) {
  const params = commandParamsSchema.parse(given);
  const request = runRequestSchema.parse({ operator: 'command', params: given, context });
  const place = { installation: 'i', queue: 'executor', defaultNamespace: 'jobs' };
  return new CommandManifests({ ...DEFAULTS.command, ...options }).manifest({
    ...place,
    run,
    attempt,
    request,
    params,
  });
}
const problems = (given: CommandParamsInput, options: Partial<CommandManifestOptions> = {}) =>
  new CommandManifests({ ...DEFAULTS.command, ...options }).check(
    runRequestSchema.parse({ operator: 'command', params: given }),
    commandParamsSchema.parse(given),
  );

describe('the pod of a command', () => {
  test('is the same for the same attempt, another for the next, and labelled with its owner', () => {
    const context = { dagId: 'sales', taskId: 'load', mapIndex: 3, runId: 'manual__1' };
    const first = manifest({ command: ['true'], image: 'alpine' }, {}, 1, context);
    expect(manifest({ command: ['true'], image: 'alpine' }, {}, 1, context)).toEqual(first);
    expect(first['metadata']).toMatchObject({
      name: expect.stringMatching(/^sales-load-[a-z2-7]{10}$/),
      namespace: 'jobs',
      labels: {
        kubernetes_executor: 'True',
        'airflow-worker': 'executor',
        dag_id: 'sales',
        task_id: 'load',
        run_id: 'manual__1',
        try_number: '1',
        map_index: '3',
        'reentry.dev/installation': 'i',
        'reentry.dev/attempt': '1',
      },
      annotations: { 'reentry.dev/tenant': 'sales', 'reentry.dev/run-id': 'load-1', 'reentry.dev/queue': 'executor' },
    });
    expect(recordIn(first['metadata'], 'labels')).not.toHaveProperty('kubernetes_pod_operator');
    const second = manifest({ command: ['true'], image: 'alpine' }, {}, 2, context);
    expect(recordIn(second, 'metadata')['name']).not.toBe(recordIn(first, 'metadata')['name']);
  });

  test('is merged from template, task, request and override, in that order; the command becomes arguments', () => {
    const made = manifest(
      {
        command: ['airflow', 'tasks', 'run', 'd', 't', 'r'],
        envVars: { FROM_REQUEST: 1 },
        labels: { owner: 'me' },
        executorConfig: {
          podOverride: {
            metadata: { labels: { owner: 'override', release: 'stable' } },
            spec: { containers: [{ image: 'override:1', env: [{ name: 'FROM', value: 'override' }] }] },
          },
        },
      },
      { podTemplate: template, image: 'executor:1' },
    );
    const [base] = recordsIn(recordIn(made, 'spec'), 'containers');
    expect(base).toMatchObject({
      name: 'base',
      image: 'override:1',
      args: ['airflow', 'tasks', 'run', 'd', 't', 'r'],
      env: [
        { name: 'FROM', value: 'template' },
        { name: 'AIRFLOW_IS_K8S_EXECUTOR_POD', value: 'True' },
        { name: 'FROM_REQUEST', value: '1' },
        { name: 'FROM', value: 'override' },
      ],
    });
    expect(made['spec']).toMatchObject({ serviceAccountName: 'airflow-worker', restartPolicy: 'Never' });
    expect(recordIn(made['metadata'], 'labels')).toMatchObject({ team: 'etl', owner: 'override', release: 'stable' });
  });

  test('has image and namespace of the request, else of the executor, else of template and connection', () => {
    const imageOf = (given: CommandParamsInput, options: Partial<CommandManifestOptions>) =>
      recordsIn(recordIn(manifest(given, options), 'spec'), 'containers')[0]?.['image'];
    expect(imageOf({ command: ['x'], image: 'mine' }, { podTemplate: template, image: 'executor' })).toBe('mine');
    expect(imageOf({ command: ['x'] }, { podTemplate: template, image: 'executor' })).toBe('executor');
    expect(imageOf({ command: ['x'] }, { podTemplate: template })).toBe('placeholder');
    const namespaceOf = (given: CommandParamsInput, options: Partial<CommandManifestOptions>) =>
      recordIn(manifest(given, options), 'metadata')['namespace'];
    expect(namespaceOf({ command: ['x'], namespace: 'mine' }, { namespace: 'executor' })).toBe('mine');
    expect(namespaceOf({ command: ['x'] }, { namespace: 'executor', podTemplate: template })).toBe('executor');
    expect(namespaceOf({ command: ['x'] }, {})).toBe('jobs');
  });

  test('is never restarted by Kubernetes, regardless of override and template', () => {
    const spec = { restartPolicy: 'Always' };
    const overridden = manifest({ command: ['x'], image: 'i', executorConfig: { podOverride: { spec } } }, {});
    const templated = manifest({ command: ['x'], image: 'i' }, { podTemplate: { spec } });
    for (const made of [overridden, templated]) expect(recordIn(made, 'spec')['restartPolicy']).toBe('Never');
  });

  test('cannot be given another identity by an override', () => {
    const labels = { 'reentry.dev/run': 'forged', kubernetes_executor: 'False', 'reentry.dev/installation': 'other' };
    const annotations = { 'reentry.dev/tenant': 'other' };
    const made = manifest({
      command: ['x'],
      image: 'a',
      executorConfig: { podOverride: { metadata: { name: 'mine', labels, annotations } } },
    });
    expect(made['metadata']).toMatchObject({
      name: expect.stringMatching(/^mine-[a-z2-7]{10}$/),
      labels: { 'reentry.dev/installation': 'i', kubernetes_executor: 'True' },
      annotations: { 'reentry.dev/tenant': 'sales' },
    });
    expect(recordIn(made['metadata'], 'labels')['reentry.dev/run']).not.toBe('forged');
  });

  test.each<[string, CommandParamsInput, Partial<CommandManifestOptions>]>([
    ['the request', { command: ['x'], image: 'a', labels: MARKS }, {}],
    [
      'an override',
      { command: ['x'], image: 'a', executorConfig: { podOverride: { metadata: { labels: MARKS } } } },
      {},
    ],
    ['a template', { command: ['x'], image: 'a' }, { podTemplate: { metadata: { labels: MARKS } } }],
  ])('has no mark of another pod that %s brings', (_, given, options) => {
    const made = manifest(given, options);
    expect(projectPod('c', made)).toMatchObject({ alreadyChecked: false, executor: { done: false, revoked: false } });
    const { already_checked, kubernetes_pod_operator, team } = recordIn(made['metadata'], 'labels');
    expect({ already_checked, kubernetes_pod_operator, team }).toEqual({ team: 'etl' });
  });

  test('accepts the oldest dictionary form', () => {
    const made = manifest({
      command: ['x'],
      executorConfig: { KubernetesExecutor: { image: 'old:1', request_memory: '64Mi', labels: { a: 'b' } } },
    });
    const [base] = recordsIn(recordIn(made, 'spec'), 'containers');
    expect(base).toMatchObject({ image: 'old:1', resources: { requests: { memory: '64Mi' } } });
    expect(recordIn(made['metadata'], 'labels')).toMatchObject({ a: 'b' });
  });
});

describe('a command request is refused with the path of its problem', () => {
  test.each<[string, CommandParamsInput, string]>([
    ['no image anywhere', { command: ['x'] }, 'params.image'],
    [
      'an unknown template',
      { command: ['x'], executorConfig: { podTemplateFile: 'nope' } },
      'params.executorConfig.podTemplateFile',
    ],
    [
      'both forms',
      {
        command: ['x'],
        image: 'a',
        executorConfig: { podOverride: { spec: {} }, KubernetesExecutor: { image: 'b' } },
      },
      'params.executorConfig',
    ],
    [
      'a host network',
      { command: ['x'], image: 'a', executorConfig: { podOverride: { spec: { hostNetwork: true } } } },
      'params.executorConfig.podOverride.spec.hostNetwork',
    ],
    [
      'a name that is none',
      { command: ['x'], image: 'a', executorConfig: { podOverride: { metadata: { name: 'a b' } } } },
      'params.executorConfig.podOverride.metadata.name',
    ],
  ])('%s', (_, given, path) => {
    expect(problems(given).map((problem) => problem.path)).toContain(path);
  });

  test.each([
    ['no command', {}, ['command']],
    ['an empty command', { command: [] }, ['command']],
    ['a connection’s settings', { command: ['x'], configFile: '/etc/k' }, ['configFile']],
    ['an unknown field of the config', { command: ['x'], executorConfig: { podOverrides: {} } }, ['executorConfig']],
  ])('%s', (_, given, path) => {
    expect(commandParamsSchema.safeParse(given).error?.issues.map((issue) => issue.path)).toContainEqual(path);
  });

  test('a request is the same after JSON', () => {
    const given = {
      command: ['sh', '-c', 'echo "{{ x }}"'],
      image: 'a',
      executorConfig: { podOverride: { spec: {} } },
    };
    const params = commandParamsSchema.parse(given);
    expect(commandParamsSchema.parse(JSON.parse(JSON.stringify(params)))).toEqual(params);
    const [base] = recordsIn(recordIn(manifest(given), 'spec'), 'containers');
    expect(base?.['args']).toEqual(given.command);
  });
});
