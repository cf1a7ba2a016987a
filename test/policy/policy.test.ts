import { describe, expect, test } from 'vitest';
import { type JsonRecord, recordIn, recordsIn } from '../../src/core/json.ts';
import { matches } from '../../src/policy/patterns.ts';
import { fullImage, type TenantPolicy } from '../../src/policy/policy.ts';
import type { PodSecurity } from '../../src/core/pod/pod-security.ts';
import { quantityOf } from '../../src/core/quantity.ts';
import { addXcomSidecar, type XcomSidecarSettings } from '../../src/core/pod/xcom-sidecar.ts';
import { ReentryError } from '../../src/errors.ts';
import { checkManifest } from '../../src/policy/check-manifest.ts';
import { parsePolicy } from '../../src/policy/policy-file.ts';

const container = (more: object = {}): JsonRecord => ({ name: 'base', image: 'alpine', ...more });
const pod = (spec: object = {}, metadata: object = {}): JsonRecord => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'p', namespace: 'jobs', ...metadata },
  spec: { restartPolicy: 'Never', containers: [container()], ...spec },
});

function refused(
  manifest: JsonRecord,
  rules: TenantPolicy | undefined,
  {
    podSecurity = 'baseline',
    watched,
    sidecar,
  }: { podSecurity?: PodSecurity; watched?: readonly string[]; sidecar?: XcomSidecarSettings } = {},
) {
  const policy = rules === undefined ? undefined : () => ({ tenants: { sales: rules } });
  return checkManifest(
    manifest,
    { podSecurity, policy },
    { tenant: 'sales', connection: 'eu', defaultNamespace: 'home', watched, sidecar },
  );
}
const paths = (...given: Parameters<typeof refused>) => refused(...given)?.problems.map(({ path }) => path) ?? [];

