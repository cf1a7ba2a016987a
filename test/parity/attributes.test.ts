/** A `KubernetesPodOperator` in an embedding program: its attributes after construction, and its manifest. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { KubernetesPodOperator, openHook } from '../../src/index.ts';
import { isRecord } from '../../src/core/json.ts';
import { ourNames, airflowSymbols } from './symbols.ts';

const folder = mkdtempSync(join(tmpdir(), 'hook-'));
const configFile = join(folder, 'config');
writeFileSync(
  configFile,
  JSON.stringify({
    'current-context': 'one',
    clusters: [{ name: 'c', cluster: { server: 'http://127.0.0.1:1' } }],
    contexts: [
      { name: 'one', context: { cluster: 'c', user: 'u', namespace: 'first' } },
      { name: 'two', context: { cluster: 'c', user: 'u' } },
    ],
    users: [{ name: 'u', user: {} }],
  }),
);
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** Attributes that have a value after construction with only an image; every other attribute is unset. */
const EXPECTED: Readonly<Record<string, unknown>> = {
  image: 'i',
  randomNameSuffix: true,
  reattachOnRestart: true,
  startupTimeoutSeconds: 120,
  startupCheckIntervalSeconds: 5,
  getLogs: true,
  baseContainerName: 'base',
  containerLogs: 'base',
  hostnetwork: false,
  logEventsOnFailure: false,
  doXcomPush: false,
  deferrable: true,
  pollInterval: 2,
  logPodSpecOnFailure: true,
  onFinishAction: 'delete_pod',
  terminationMessagePolicy: 'File',
  kubernetesConnId: 'kubernetes_default',
};
const STATIC = /^[A-Z_]+$|^templateFields/;

test('the attributes exist with Airflow’s values', async () => {
  await using hook = await openHook({ configFile });
  const operator = new KubernetesPodOperator({ image: 'i', hook });
  const values = new Map<string, unknown>(Object.entries(operator));
  const attributes = airflowSymbols()
    .filter(({ kind, name }) => kind === 'attribute' && name.startsWith('KubernetesPodOperator.'))
    .map((symbol) => ourNames(symbol).member ?? '')
    .filter((name) => !STATIC.test(name));
  expect(attributes.length).toBeGreaterThan(55);
  for (const name of attributes) {
    const value = values.get(name);
    const unset =
      value === undefined ||
      value === null ||
      (Array.isArray(value) && value.length === 0) ||
      (isRecord(value) && Object.keys(value).length === 0);
    if (name in EXPECTED) expect.soft(value, name).toEqual(EXPECTED[name]);
    else expect.soft(unset, `${name}: ${JSON.stringify(value)}`).toBe(true);
  }
  expect(operator.skipOnExitCode).toEqual([]);
  expect(operator.callbacks).toEqual([]);
});

test('logs are read from the base container that a subclass names (E64)', async () => {
  await using hook = await openHook({ configFile });
  class Mine extends KubernetesPodOperator {
    static override readonly BASE_CONTAINER_NAME = 'mine';
  }
  const operator = new Mine({ image: 'i', hook });
  expect([operator.baseContainerName, operator.containerLogs]).toEqual(['mine', 'mine']);
});

test('the hook reads the given kubeconfig and context', async () => {
  await using first = await openHook({ configFile });
  await using second = await openHook({ configFile, clusterContext: 'two' });
  await using third = await openHook({ configFile, namespace: 'mine' });
  expect([first, second, third].map((hook) => hook.getNamespace())).toEqual(['first', 'default', 'mine']);
  expect(first.isInCluster).toBe(false);
  await expect(openHook({ configFile, clusterContext: 'none' })).rejects.toThrow('none');
  await expect(openHook({ configFile, inCluster: true })).rejects.toThrow('exclude');
});

test('a task builds its pod, and the dry run prints it without values', async () => {
  await using hook = await openHook({ configFile });
  const operator = new KubernetesPodOperator({
    image: 'i',
    name: 'n',
    envVars: { A: 'secret-value' },
    taskId: 'load',
    hook,
  });
  const manifest = operator.buildPodRequestObj({ dagId: 'dag', tryNumber: 2 });
  expect(manifest).toMatchObject({
    metadata: { namespace: 'first', labels: { dag_id: 'dag', task_id: 'load', try_number: '2' } },
    spec: { containers: [{ name: 'base', image: 'i', env: [{ name: 'A', value: 'secret-value' }] }] },
  });
  expect(JSON.stringify(operator.dryRun())).not.toContain('secret-value');
});
