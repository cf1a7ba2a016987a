import { expect, test } from 'vitest';
import { typedPod } from '../../../src/core/pod/typed-pod.ts';

test('scalars of a pod become what Kubernetes expects, written as Python writes them', () => {
  const pod = {
    metadata: { labels: { n: 1, on: true, off: false, half: 0.5 }, annotations: { big: 12_345_678_901 } },
    spec: {
      priority: '7',
      hostNetwork: true,
      nodeSelector: { zone: 3 },
      tolerations: [{ key: 'k', value: true, tolerationSeconds: '30' }],
      containers: [
        {
          name: 'base',
          command: ['sleep', 5],
          args: [true],
          env: [{ name: 'A', value: 1 }, { name: 'B', value: null }, { name: 'C' }],
          ports: [{ containerPort: '8080', name: 'web' }],
          livenessProbe: { httpGet: { port: 'web', path: '/' }, periodSeconds: '10' },
          resources: { limits: { cpu: 0.5, memory: '1Gi' } },
        },
      ],
    },
  };
  expect(typedPod(pod)).toEqual({
    metadata: { labels: { n: '1', on: 'True', off: 'False', half: '0.5' }, annotations: { big: '12345678901' } },
    spec: {
      priority: 7,
      hostNetwork: true,
      nodeSelector: { zone: '3' },
      tolerations: [{ key: 'k', value: 'True', tolerationSeconds: 30 }],
      containers: [
        {
          name: 'base',
          command: ['sleep', '5'],
          args: ['True'],
          env: [{ name: 'A', value: '1' }, { name: 'B', value: null }, { name: 'C' }],
          ports: [{ containerPort: 8080, name: 'web' }],
          livenessProbe: { httpGet: { port: 'web', path: '/' }, periodSeconds: 10 },
          resources: { limits: { cpu: '0.5', memory: '1Gi' } },
        },
      ],
    },
  });
});

test('of YAML, a whole number that was written as a fraction stays one', () => {
  expect(typedPod({ metadata: { labels: { a: 1n, b: 1, c: 1.5 }, generation: 2n } }, 'yaml')).toEqual({
    metadata: { labels: { a: '1', b: '1.0', c: '1.5' }, generation: 2 },
  });
});

test('what fits already is not changed', () => {
  const pod = { apiVersion: 'v1', kind: 'Pod', spec: { containers: [{ name: 'base', env: [], securityContext: {} }] } };
  expect(typedPod(pod)).toEqual(pod);
});
