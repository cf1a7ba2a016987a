import { expect, test } from 'vitest';
import { constructPod } from '../../../src/operator/construct-pod.ts';
import { mergeObjects } from '../../../src/core/pod/merge.ts';

test('an empty object of fields resets what has a lower priority, an empty map of keys or list does not', () => {
  const base = {
    securityContext: { runAsUser: 1 },
    affinity: { a: 1 },
    nodeSelector: { zone: 'a' },
    tolerations: [{}],
  };
  const client = { securityContext: {}, affinity: {}, nodeSelector: {}, tolerations: [] };
  expect(mergeObjects(base, client)).toEqual({ ...base, securityContext: {}, affinity: {} });
});

test('a task sheds the security context and the resources of the template', () => {
  const template = {
    spec: {
      securityContext: { fsGroup: 1, runAsUser: 2 },
      containers: [{ name: 'base', image: 'i', resources: { limits: { cpu: '1' } }, env: [{ name: 'A', value: 'a' }] }],
    },
  };
  const pod = constructPod({
    ...{ dagId: 'd', taskId: 't', runId: 'r', tryNumber: 1, mapIndex: -1, owner: 'o', logicalDate: undefined },
    ...{ podId: 'p', namespace: 'n', args: ['x'], baseWorkerPod: template },
    podOverride: { spec: { securityContext: {}, containers: [{ resources: {} }] } },
  });
  expect(pod).toMatchObject({
    spec: { securityContext: {}, containers: [{ image: 'i', resources: {}, env: [{ name: 'A' }, expect.anything()] }] },
  });
});
