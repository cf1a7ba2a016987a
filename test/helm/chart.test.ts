import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parseConfig, parseConnections, SETTINGS } from '../../src/config.ts';
import { type JsonRecord, recordIn, recordsIn, textIn } from '../../src/core/json.ts';
import { refusedInSpec } from '../../src/core/pod-security.ts';
import { CLUSTER_ACCESS } from '../../src/core/cluster-access.ts';
import { parsePolicy } from '../../src/policy-file.ts';
import { layoutOf } from '../../src/wire/streams.ts';
import { natsUsers } from '../../src/wire/permissions.ts';
import { chartFiles, NOT_IN_VALUES } from '../support/chart.ts';
import { lint, matrix, rendered } from '../support/helm.ts';

const MATRIX = Object.entries(matrix(['jobs', 'etl']));
const kinds = (objects: readonly JsonRecord[], kind: string) => objects.filter((one) => one['kind'] === kind);
const nameOf = (one: JsonRecord) => textIn(recordIn(one, 'metadata'), 'name') ?? '';
/** The pod spec in a workload or pod. */
const podOf = (one: JsonRecord) => recordIn(recordIn(recordIn(one, 'spec'), 'template'), 'spec');
const workloads = (objects: readonly JsonRecord[]) => [...kinds(objects, 'Deployment'), ...kinds(objects, 'Job')];
const envOf = (container: JsonRecord) =>
  Object.fromEntries(recordsIn(container, 'env').map((one) => [textIn(one, 'name') ?? '', textIn(one, 'value')]));

/** Permissions, order aside. */
function allowed(permissions: unknown) {
  const side = (name: string) =>
    Object.values(recordIn(permissions, name)['allow'] ?? {})
      .map(String)
      .sort();
  return {
    ...{ publish: side('publish'), subscribe: side('subscribe') },
    responses: recordIn(permissions, 'allow_responses'),
  };
}