describe('a tenant’s rule', () => {
  const limited = { perContainer: { cpu: '1', memory: '1Gi' }, perPod: { memory: '1536Mi', 'nvidia.com/gpu': 1 } };
  const resources = (limits: object) => ({ resources: { limits } });
  const ok = { cpu: '500m', memory: '512Mi' };

  test.each<[string, TenantPolicy, JsonRecord, readonly string[]]>([
    ['names namespaces', { namespaces: ['jobs', 'sales-*'] }, pod(), []],
    ['refuses other namespaces', { namespaces: ['sales-*'] }, pod(), ['pod.metadata.namespace']],
    ['refuses other clusters', { connections: ['us'] }, pod(), ['kubernetesConnId']],
    ['counts the default account', { serviceAccounts: ['etl'] }, pod(), ['pod.spec.serviceAccountName']],
    [
      'counts the old spelling',
      { serviceAccounts: ['etl'] },
      pod({ serviceAccount: 'root' }),
      ['pod.spec.serviceAccount'],
    ],
    [
      'counts both spellings',
      { serviceAccounts: ['etl'] },
      pod({ serviceAccountName: 'etl', serviceAccount: 'root' }),
      ['pod.spec.serviceAccount'],
    ],
    ['completes image names', { images: ['docker.io/library/alpine'] }, pod(), []],
    [
      'does not let * cross a slash',
      { images: ['r.io/*'] },
      pod({ containers: [container({ image: 'r.io/a/b' })] }),
      ['pod.spec.containers[0].image'],
    ],
    ['lets ** cross it', { images: ['r.io/**'] }, pod({ containers: [container({ image: 'r.io/a/b:1' })] }), []],
    [
      'takes dots as they are',
      { images: ['r.io/a'] },
      pod({ containers: [container({ image: 'rxio/a' })] }),
      ['pod.spec.containers[0].image'],
    ],
    [
      'sees images of every container and of volumes',
      { images: ['alpine'] },
      pod({
        initContainers: [container({ image: 'evil' })],
        ephemeralContainers: [container({ image: 'evil' })],
        volumes: [{ name: 'v', image: { reference: 'evil' } }],
      }),
      [
        'pod.spec.initContainers[0].image',
        'pod.spec.ephemeralContainers[0].image',
        'pod.spec.volumes[0].image.reference',
      ],
    ],
    [
      'sees every way to a Secret',
      { secrets: ['sales-*'] },
      pod({
        imagePullSecrets: [{ name: 'x' }],
        volumes: [
          { name: 'a', secret: { secretName: 'x' } },
          { name: 'b', projected: { sources: [{ secret: { name: 'sales-ok' } }, { secret: { name: 'x' } }] } },
          { name: 'c', csi: { driver: 'd', nodePublishSecretRef: { name: 'x' } } },
          { name: 'd', csi: { driver: 'file.csi.azure.com', volumeAttributes: { secretName: 'x', shareName: 'y' } } },
        ],
        containers: [
          container({
            env: [{ name: 'A', valueFrom: { secretKeyRef: { name: 'x', key: 'k' } } }],
            envFrom: [{ secretRef: { name: 'x' } }],
          }),
        ],
      }),
      [
        'pod.spec.containers[0].env[0].valueFrom.secretKeyRef.name',
        'pod.spec.containers[0].envFrom[0].secretRef.name',
        'pod.spec.volumes[0].secret.secretName',
        'pod.spec.volumes[1].projected.sources[1].secret.name',
        'pod.spec.volumes[2].csi.nodePublishSecretRef.name',
        'pod.spec.volumes[3].csi.volumeAttributes.secretName',
        'pod.spec.imagePullSecrets[0].name',
      ],
    ],
    ['holds to ceilings', { resources: limited }, pod({ containers: [container(resources(ok))] }), []],
    [
      'asks for a limit where there is a ceiling',
      { resources: limited },
      pod(),
      ['pod.spec.containers[0].resources.limits.cpu', 'pod.spec.containers[0].resources.limits.memory'],
    ],
    [
      'refuses more than a container may have',
      { resources: limited },
      pod({ containers: [container(resources({ ...ok, cpu: 2 }))] }),
      ['pod.spec.containers[0].resources.limits.cpu'],
    ],
    [
      'adds the containers up, sidecars too',
      { resources: limited },
      pod({
        initContainers: [container({ name: 's', restartPolicy: 'Always', ...resources({ cpu: '1m', memory: '1Gi' }) })],
        containers: [container(resources({ cpu: '1m', memory: '1Gi' }))],
      }),
      ['pod.spec'],
    ],
    [
      'counts resources that need no limit only where they are asked for',
      { resources: { perPod: { 'nvidia.com/gpu': 1 } } },
      pod({ containers: [container(resources({ 'nvidia.com/gpu': 2 }))] }),
      ['pod.spec.containers[0].resources.limits.nvidia.com/gpu', 'pod.spec'],
    ],
    [
      'adds tenths up as people do',
      { resources: { perPod: { cpu: '300m' } } },
      pod({ containers: [container(resources({ cpu: '100m' })), container(resources({ cpu: '200m' }))] }),
      [],
    ],
    [
      'sees what is a little more',
      { resources: { perPod: { cpu: '300m' } } },
      pod({ containers: [container(resources({ cpu: '100m' })), container(resources({ cpu: '200001u' }))] }),
      ['pod.spec'],
    ],
    [
      'takes a first part with capitals as the registry that it is',
      { images: ['docker.io/**'] },
      pod({ containers: [container({ image: 'Intranet/evil' })] }),
      ['pod.spec.containers[0].image'],
    ],
    [
      'knows the default registry by its names',
      { images: ['alpine', 'docker.io/sales/**'] },
      pod({
        initContainers: [container({ name: 'i', image: 'index.docker.io/library/alpine' })],
        containers: [container({ image: 'docker.io/alpine' }), container({ name: 's', image: 'sales/etl/load:1' })],
      }),
      [],
    ],
    [
      'refuses what is no quantity',
      { resources: { perPod: { cpu: 1 } } },
      pod({ containers: [container(resources({ cpu: '-1' }))] }),
      ['pod.spec.containers[0].resources.limits.cpu'],
    ],
    [
      'forbids fields',
      { fields: { never: ['spec.nodeSelector'] } },
      pod({ nodeSelector: { gpu: 'yes' } }),
      ['pod.spec.nodeSelector.gpu'],
    ],
    [
      'allows only the fields it names, and what reentry sets',
      { fields: { only: ['spec.containers.*.image'] } },
      pod({ nodeName: 'n1', containers: [container({ tty: false })] }),
      ['pod.spec.containers[0].tty', 'pod.spec.nodeName'],
    ],
  ])('%s', (_, rules, manifest, expected) => {
    expect([...paths(manifest, rules)].sort()).toEqual([...expected].sort());
  });

  test('is named in the refusal, whose code is POLICY_REFUSED', () => {
    expect(refused(pod(), { images: ['r.io/**'] })).toEqual({
      code: 'POLICY_REFUSED',
      problems: [
        { path: 'pod.spec.containers[0].image', message: 'alpine is not allowed (rule tenants.sales.images)' },
      ],
    });
  });

  test('exempts the result sidecar as shipped or configured, but not a changed one', () => {
    const spec = { containers: [container(resources(ok))] };
    const rules = { images: ['alpine'], resources: limited };
    expect(paths(pod(addXcomSidecar(spec)), rules)).toEqual([]);
    expect(paths(pod(addXcomSidecar(spec, { image: 'evil' })), { images: ['alpine'] })).toHaveLength(1);
    const sidecar = { image: 'mirror.test/alpine:3', resources: { limits: { memory: '64Mi' } } };
    const configured = pod(addXcomSidecar(spec, sidecar));
    expect(paths(configured, rules, { sidecar })).toEqual([]);
    expect(paths(pod(addXcomSidecar(spec)), rules, { sidecar })).toEqual([]);
    expect(paths(configured, rules, { sidecar: { image: 'mirror.test/other:3' } })).toContain(
      'pod.spec.containers[1].image',
    );
  });

  test.each<[string, object]>([
    ['a probe that runs a command', { livenessProbe: { exec: { command: ['sh', '-c', 'work'] } } }],
    ['a hook that runs a command', { lifecycle: { postStart: { exec: { command: ['work'] } } } }],
    ['a mount where its shell is looked for', { volumeMounts: [{ name: 'mine', mountPath: '/usr/local/sbin' }] }],
    ['arguments', { args: ['work'] }],
  ])('applies to a container that imitates the result sidecar: %s', (_, more) => {
    for (const sidecar of [{}, { image: 'mirror.test/alpine:3' }]) {
      const own = recordsIn(
        recordIn(pod(addXcomSidecar({ containers: [container(resources(ok))] }, sidecar)), 'spec'),
        'containers',
      )[1];
      const spec = { containers: [container(resources(ok)), { ...own, ...more }] };
      const rules = { images: ['alpine'], resources: limited };
      expect(paths(pod(spec), rules, { sidecar })).toContain('pod.spec.containers[1].image');
    }
  });
});

