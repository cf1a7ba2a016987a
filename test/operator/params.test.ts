import { expect, test } from 'vitest';
import { recordIn, recordsIn } from '../../src/core/json.ts';
import type { XcomSidecarSettings } from '../../src/core/xcom-sidecar.ts';
import { PodOperator } from '../../src/operator/pod-operator.ts';
import { PodRequests } from '../../src/operator/pod-request.ts';
import { podParamsSchema, type PodParamsInput } from '../../src/operator/params.ts';
import { runRequestSchema } from '../../src/wire/messages.ts';

const check = (params: PodParamsInput, context = {}): readonly string[] =>
  new PodOperator()
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
  [{ image: 'x', podTemplateFile: 'none.yaml' }, 'params.podTemplateFile: no such template (none is configured)'],
  [{ image: 'x', hostnetwork: true }, 'params.hostnetwork: host namespaces are refused'],
  [{ image: 'x', logFormatter: 'mine' }, 'params.logFormatter: no such formatter (none is registered)'],
])('the operator refuses %j', (params, problem) => {
  expect(check(params)).toEqual([problem]);
});

test('names the template that does not render', () => {
  expect(check({ image: 'x', arguments: ['ok', '{{ params.typo }}'] })[0]).toMatch(
    /^params\.arguments\[1\]: template: undefined variable/,
  );
  expect(check({ image: 'x', arguments: ['{% if %}'] })[0]).toMatch(/^params\.arguments\[0\]: template: /);
  expect(check({ image: 'x', arguments: ['{{ params.n | default: 1 }}', 'awk {print}'] })).toEqual([]);
  expect(check({ image: '{{ params.image }}' }, { params: { image: 'alpine' } })).toEqual([]);
});

test('the connection says how a pod carries its result', () => {
  const context = {
    ...{ run: { tenant: 't', runId: 'r' }, installation: 'i', queue: 'q' },
    request: runRequestSchema.parse({}),
  };
  const sidecar = (connection: XcomSidecarSettings, params: PodParamsInput = {}) => {
    const parsed = podParamsSchema.parse({ image: 'x', doXcomPush: true, ...params });
    const manifest = new PodRequests().manifest(context, parsed, 1, { namespace: 'n', xcomSidecar: connection });
    return recordsIn(recordIn(manifest, 'spec'), 'containers')[1];
  };
  expect(sidecar({ image: 'mirror/alpine', securityContext: { runAsUser: 9 } })).toMatchObject({
    ...{ name: 'airflow-xcom-sidecar', image: 'mirror/alpine', securityContext: { runAsUser: 9 } },
  });
  const own = sidecar({ securityContext: { runAsUser: 9 } }, { xcomSidecarContainerSecurityContext: {} });
  expect(own?.['securityContext'] ?? {}).toEqual({});
  expect(sidecar({}, { xcomMode: 'message' })).toBeUndefined();
});
