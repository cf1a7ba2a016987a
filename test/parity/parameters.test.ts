/** Each parameter of Airflow's `KubernetesPodOperator` is accepted, has Airflow's default, and sets the field of the pod that `PARAM_FACTS` names. */
import { expect, test } from 'vitest';
import { OPERATOR_DIFFERENCES } from '../support/airflow-operator-differences.ts';
import { isRecord, type JsonRecord } from '../../src/core/json.ts';
import { podManifest } from '../../src/core/pod/manifest.ts';
import { PARAM_FACTS, type ParamFacts } from '../support/param-facts.ts';
import { podParamsSchema } from '../../src/operator/pod-params.ts';
import { ourNames, airflowSymbols } from './symbols.ts';

const parameters = airflowSymbols()
  .filter(({ kind, name }) => kind === 'parameter' && name.startsWith('KubernetesPodOperator.'))
  .map((symbol) => ourNames(symbol).member ?? '');

/** Airflow's defaults that are set; all others are unset: absent, null, or an empty list or map. */
const DEFAULTS: JsonRecord = {
  randomNameSuffix: true,
  reattachOnRestart: true,
  startupTimeoutSeconds: 120,
  startupCheckIntervalSeconds: 5,
  getLogs: true,
  baseContainerName: 'base',
  hostnetwork: false,
  logEventsOnFailure: false,
  doXcomPush: false,
  deferrable: false,
  pollInterval: 2,
  logPodSpecOnFailure: true,
  onFinishAction: 'delete_pod',
  terminationMessagePolicy: 'File',
  // parameters of later releases
  durable: true,
  onKillAction: 'delete_pod',
  baseContainerStatusPollingInterval: 1,
  containerNameLogPrefixEnabled: true,
  logEventsOnStartup: true,
  // parameters that Airflow does not have
  xcomMode: 'auto',
};

const isUnset = (value: unknown): boolean =>
  value === undefined || value === null || (typeof value === 'object' && Object.keys(value).length === 0);

test('every parameter of Airflow’s operator is known', () => {
  expect(parameters.length).toBeGreaterThan(60);
  expect(parameters.filter((name) => !(name in PARAM_FACTS))).toEqual([]);
});

test.each(Object.keys(PARAM_FACTS))('%s has Airflow’s default', (name) => {
  const value = new Map<string, unknown>(Object.entries(podParamsSchema.parse({}))).get(name);
  const differs = OPERATOR_DIFFERENCES.find((row) => row.default?.parameter === name)?.default?.value;
  const expected = differs ?? DEFAULTS[name];
  if (expected === undefined) expect(isUnset(value), JSON.stringify(value)).toBe(true);
  else expect(value).toEqual(expected);
});

const volume = { name: 'v', emptyDir: {} };
const mount = { name: 'v', mountPath: '/v' };
const variable = { name: 'A', value: '1' };

