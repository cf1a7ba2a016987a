import { expect, test } from 'vitest';
import { recordIn, recordsIn } from '../../src/core/json.ts';
import type { XcomSidecarSettings } from '../../src/core/pod/xcom-sidecar.ts';
import { podOperator } from '../../src/operator/define-operator.ts';
import { PodManifests } from '../../src/operator/pod-manifests.ts';
import { podParamsSchema, type PodParamsInput } from '../../src/operator/pod-params.ts';
import { runRequestSchema } from '../../src/wire/run-request.ts';
import { DEFAULTS } from '../support/defaults.ts';

const check = (params: PodParamsInput, context = {}): readonly string[] =>
  podOperator
    .with(DEFAULTS.pod)
    .check(runRequestSchema.parse({ context }), podParamsSchema.parse(params))
    .map(({ path, message }) => `${path}: ${message}`);

test.each([
  [{ imgae: 'x' }, 'imgae'],
  [{ image: 'x', configFile: '/home/me/.kube/config' }, 'kubernetesConnId'],
  [{ image: 'x', inCluster: true }, 'kubernetesConnId'],
  [{ image: 'x', xcomMode: 'file' }, 'sidecar'],
  [{ image: 'x', secrets: [{ deployType: 'env', secret: 's', key: 'k' }] }, 'deployTarget'],
  [{ image: 'x', onFinishAction: 'delete' }, 'delete_pod'],
])('the schema refuses %j', (params, word) => {
  const parsed = podParamsSchema.safeParse(params);
  expect(parsed.success).toBe(false);
  expect(JSON.stringify(parsed.error?.issues)).toContain(word);
});

test.each<[PodParamsInput, string]>([
  [{}, 'params.image: is required (here, in fullPodSpec or in the template)'],
  [{ image: 'x', name: 'a@b' }, 'params.name: may contain letters, digits, "_", "." and "-" only'],
  ...['..', '.', 'a/b', 'A', '-a', 'a'.repeat(64)].map((namespace): [PodParamsInput, string] => [
    { image: 'x', namespace },
    'params.namespace: is no namespace: up to 63 lower-case letters, digits and "-", a letter or digit at both ends',
  ]),
  [{ image: 'x', podTemplateFile: 'none.yaml' }, 'params.podTemplateFile: no such template (none is configured)'],
  [{ image: 'x', hostnetwork: true }, 'params.hostnetwork: host namespaces are not allowed'],
  [{ image: 'x', logFormatter: 'mine' }, 'params.logFormatter: no such formatter (none is registered)'],
])('the operator refuses %j', (params, problem) => {
  expect(check(params)).toEqual([problem]);
});

test('the operator names the template that does not render', () => {
  expect(check({ image: 'x', arguments: ['ok', '{{ params.typo }}'] })[0]).toMatch(
    /^params\.arguments\[1\]: template: undefined variable/,
  );
  expect(check({ image: 'x', arguments: ['{% if %}'] })[0]).toMatch(/^params\.arguments\[0\]: template: /);
  expect(check({ image: 'x', arguments: ['{{ params.n | default: 1 }}', 'awk {print}'] })).toEqual([]);
  expect(check({ image: '{{ params.image }}' }, { params: { image: 'alpine' } })).toEqual([]);
});

test.each([
  ['a text with a template', '{"DAY": "{{ params.day }}"}', [{ name: 'DAY', value: 'friday' }]],
  ['a map without a template', { DAY: 'monday' }, [{ name: 'DAY', value: 'monday' }]],
])('environment variables are read from %s', (_, envVars, env) => {
  const request = runRequestSchema.parse({ context: { params: { day: 'friday' } } });
  const context = { run: { tenant: 't', runId: 'r' }, installation: 'i', queue: 'q', request };
  const manifests = new PodManifests(DEFAULTS.pod);
  const { params } = manifests.rendered(context.run, request, podParamsSchema.parse({ image: 'x', envVars }), 1);
  const manifest = manifests.manifest(context, podParamsSchema.parse(params), 1, { namespace: 'n' });
  expect(recordsIn(recordIn(manifest, 'spec'), 'containers')[0]?.['env']).toEqual(env);
});

test('the connection decides how a pod returns its result', () => {
  const context = {
    ...{ run: { tenant: 't', runId: 'r' }, installation: 'i', queue: 'q' },
    request: runRequestSchema.parse({}),
  };
  const sidecar = (connection: XcomSidecarSettings, params: PodParamsInput = {}) => {
    const parsed = podParamsSchema.parse({ image: 'x', doXcomPush: true, ...params });
    const manifest = new PodManifests(DEFAULTS.pod).manifest(context, parsed, 1, {
      namespace: 'n',
      xcomSidecar: connection,
    });
    return recordsIn(recordIn(manifest, 'spec'), 'containers')[1];
  };
  expect(sidecar({ image: 'mirror/alpine', securityContext: { runAsUser: 9 } })).toMatchObject({
    ...{ name: 'airflow-xcom-sidecar', image: 'mirror/alpine', securityContext: { runAsUser: 9 } },
  });
  const own = sidecar({ securityContext: { runAsUser: 9 } }, { xcomSidecarContainerSecurityContext: {} });
  expect(own?.['securityContext'] ?? {}).toEqual({});
  expect(sidecar({}, { xcomMode: 'message' })).toBeUndefined();
});

test.each([
  ['{{ params.n+1 }}', 'no operators'],
  ["{{ ds.replace('-', '') }}", 'no methods'],
  ["{{ params.n | default('x') }}", 'arguments after a colon'],
  ['{% if ds in params.days %}x{% endif %}', 'list contains a'],
  ['{% elif %}', 'elif is elsif'],
])(
  'a template that means something else in Liquid than in Jinja is refused with the right spelling: %s',
  (text, word) => {
    expect(check({ image: 'x', arguments: [text] }, { params: { n: 1, days: [] } })[0]).toContain(word);
  },
);

test('a name of dashes is refused in short time', () => {
  expect(check({ image: 'x', name: `a${'-'.repeat(2_000_000)}a` })[0]).toContain('longer than 220');
});

test.each(['{% if ', '{{a if ', '{%- if a in', '{{ "a'])(
  'many unfinished templates are refused in short time: %s',
  (part) => {
    expect(check({ image: 'x', arguments: [part.repeat(10_000)] })[0]).toContain('not closed');
  },
);

test('all templates of a request together have one time limit for rendering', () => {
  const loop = '{% for i in (1..1000) %}{% for j in (1..1000) %}{% if i == j %}{% endif %}{% endfor %}{% endfor %}';
  const problems = check({ image: 'x', arguments: Array<string>(500).fill(loop) });
  expect(problems).toHaveLength(500);
  expect(problems[499]).toContain('render limit exceeded');
});

test('in templates empty texts and 0 are false, and Airflow’s names for null and booleans are known', () => {
  const text = '{% if params.a %}a{% endif %}{% if params.b %}b{% endif %}{% if params.c == None %}c{% endif %}';
  const params = podParamsSchema.parse({ image: 'x', arguments: [text, '{{ params.d | upper }}', '{{ params.e }}'] });
  const request = runRequestSchema.parse({ context: { params: { a: '', b: 0, c: null, d: 'x', e: { k: [1] } } } });
  const rendered = new PodManifests(DEFAULTS.pod).rendered({ tenant: 't', runId: 'r' }, request, params, 1);
  expect(rendered.params?.arguments).toEqual(['c', 'X', '{"k":[1]}']);
});