test('a tenant without rules may run nothing; property names of objects are not tenants', () => {
  for (const tenant of ['other', '__proto__', 'constructor', 'toString'])
    expect(
      checkManifest(
        pod(),
        { podSecurity: 'baseline', policy: () => ({ tenants: {} }) },
        { tenant, connection: 'eu', defaultNamespace: 'home', watched: undefined },
      )?.code,
    ).toBe('POLICY_REFUSED');
});

describe('host resources', () => {
  const hostPod = pod({
    hostNetwork: true,
    volumes: [{ name: 'd', hostPath: { path: '/data/in' } }],
    containers: [
      container({
        ports: [{ hostPort: 8080 }],
        securityContext: { privileged: true, capabilities: { add: ['NET_ADMIN'] } },
      }),
    ],
  });

  test('are refused without a rule, each with its path', () => {
    expect(paths(hostPod, {})).toHaveLength(5);
    expect(refused(hostPod, undefined)?.code).toBe('INVALID_REQUEST');
  });

  test('are allowed one by one', () => {
    const host = { network: true, paths: ['/data'], ports: [8080], privileged: true, capabilities: ['NET_ADMIN'] };
    expect(refused(hostPod, { host })).toBeUndefined();
    expect(paths(hostPod, { host: { ...host, paths: ['/dat'] } })).toEqual(['pod.spec.volumes[0].hostPath']);
    expect(paths(hostPod, { host: { ...host, network: false } })).toEqual(['pod.spec.hostNetwork']);
  });

  test.each(['/data/../etc', '/data/./x', '/database', 'data'])(
    'a path that leads elsewhere is refused: %s',
    (path) => {
      const manifest = pod({ volumes: [{ name: 'd', hostPath: { path } }] });
      expect(paths(manifest, { host: { paths: ['/data'] } })).toEqual(['pod.spec.volumes[0].hostPath']);
    },
  );
});

describe('the check cannot be bypassed by', () => {
  test.each<[string, JsonRecord]>([
    ['another case', pod({ HostNetwork: true })],
    ['another case in a container', pod({ containers: [container({ securitycontext: { privileged: true } })] })],
    ['a second spec', { ...pod(), Spec: { hostPID: true } }],
    ['a map where a list belongs', pod({ containers: { 0: container({ securityContext: { privileged: true } }) } })],
    ['entries that are no objects', pod({ volumes: [[{ hostPath: { path: '/' } }]] })],
    ['a reserved name', { ...pod(), x: JSON.parse('{"__proto__": {"hostNetwork": true}}') }],
    ['a text for a boolean', pod({ hostNetwork: 'true' })],
    ['a number for a boolean', pod({ containers: [container({ securityContext: { privileged: 1 } })] })],
    ['a host path of another type', pod({ volumes: [{ name: 'v', hostPath: '/' }] })],
    [
      'capabilities of another type',
      pod({ containers: [container({ securityContext: { capabilities: { add: 'ALL' } } })] }),
    ],
    ['finalizers', pod({}, { finalizers: ['a/b'] })],
    [
      'AppArmor switched off by annotation',
      pod({}, { annotations: { 'container.apparmor.security.beta.kubernetes.io/base': 'unconfined' } }),
    ],
  ])('%s', (_, manifest) => {
    expect(refused(manifest, undefined)?.problems.length).toBeGreaterThan(0);
  });

  test('a label or an environment variable may be called as it likes', () => {
    const manifest = pod(
      { containers: [container({ env: [{ name: 'HOSTNETWORK', value: 'x' }] })] },
      { labels: { Image: 'x' } },
    );
    expect(refused(manifest, undefined)).toBeUndefined();
  });
});

