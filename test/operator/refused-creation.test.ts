import { expect, test } from 'vitest';
import { KubernetesError } from '../../src/errors.ts';
import { launchRefused } from '../../src/operator/creation-failure.ts';

const refused = (message: string) => {
  const error = new KubernetesError(
    'forbidden',
    `create pod ns/p on cluster "c" failed with status 403 Forbidden: ${message}`,
    {
      ...{ status: 403, reason: 'Forbidden' },
    },
  );
  const outcome = launchRefused(error, 'ns', 0);
  return outcome?.kind === 'over' ? outcome.outcome.diagnosis : undefined;
};

test.each([
  'pods "p" is forbidden: no PriorityClass with name no-such was found',
  'pods "p" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false',
  'pods "p" is forbidden: maximum cpu usage per Container is 1, but limit is 2',
])('a creation that an admission plugin refused is diagnosed as such: %s', (message) => {
  const diagnosis = refused(message);
  expect(diagnosis).toMatchObject({ code: 'ADMISSION_REFUSED', category: 'request' });
  expect(diagnosis?.hint).not.toMatch(/service account/);
});

test('a creation that RBAC refused lacks a permission', () => {
  const message =
    'pods is forbidden: User "system:serviceaccount:a:b" cannot create resource "pods" in API group "" in the namespace "ns"';
  expect(refused(message)).toMatchObject({ code: 'PERMISSION_DENIED', hint: expect.stringMatching(/service account/) });
});
