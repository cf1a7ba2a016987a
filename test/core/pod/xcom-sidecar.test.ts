import { expect, test } from 'vitest';
import { addXcomSidecar, XCOM } from '../../../src/core/pod/xcom-sidecar.ts';

const mount = { name: 'xcom', mountPath: '/airflow/xcom' };

test('the sidecar stands last, its volume and the base container’s mount first', () => {
  const spec = Object.freeze({
    containers: Object.freeze([{ name: 'base', volumeMounts: [{ name: 'v', mountPath: '/v' }] }, { name: 'side' }]),
    volumes: Object.freeze([{ name: 'v', emptyDir: {} }]),
  });
  const withSidecar = addXcomSidecar(spec);
  expect(withSidecar).toEqual({
    containers: [
      { name: 'base', volumeMounts: [mount, { name: 'v', mountPath: '/v' }] },
      { name: 'side' },
      {
        name: 'airflow-xcom-sidecar',
        image: 'alpine:3.24.2',
        command: ['sh', '-c', 'trap "exit 0" INT TERM; while true; do sleep 1; done;'],
        resources: { requests: { cpu: '1m', memory: '10Mi' } },
        volumeMounts: [mount],
      },
    ],
    volumes: [
      { name: 'xcom', emptyDir: {} },
      { name: 'v', emptyDir: {} },
    ],
  });
});

test('a connection’s image, resources and security context replace the defaults whole', () => {
  const settings = { image: 'busybox', resources: { limits: { cpu: '1' } }, securityContext: {} };
  expect(addXcomSidecar({ containers: [{ name: 'base' }] }, settings)['containers']).toMatchObject([
    { name: 'base', volumeMounts: [mount] },
    { image: 'busybox', resources: { limits: { cpu: '1' } }, securityContext: {} },
  ]);
  expect(addXcomSidecar({ containers: [] }, { image: '' })['containers']).toMatchObject([{ image: XCOM.image }]);
});

test('a volume of the user’s with the sidecar’s name is shared, as two of a name are refused', () => {
  expect(addXcomSidecar({ containers: [], volumes: [{ name: 'xcom', hostPath: {} }] })['volumes']).toEqual([
    { name: 'xcom', hostPath: {} },
  ]);
});

test('a spec that has the sidecar already, as one exported from a pod has, gets no second one', () => {
  const once = addXcomSidecar({ containers: [{ name: 'base' }], volumes: [] });
  expect(addXcomSidecar(once)).toEqual(once);
});
