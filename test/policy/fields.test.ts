/** Rules over manifest fields: what a path names, what is never the tenant's, and which paths are refused when the file is loaded. */
import { describe, expect, test } from 'vitest';
import { type JsonRecord, recordIn, recordsIn } from '../../src/core/json.ts';
import type { PodSecurity } from '../../src/core/pod/pod-security.ts';
import type { FieldRules } from '../../src/policy/field-rules.ts';
import { addXcomSidecar } from '../../src/core/pod/xcom-sidecar.ts';
import { ReentryError } from '../../src/errors.ts';
import { commandParamsSchema } from '../../src/operator/command-params.ts';
import { CommandManifests } from '../../src/operator/command-manifests.ts';
import { checkManifest } from '../../src/policy/check-manifest.ts';
import { podParamsSchema } from '../../src/operator/pod-params.ts';
import { PodManifests } from '../../src/operator/pod-manifests.ts';
import { parsePolicy } from '../../src/policy/policy-file.ts';
import { runRequestSchema } from '../../src/wire/run-request.ts';

const container = (more: object = {}): JsonRecord => ({ name: 'base', image: 'alpine', ...more });
const pod = (spec: object = {}, metadata: object = {}): JsonRecord => ({
  ...{ apiVersion: 'v1', kind: 'Pod' },
  metadata: { name: 'p', namespace: 'jobs', ...metadata },
  spec: { restartPolicy: 'Never', containers: [container()], ...spec },
});
/** Through the file, as rules come. */
const rulesOf = (fields: FieldRules) => parsePolicy('p.yaml', JSON.stringify({ default: { fields } }));
const SIDECAR = { image: 'mirror.test/alpine:3', securityContext: { runAsUser: 7 } };

function refused(manifest: JsonRecord, fields: FieldRules, podSecurity: PodSecurity = 'baseline'): readonly string[] {
  const place = { tenant: 't', connection: undefined, defaultNamespace: 'jobs', watched: undefined, sidecar: SIDECAR };
  const policy = rulesOf(fields);
  const refusal = checkManifest(manifest, { podSecurity, policy: () => policy }, place);
  return refusal?.problems.map(({ path }) => path).sort() ?? [];
}

const ROLE = { 'iam.amazonaws.com/role': 'admin' };
const annotated = pod({}, { annotations: ROLE });
const onHost = pod({ nodeSelector: { 'kubernetes.io/hostname': 'n1' } });
const withGpu = pod({ containers: [container({ resources: { limits: { 'nvidia.com/gpu': 1 } } })] });