test('a namespace that is not watched has a code of its own', () => {
  expect(refused(pod(), undefined, { watched: ['etl'] })).toMatchObject({
    code: 'NAMESPACE_NOT_WATCHED',
    subject: 'jobs',
  });
});

test('a hostile name cannot make a pattern search for minutes', () => {
  expect(matches('**a**a**a**a**a**b', 'a'.repeat(1_000))).toBe(false);
  expect(matches('**', 'a'.repeat(300_000))).toBe(false);
});

test('a refusal is short, however long and many the things that are refused', () => {
  const huge = 'x'.repeat(20_000);
  const containers = Array.from({ length: 50 }, () =>
    container({
      image: huge,
      resources: { limits: { cpu: huge } },
      securityContext: { privileged: true, capabilities: { add: [huge] }, seccompProfile: { type: huge } },
    }),
  );
  const rules = { images: ['a'], resources: { perPod: { cpu: 1 } } };
  const annotations = { [`container.apparmor.security.beta.kubernetes.io/${huge}`]: huge };
  const metadata = refused(pod({}, { annotations }), rules)?.problems ?? [];
  expect(metadata.some(({ path }) => path.startsWith('pod.metadata.annotations'))).toBe(true);
  for (const manifest of [pod({ containers }), pod({}, { annotations }), pod({ [huge]: [{ Image: 1 }] })])
    expect(JSON.stringify(refused(manifest, rules)).length).toBeLessThan(12_000);
});

test('patterns and image names', () => {
  expect(matches('a.b*', 'axb')).toBe(false);
  expect(matches('*', 'a/b')).toBe(false);
  expect(matches('**', 'a/b')).toBe(true);
  expect(matches('a', 'a\nb')).toBe(false);
  expect(matches('*/b', 'a/b')).toBe(true);
  expect(matches('r/*-x*y', 'r/-x-xy')).toBe(true);
  expect(matches('**/a/*', 'x/y/a/b/a/c')).toBe(true);
  expect(matches('**/a/*', 'x/a/b/c')).toBe(false);
  expect(fullImage('a/b')).toBe('docker.io/a/b');
  expect(fullImage('localhost/b')).toBe('localhost/b');
  expect(fullImage('r:5000/b')).toBe('r:5000/b');
  expect(fullImage('docker.io/b')).toBe('docker.io/library/b');
  expect(fullImage('docker.io/**')).toBe('docker.io/**');
});

test.each([
  ['1', 1],
  ['500m', 0.5],
  ['1.5Gi', 1.5 * 2 ** 30],
  ['2e3', 2000],
  ['2E3', 2000],
  ['1E', 1e18],
  [4, 4],
  ['', undefined],
  ['1 Gi', undefined],
  ['Infinity', undefined],
  [null, undefined],
])('the quantity %s is %s', (text, value) => {
  expect(quantityOf(text)).toBe(value);
});

describe('parsePolicy', () => {
  test('names every problem at once, and the nearest field', () => {
    try {
      parsePolicy(
        'p.yaml',
        'tenants: { a: { image: [x], resources: { perPod: { cpu: lots } }, host: { paths: [etc] } } }',
      );
      expect.unreachable();
    } catch (error) {
      if (!(error instanceof ReentryError)) throw error;
      expect(error.problems.map(({ path }) => path).sort()).toEqual([
        'p.yaml: tenants.a.host.paths.0',
        'p.yaml: tenants.a.image',
        'p.yaml: tenants.a.resources.perPod.cpu',
      ]);
      expect(error.message).toContain('did you mean images?');
    }
  });

  test('an empty file allows nothing to any tenant', () => {
    expect(parsePolicy('p.yaml', '')).toEqual({ tenants: {} });
  });
});