/** A value of each parameter that sets a field of the pod, and the value that the field gets. */
const SAMPLES: Readonly<Record<string, { readonly given: unknown; readonly stands?: unknown }>> = {
  image: { given: 'i:1' },
  name: { given: 'given_name', stands: 'given-name' },
  randomNameSuffix: { given: false, stands: 'task' },
  namespace: { given: 'ns' },
  cmds: { given: ['sh', '-c'] },
  arguments: { given: ['a b', ''] },
  ports: { given: [{ containerPort: 1 }] },
  envVars: { given: { A: '1' }, stands: [variable] },
  envFrom: { given: [{ secretRef: { name: 's' } }] },
  configmaps: { given: ['cm'], stands: [{ configMapRef: { name: 'cm' } }] },
  podRuntimeInfoEnvs: { given: [variable] },
  secrets: {
    given: [{ deployType: 'env', secret: 's', key: 'k', deployTarget: 'pw' }],
    stands: [{ name: 'PW', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } }],
  },
  imagePullPolicy: { given: 'Never' },
  imagePullSecrets: { given: 'a,b', stands: [{ name: 'a' }, { name: 'b' }] },
  containerResources: { given: { limits: { cpu: 1 } }, stands: { limits: { cpu: '1' } } },
  baseContainerName: { given: 'main' },
  terminationMessagePolicy: { given: 'FallbackToLogsOnError' },
  containerSecurityContext: { given: { runAsUser: 1 } },
  volumeMounts: { given: [mount] },
  labels: { given: { a: null }, stands: expect.objectContaining({ a: '' }) },
  annotations: { given: { a: 'b' }, stands: expect.objectContaining({ a: 'b' }) },
  affinity: { given: { nodeAffinity: { x: 1 } } },
  nodeSelector: { given: { a: 'b' } },
  tolerations: { given: [{ operator: 'Exists' }] },
  volumes: { given: [volume] },
  initContainers: { given: [{ name: 'i', image: 'i' }] },
  serviceAccountName: { given: 'sa' },
  automountServiceAccountToken: { given: false },
  hostnetwork: { given: true },
  hostAliases: { given: [{ ip: '1.1.1.1', hostnames: ['h'] }] },
  securityContext: { given: { fsGroup: 1 } },
  dnspolicy: { given: 'None' },
  dnsConfig: { given: { nameservers: ['1.1.1.1'] } },
  hostname: { given: 'h' },
  subdomain: { given: 's' },
  schedulername: { given: 'volcano' },
  priorityClassName: { given: 'high' },
  runtimeClassName: { given: 'gvisor' },
  activeDeadlineSeconds: { given: 60 },
  terminationGracePeriod: { given: 300 },
  xcomSidecarContainerSecurityContext: { given: { runAsUser: 9 } },
};

function at(value: unknown, path: string): unknown {
  return path
    .replace('C0', 'spec.containers.0')
    .replace(/\[(-?\d+)\]/g, '.$1')
    .split('.')
    .reduce<unknown>((here, key) => {
      if (Array.isArray(here)) return here.at(Number(key));
      return isRecord(here) ? here[key] : undefined;
    }, value);
}

const placed = Object.entries<ParamFacts>(PARAM_FACTS).flatMap(([name, { lands }]) =>
  lands === undefined || lands.startsWith('the ') ? [] : [{ name, lands: lands.split(',')[0] ?? '' }],
);

test.each(placed)('$name sets $lands', ({ name, lands }) => {
  const sample = SAMPLES[name];
  expect(sample, 'every parameter that sets a field has a sample').toBeDefined();
  const settings = {
    ...{ installation: 'i', run: { tenant: 't', runId: 'r' }, attempt: 1, queue: 'q', context: { taskId: 'task' } },
    ...{ defaultNamespace: 'default', podSecurity: 'privileged' as const, xcomSidecar: {} },
  };
  const needed = { image: 'i', randomNameSuffix: false, doXcomPush: name.startsWith('xcom') };
  const built = podManifest(podParamsSchema.parse({ ...needed, [name]: sample?.given }), settings);
  expect(at(built, lands)).toEqual(sample?.stands ?? sample?.given);
});

/** Polling intervals: a worker's run does not poll. */
const INERT = ['startupCheckIntervalSeconds', 'pollInterval', 'baseContainerStatusPollingInterval'];

test('a parameter without effect on a worker’s run is described as such, also among the differences', () => {
  const facts = Object.entries<ParamFacts>(PARAM_FACTS);
  expect(facts.flatMap(([name, { inert }]) => (inert === true ? [name] : [])).toSorted()).toEqual(INERT.toSorted());
  for (const [name, { inert, description }] of facts) {
    if (inert !== true) continue;
    expect(description, name).toMatch(/no effect/);
    const theirs = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    const row = OPERATOR_DIFFERENCES.find(({ topic }) => topic.includes(`\`${theirs}\``));
    expect(row?.here, theirs).toMatch(/no effect/);
  }
});