describe('a path', () => {
  test.each<[string, JsonRecord, string]>([
    ['metadata.annotations.iam.amazonaws.com/role', annotated, 'pod.metadata.annotations.iam.amazonaws.com/role'],
    ["metadata.annotations['iam.amazonaws.com/role']", annotated, 'pod.metadata.annotations.iam.amazonaws.com/role'],
    ['metadata.annotations["iam.amazonaws.com/role"]', annotated, 'pod.metadata.annotations.iam.amazonaws.com/role'],
    ['metadata.annotations."iam.amazonaws.com/role"', annotated, 'pod.metadata.annotations.iam.amazonaws.com/role'],
    ['metadata.annotations.*', annotated, 'pod.metadata.annotations.iam.amazonaws.com/role'],
    ['metadata.annotations.iam.amazonaws.com/*', annotated, 'pod.metadata.annotations.iam.amazonaws.com/role'],
    ['metadata.annotations.*.amazonaws.com/role', annotated, 'pod.metadata.annotations.iam.amazonaws.com/role'],
    ["metadata.annotations['*.amazonaws.com/*']", annotated, 'pod.metadata.annotations.iam.amazonaws.com/role'],
    ['spec.nodeSelector.kubernetes.io/hostname', onHost, 'pod.spec.nodeSelector.kubernetes.io/hostname'],
    ['spec.nodeSelector', onHost, 'pod.spec.nodeSelector.kubernetes.io/hostname'],
    [
      'spec.containers.*.resources.limits.nvidia.com/gpu',
      withGpu,
      'pod.spec.containers[0].resources.limits.nvidia.com/gpu',
    ],
    [
      "spec.containers[0].resources['limits'].nvidia.com/gpu",
      withGpu,
      'pod.spec.containers[0].resources.limits.nvidia.com/gpu',
    ],
    ['spec.containers[*].resources.*.nvidia.com/*', withGpu, 'pod.spec.containers[0].resources.limits.nvidia.com/gpu'],
    ['spec.volumes.*.emptyDir', pod({ volumes: [{ name: 'v', emptyDir: {} }] }), 'pod.spec.volumes[0].emptyDir'],
    [
      'spec.volumes.*.emptyDir',
      pod({ volumes: [{ name: 'v', emptyDir: { medium: null } }] }),
      'pod.spec.volumes[0].emptyDir',
    ],
    ['spec.tolerations', pod({ tolerations: [] }), 'pod.spec.tolerations'],
    ['spec.affinity', pod({ affinity: { nodeAffinity: {} } }), 'pod.spec.affinity.nodeAffinity'],
    ['spec.host*', pod({ hostAliases: [{ ip: '10.0.0.1' }] }), 'pod.spec.hostAliases[0].ip'],
  ])('that is forbidden: %s', (path, manifest, expected) => {
    expect(refused(manifest, { never: [path] })).toEqual([expected]);
  });

  test.each<[string, JsonRecord]>([
    ['metadata.annotations.iam', annotated],
    ['metadata.annotations.iam.amazonaws.com', annotated],
    ["metadata.annotations['iam.amazonaws.com/rol']", annotated],
    ['metadata.annotations.iam.amazonaws.com/role', pod({}, { labels: ROLE })],
    ['spec.containers.1.resources', withGpu],
    ['spec.volumes.*.emptyDir', pod({ volumes: [{ name: 'v', configMap: { name: 'c' } }] })],
    ['spec.nodeSelector', pod({ nodeSelector: null })],
  ])('names whole keys and nothing else: %s', (path, manifest) => {
    expect(refused(manifest, { never: [path] })).toEqual([]);
  });

  test('that is allowed lets through what it names, of labels and annotations too', () => {
    const manifest = pod(
      { nodeSelector: { 'kubernetes.io/hostname': 'n1', zone: 'a' } },
      { annotations: { ...ROLE, 'reentry.dev/tenant': 't', dag_id: 'd' }, labels: { team: 'etl', dag_id: 'd' } },
    );
    const image = 'spec.containers.*.image';
    expect(refused(manifest, { only: [image] })).toEqual([
      'pod.metadata.annotations.iam.amazonaws.com/role',
      'pod.metadata.labels.team',
      'pod.spec.nodeSelector.kubernetes.io/hostname',
      'pod.spec.nodeSelector.zone',
    ]);
    const only = [image, 'metadata.labels', 'metadata.annotations.iam.amazonaws.com/role', 'spec.nodeSelector.zone'];
    expect(refused(manifest, { only })).toEqual(['pod.spec.nodeSelector.kubernetes.io/hostname']);
    expect(refused(pod({ volumes: [] }, { annotations: {} }), { only: [image] })).toEqual(['pod.spec.volumes']);
  });
});

