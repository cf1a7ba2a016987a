import { expect, test } from 'vitest';
import { manifestProblems } from '../../src/policy/manifest-problems.ts';

const paths = (spec: unknown) => manifestProblems({ spec }).map(({ path }) => path);

test('containers that the kubelet would restart are refused, sidecars and plain containers are not', () => {
  expect(
    paths({
      initContainers: [
        { name: 'sidecar', restartPolicy: 'Always' },
        { name: 'init', restartPolicy: 'OnFailure' },
      ],
      containers: [
        { name: 'base', restartPolicy: 'Always' },
        { name: 'rules', restartPolicy: 'Never', restartPolicyRules: [{ action: 'Restart' }] },
        { name: 'plain', restartPolicy: null },
        { name: 'plainer' },
      ],
    }),
  ).toEqual([
    'pod.spec.initContainers[1].restartPolicy',
    'pod.spec.containers[0].restartPolicy',
    'pod.spec.containers[1].restartPolicyRules',
  ]);
  expect(paths(undefined)).toEqual([]);
});
