/** Hostile requests of a tenant with its own policy rules. */
import { container, type End, type HostileRun, json, table } from './hostile-rows.ts';

/** The rules of tenant `fenced`; all others may do what `baseline` allows. */
export const POLICY = {
  default: {},
  tenants: {
    fenced: {
      namespaces: ['default'],
      connections: ['default'],
      serviceAccounts: ['default'],
      images: ['alpine', 'registry.example.com/fenced/*'],
      secrets: ['fenced-*'],
      configMaps: ['fenced-*'],
      priorityClasses: [],
      resources: { perContainer: { memory: '1Gi' } },
      fields: {
        never: [
          ...['spec.nodeName', 'spec.nodeSelector', 'spec.tolerations', 'spec.containers.*.lifecycle'],
          ...['metadata.annotations', 'metadata.labels.team.example.com/*', 'spec.volumes.*.emptyDir'],
          "spec.containers.*.resources.limits['example.com/device']",
        ],
      },
      host: { paths: ['/data/fenced'] },
    },
  },
};

const limits = { limits: { memory: '64Mi' } };
/** Requests of tenant `fenced`. */
export const FENCED_RUNS: readonly HostileRun[] = table<readonly [string, object, End, string]>(
  [
    ['nothing forbidden', {}, 'harmless', ''],
    ['another image', { image: 'evil' }, 'POLICY_REFUSED', 'pod.spec.containers[0].image'],
    [
      'an image that begins like an allowed one',
      { image: 'registry.example.com/fenced/a/b' },
      'POLICY_REFUSED',
      'pod.spec.containers[0].image',
    ],
    [
      'an image of a registry with that name',
      { image: 'registry.example.com.evil.io/fenced/a' },
      'POLICY_REFUSED',
      'pod.spec.containers[0].image',
    ],
    [
      'an image in capitals',
      { image: 'REGISTRY.EXAMPLE.COM/fenced/a' },
      'POLICY_REFUSED',
      'pod.spec.containers[0].image',
    ],
    [
      'an image in an init container',
      { initContainers: [{ name: 'i', image: 'evil', resources: limits }] },
      'POLICY_REFUSED',
      'pod.spec.initContainers[0].image',
    ],
    ['a rendered image', { image: '{{ "ev" | append: "il" }}' }, 'POLICY_REFUSED', 'pod.spec.containers[0].image'],
    [
      'a second container',
      {
        fullPodSpec: {
          spec: {
            containers: [
              { ...container, resources: limits },
              { name: 's', image: 'evil', resources: limits },
            ],
          },
        },
      },
      'POLICY_REFUSED',
      'pod.spec.containers[1].image',
    ],
    ['another namespace', { namespace: 'kube-system' }, 'POLICY_REFUSED', 'pod.metadata.namespace'],
    [
      'a namespace in the spec',
      { fullPodSpec: { metadata: { namespace: 'kube-system' }, spec: {} } },
      'POLICY_REFUSED',
      'pod.metadata.namespace',
    ],
    ['another account', { serviceAccountName: 'admin' }, 'POLICY_REFUSED', 'pod.spec.serviceAccountName'],
    [
      'another account by its old name',
      { fullPodSpec: { spec: { serviceAccount: 'admin' } } },
      'POLICY_REFUSED',
      'pod.spec.serviceAccount',
    ],
    [
      'another Secret',
      { secrets: [{ deployType: 'env', deployTarget: 'A', secret: 'root', key: 'k' }] },
      'POLICY_REFUSED',
      'pod.spec.containers[0].env[0].valueFrom.secretKeyRef.name',
    ],
    [
      'a Secret by a volume',
      { volumes: [{ name: 'v', secret: { secretName: 'root' } }] },
      'POLICY_REFUSED',
      'pod.spec.volumes[0].secret.secretName',
    ],
    ['a ConfigMap', { configmaps: ['root'] }, 'POLICY_REFUSED', 'pod.spec.containers[0].envFrom[0].configMapRef.name'],
    ['a priority', { priorityClassName: 'system-node-critical' }, 'POLICY_REFUSED', 'pod.spec.priorityClassName'],
    [
      'more memory',
      { containerResources: { limits: { memory: '1025Mi' } } },
      'POLICY_REFUSED',
      'pod.spec.containers[0].resources.limits.memory',
    ],
    ['no limit', { containerResources: {} }, 'POLICY_REFUSED', 'pod.spec.containers[0].resources.limits.memory'],
    [
      'a limit that is none',
      { containerResources: { limits: { memory: 'lots' } } },
      'POLICY_REFUSED',
      'pod.spec.containers[0].resources.limits.memory',
    ],
    ['a node', { fullPodSpec: { spec: { nodeName: 'control-plane' } } }, 'POLICY_REFUSED', 'pod.spec.nodeName'],
    ['a node by label', { nodeSelector: { role: 'control-plane' } }, 'POLICY_REFUSED', 'pod.spec.nodeSelector.role'],
    [
      'an annotation with dots',
      { annotations: { 'iam.amazonaws.com/role': 'admin' } },
      'POLICY_REFUSED',
      'pod.metadata.annotations.iam.amazonaws.com/role',
    ],
    [
      'an annotation by the spec, beside one of ours',
      { fullPodSpec: { metadata: { annotations: { 'reentry.dev/tenant': 'default', other: 'x' } } } },
      'POLICY_REFUSED',
      'pod.metadata.annotations.other',
    ],
    [
      'a label of a forbidden domain',
      { labels: { 'team.example.com/owner': 'root' } },
      'POLICY_REFUSED',
      'pod.metadata.labels.team.example.com/owner',
    ],
    [
      'a resource with dots',
      { containerResources: { limits: { ...limits.limits, 'example.com/device': 1 } } },
      'POLICY_REFUSED',
      'pod.spec.containers[0].resources.limits.example.com/device',
    ],
    [
      'an empty volume without options',
      { volumes: [{ name: 'v', emptyDir: {} }] },
      'POLICY_REFUSED',
      'pod.spec.volumes[0].emptyDir',
    ],
    [
      'an empty volume that passes for a null',
      { volumes: [{ name: 'v', emptyDir: { medium: null } }] },
      'POLICY_REFUSED',
      'pod.spec.volumes[0].emptyDir',
    ],
    ['nothing forbidden, with a result', { doXcomPush: true, xcomMode: 'sidecar' }, 'harmless', ''],
    [
      'a host path beside the allowed one',
      { volumes: [{ name: 'v', hostPath: { path: '/data/fenced/../other' } }] },
      'INVALID_REQUEST',
      'params.volumes[0].hostPath',
    ],
  ],
  (what, more, end, path) => ({
    ...{ what: `fenced: ${what}`, tenant: 'fenced' as const, body: json({ containerResources: limits, ...more }), end },
    ...(path === '' ? {} : { path }),
  }),
);