describe('what reentry puts into a pod is not the tenant’s', () => {
  const run = { tenant: 't', runId: 'r' };
  const context = { dagId: 'd', taskId: 't', mapIndex: 1, parentDagId: 'p' };
  const connection = { namespace: 'jobs', xcomSidecar: SIDECAR };
  const made: readonly (readonly [string, (podSecurity: PodSecurity) => JsonRecord])[] = [
    [
      'the pod operator',
      (podSecurity) => {
        const request = runRequestSchema.parse({ context, executionTimeoutSeconds: 60 });
        const params = podParamsSchema.parse({ image: 'alpine', doXcomPush: true });
        const place = { installation: 'i', run, queue: 'q', request };
        return new PodManifests({ podSecurity }).manifest(place, params, 1, connection);
      },
    ],
    [
      'the executor',
      (podSecurity) => {
        const request = runRequestSchema.parse({ operator: 'command', context, executionTimeoutSeconds: 60 });
        const params = commandParamsSchema.parse({ command: ['true'], image: 'alpine', doXcomPush: true });
        const place = { installation: 'i', run, attempt: 1, queue: 'q', request, params, xcomSidecar: SIDECAR };
        return new CommandManifests({ podSecurity }).manifest({ ...place, defaultNamespace: 'jobs' });
      },
    ],
  ];
  const never = [
    ...['metadata.labels', 'metadata.annotations', 'spec.volumes', 'spec.volumes.*.emptyDir', 'spec.securityContext'],
    ...['env', 'volumeMounts', 'resources', 'securityContext', 'terminationMessagePolicy', 'command'].map(
      (field) => `spec.containers.*.${field}`,
    ),
  ];

  const levels: readonly PodSecurity[] = ['baseline', 'restricted'];
  test.each(made.flatMap(([who, make]) => levels.map((level) => ({ who, level, make }))))(
    '$who, $level',
    ({ level, make }) => {
      const manifest = make(level);
      expect(refused(manifest, { never }, level)).toEqual([]);
      expect(refused(manifest, { only: ['spec.containers.*.image', 'spec.containers.*.args'] }, level)).toEqual([]);
    },
  );

  test('but a look-alike that the user wrote is', () => {
    const volumes = [{ name: 'xcom', emptyDir: {} }];
    expect(refused(pod({ volumes }), { never: ['spec.volumes'] })).toEqual([
      'pod.spec.volumes[0].emptyDir',
      'pod.spec.volumes[0].name',
    ]);
    const hardened = pod({ securityContext: { runAsNonRoot: true } });
    expect(refused(hardened, { never: ['spec.securityContext'] })).toEqual(['pod.spec.securityContext.runAsNonRoot']);
    const env = [{ name: 'AIRFLOW_IS_K8S_EXECUTOR_POD', value: 'False' }];
    expect(refused(pod({ containers: [container({ env })] }), { never: ['spec.containers.*.env'] })).toHaveLength(2);
    const { containers } = addXcomSidecar({ containers: [container()] }, SIDECAR);
    const [base, own] = recordsIn({ containers }, 'containers');
    const asRoot = pod({ containers: [base, { ...own, securityContext: { runAsUser: 0 } }] });
    expect(refused(asRoot, { never: ['spec.containers.*.securityContext'] })).toEqual([
      'pod.spec.containers[1].securityContext.runAsUser',
    ]);
    expect(refused(pod({ containers: [base, { ...own, args: ['x'] }] }), { only: ['spec.containers.0'] })).toContain(
      'pod.spec.containers[1].command[0]',
    );
    expect(recordIn(own, 'securityContext')).toEqual(SIDECAR.securityContext);
  });
});

describe('a path that could never mean anything is refused with the file', () => {
  test.each<[string, string]>([
    ['status.phase', 'must be a manifest path'],
    ['pod.spec.nodeName', 'without pod in front'],
    ['spec..nodeName', 'must be a manifest path'],
    ['spec.nodeName.', 'must be a manifest path'],
    ['spec.containers[x].env', 'must be a manifest path'],
    ['metadata.annotations.a b', 'must be a manifest path'],
    ['spec.containers.image', 'spec.containers is a list: write spec.containers.*.image'],
    ['spec.containers.*.env.name', 'spec.containers.*.env is a list'],
    ['spec.nodeSelectr', 'did you mean nodeSelector?'],
    ['spec.hostnetwork', 'did you mean hostNetwork?'],
    ['spec.containers.*.lifecyle', 'did you mean lifecycle?'],
    ['spec.containers.*.xyz*', 'no field of spec.containers.* matches xyz*'],
    ['metadata.anotations', 'did you mean annotations?'],
    ['metadata.unheardOf', 'metadata has no field unheardOf'],
    ['spec.nodeName.zone', 'spec.nodeName has no fields'],
    ["metadata.annotations['a/b'].c", 'a key of metadata.annotations has no fields'],
    ['metadata.annotations.a/b/c', 'metadata.annotations cannot have the key a/b/c'],
    ["spec.nodeSelector['a b']", 'spec.nodeSelector cannot have the key a b'],
  ])('%s', (path, message) => {
    for (const rule of ['only', 'never']) {
      try {
        parsePolicy('p.yaml', JSON.stringify({ tenants: { a: { fields: { [rule]: ['spec.nodeName', path] } } } }));
        expect.unreachable();
      } catch (error) {
        if (!(error instanceof ReentryError)) throw error;
        expect(error.problems.map((problem) => problem.path)).toEqual([`p.yaml: tenants.a.fields.${rule}.1`]);
        expect(error.message).toContain(path);
        expect(error.message).toContain(message);
      }
    }
  });

  test.each([
    'metadata.name',
    'metadata.namespace',
    'spec.restartPolicy',
    'metadata.labels.dag_id',
    'spec.containers.*.name',
  ])('nor can what reentry sets itself be forbidden: %s', (path) => {
    expect(() => rulesOf({ never: [path] })).toThrow('reentry sets this field itself');
    expect(() => rulesOf({ only: [path] })).not.toThrow();
  });

  test('a field that Kubernetes may have tomorrow is none of them', () => {
    expect(() => rulesOf({ never: ['spec.somethingNobodyHasThoughtOf.x', 'spec.affinity.any.thing'] })).not.toThrow();
  });
});