test('the generated files are up to date (npm run docs)', () => {
  for (const [path, content] of Object.entries(chartFiles()))
    expect(readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')).toBe(content);
});

test('every setting is in the values, or the chart says which value makes it', () => {
  const schema: unknown = JSON.parse(chartFiles()['helm/values.schema.json'] ?? '');
  const known = Object.keys(recordIn(recordIn(recordIn(schema, 'definitions'), 'settings'), 'properties'));
  expect([...known, ...Object.keys(NOT_IN_VALUES)].sort()).toEqual(SETTINGS.map(({ name }) => name).sort());
});

describe('the chart', () => {
  test.each(MATRIX)(
    'is accepted by lint, and its pods read their settings without a complaint: %s',
    async (_, values) => {
      await lint(values);
      const objects = await rendered(values);
      expect(objects.length).toBeGreaterThan(3);
      for (const workload of workloads(objects))
        for (const container of recordsIn(podOf(workload), 'containers')) {
          const env = envOf(container);
          const config = parseConfig({ env });
          expect(config.podSecurity).toBe('restricted');
          const known = SETTINGS.map((setting) => setting.env);
          expect(Object.keys(env).filter((name) => name.startsWith('REENTRY_') && !known.includes(name))).toEqual([]);
          expect(refusedInSpec(podOf(workload), 'pod.spec', 'restricted')).toEqual([]);
          expect(recordIn(container, 'securityContext')['readOnlyRootFilesystem']).toBe(true);
        }
      for (const map of kinds(objects, 'ConfigMap')) {
        const data = recordIn(map, 'data');
        const [connections, policy] = [textIn(data, 'connections.yaml'), textIn(data, 'policy.yaml')];
        if (connections !== undefined) parseConnections('connections.yaml', connections);
        if (policy !== undefined) parsePolicy('policy.yaml', policy);
      }
    },
  );

  test('writes lists, maps and large numbers as the settings read them', async () => {
    const [workload] = workloads(await rendered(matrix([])['policy, clusters and templates'] ?? {}));
    const [container] = recordsIn(podOf(workload ?? {}), 'containers');
    const config = parseConfig({ env: envOf(container ?? {}) });
    expect(config.callbacks).toEqual(['/a.js', '/b.js']);
    expect(config.concurrencyLimits).toEqual({ 'sales/db': 2, '*': 4 });
    expect(config.storageBytes).toBe(10 * 1024 ** 3);
  });

  test.each(MATRIX)('gives a role time to drain before it is killed: %s', async (_, values) => {
    for (const workload of kinds(await rendered(values), 'Deployment')) {
      const grace = podOf(workload)['terminationGracePeriodSeconds'];
      const [container] = recordsIn(podOf(workload), 'containers');
      expect(grace).toBeGreaterThanOrEqual(parseConfig({ env: envOf(container ?? {}) }).drainSeconds + 5);
    }
  });

  test.each(['several namespaces, queues and executors', 'cluster-wide, without exec'])(
    'grants each role the verbs of the table and no other: %s',
    async (name) => {
      const values = matrix(['jobs', 'etl'])[name] ?? {};
      const objects = await rendered(values);
      const isWide = name.startsWith('cluster-wide');
      const roles = kinds(objects, isWide ? 'ClusterRole' : 'Role');
      expect(kinds(objects, isWide ? 'Role' : 'ClusterRole')).toEqual([]);
      expect(roles).toHaveLength(isWide ? 2 : 6);
      for (const role of roles) {
        const granted = recordsIn(role, 'rules').flatMap((rule) => {
          const [resource] = Array.isArray(rule['resources']) ? rule['resources'].map(String) : [];
          return (Array.isArray(rule['verbs']) ? rule['verbs'] : []).map(
            (verb) => `${String(verb)} ${String(resource)}`,
          );
        });
        const which = (['worker', 'executor', 'triggerer'] as const).find((one) => nameOf(role).endsWith(one));
        const table = CLUSTER_ACCESS[which ?? 'worker'].filter((access) => !(isWide && 'onlyFor' in access));
        const wanted = table.map(
          (access) => `${access.verb} ${access.resource}${'subresource' in access ? `/${access.subresource}` : ''}`,
        );
        expect(granted.sort()).toEqual(wanted.sort());
        // Both launch pods with a result's sidecar, and read it.
        if (which !== 'triggerer') expect(granted.includes('create pods/exec')).toBe(!isWide);
        if (which === 'triggerer') expect(granted.join()).not.toMatch(/delete|create|patch|exec/);
      }
    },
  );

  test('tells nats-server its users before setup, one of them, connects', async () => {
    const objects = await rendered(matrix([])['passwords, TLS and users'] ?? {});
    const hookOf = (kind: string, suffix: string) => {
      const found = kinds(objects, kind).find((one) => nameOf(one).endsWith(suffix));
      const annotations = recordIn(recordIn(found, 'metadata'), 'annotations');
      return [annotations['helm.sh/hook'], Number(annotations['helm.sh/hook-weight'] ?? 0)];
    };
    expect(hookOf('ConfigMap', 'nats-users')).toEqual(['pre-install,pre-upgrade', -10]);
    expect(hookOf('Job', 'setup')).toEqual(['pre-install,pre-upgrade', 0]);
  });

  test('makes the users of NATS that the table of permissions makes', async () => {
    const objects = await rendered(matrix([])['passwords, TLS and users'] ?? {});
    const conf = textIn(
      recordIn(
        kinds(objects, 'ConfigMap').find((map) => nameOf(map).endsWith('nats-users')),
        'data',
      ),
      'reentry-users.conf',
    );
    const made = [...(conf ?? '').matchAll(/user: "([^"]+)", password: (\S+),\s+permissions: (\{.*\}) \}/g)].map(
      ([, user, password, permissions = '']) => ({ user, password, permissions: allowed(JSON.parse(permissions)) }),
    );
    const wanted = natsUsers(layoutOf('acme.v1', 'ACME_'), {
      queues: ['default'],
      executorQueues: ['executor'],
      tenants: [
        { tenant: 'sales', feeds: ['billing', 'bi'] },
        { tenant: 'ops', feeds: [] },
      ],
    });
    expect(made).toEqual(
      wanted.map(({ user, passwordFrom, permissions }) => ({
        ...{ user, password: `$${passwordFrom}` },
        permissions: allowed(permissions),
      })),
    );
  });

  test('gives each role its own secret only', async () => {
    const objects = await rendered(matrix([])['credentials files'] ?? {});
    for (const workload of workloads(objects)) {
      const [container] = recordsIn(podOf(workload), 'containers');
      const volume = recordsIn(podOf(workload), 'volumes').find((one) => one['name'] === 'nats');
      expect(recordsIn(recordIn(volume, 'secret'), 'items').map((item) => item['key'])).toEqual([container?.['name']]);
    }
  });

  test.each<[string, object, RegExp]>([
    ['an unknown setting', { config: { natsUrI: 'x' } }, /natsUrI/],
    [
      'a setting of another type',
      { workers: { default: { queues: ['a'], config: { startCredits: 'many' } } } },
      /startCredits/,
    ],
    ['a setting that the chart makes itself', { config: { natsCreds: '/x' } }, /natsCreds/],
    ['a queue that is none', { workers: { default: { queues: ['not a queue'] } } }, /queues/],
    ['a pool without queues', { workers: { extra: {} } }, /queues/],
    ['an unknown value', { worker: {} }, /worker/],
    ['a namespace that is none', { namespaces: ['Jobs'] }, /namespaces/],
    ['too little time to drain', { defaults: { terminationGracePeriodSeconds: 10 } }, /drain/],
    ['credentials without a Secret', { nats: { auth: { method: 'creds' } } }, /nats\.auth\.secret/],
  ])('refuses %s', async (_, values, said) => {
    await expect(rendered(values)).rejects.toThrow(said);
  });
});
