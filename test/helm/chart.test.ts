import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { ROLES } from '../../src/process/roles.ts';
import { parseConfig, SETTINGS } from '../../src/config.ts';
import { parseConnections } from '../../src/process/connections-file.ts';
import { type JsonRecord, recordIn, recordsIn, textIn } from '../../src/core/json.ts';
import { refusedInSpec } from '../../src/core/pod/pod-security.ts';
import { accessOf, accessText } from '../../src/core/rbac.ts';
import { parsePolicy } from '../../src/policy/policy-file.ts';
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
const argsOf = (one: JsonRecord) => {
  const [container] = recordsIn(podOf(one), 'containers');
  return z.array(z.string()).parse(container?.['args']);
};
/** The roles in a Deployment's process: `reentry worker`, `reentry serve worker triggerer`. */
const rolesOf = (one: JsonRecord) => {
  const args = argsOf(one);
  return z.array(z.enum(ROLES)).parse(args[0] === 'serve' ? args.slice(1) : args);
};
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

test('every setting is in the values, or derived from a value that the chart names', () => {
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

  test.each([
    ['several namespaces, queues and executors', ['worker', 'executor', 'triggerer']],
    ['cluster-wide, without exec', ['worker', 'triggerer']],
    ['one process of several roles', ['serve']],
    ['one process of all roles, and pools beside it', ['serve', 'worker']],
  ])('grants each process the verbs of its roles in the table and no other: %s', async (name, components) => {
    const values = matrix(['jobs', 'etl'])[name] ?? {};
    const objects = await rendered(values);
    const isWide = values['clusterWide'] === true;
    const roles = kinds(objects, isWide ? 'ClusterRole' : 'Role');
    expect(kinds(objects, isWide ? 'Role' : 'ClusterRole')).toEqual([]);
    expect(roles).toHaveLength(components.length * (isWide ? 1 : 2));
    for (const role of roles) {
      const granted = recordsIn(role, 'rules').flatMap((rule) => {
        const [resource] = Array.isArray(rule['resources']) ? rule['resources'].map(String) : [];
        return (Array.isArray(rule['verbs']) ? rule['verbs'] : []).map((verb) => `${String(verb)} ${String(resource)}`);
      });
      const which = components.find((one) => nameOf(role).endsWith(one)) ?? '';
      const [workload] = kinds(objects, 'Deployment').filter((one) => nameOf(one).includes(which));
      const table = accessOf(rolesOf(workload ?? {})).filter((access) => !(isWide && access.onlyFor === 'results'));
      expect(granted.sort()).toEqual(table.map(accessText).sort());
      // All but the triggerer launch pods with a result's sidecar, and read it.
      if (which !== 'triggerer') expect(granted.includes('create pods/exec')).toBe(!isWide);
      if (which === 'triggerer') expect(granted.join()).not.toMatch(/delete|create|patch|exec/);
    }
  });

  test.each([
    ['one process of several roles', { 'demo-reentry-serve': ['serve', 'worker', 'triggerer'] }],
    [
      'one process of all roles, and pools beside it',
      {
        'demo-reentry-serve': ['serve', 'worker', 'triggerer', 'executor'],
        'demo-reentry-worker-gpu': ['worker'],
      },
    ],
  ])('replaces the default Deployments of its roles by serve: %s', async (name, wanted) => {
    const objects = await rendered(matrix([])[name] ?? {});
    const made = kinds(objects, 'Deployment').map((one) => [nameOf(one), argsOf(one)] as const);
    expect(Object.fromEntries(made)).toEqual(wanted);
    for (const kind of ['PodDisruptionBudget', 'Pod'])
      expect(kinds(objects, kind).map((one) => nameOf(one).replace(/-doctor$/, ''))).toContain('demo-reentry-serve');
    const doctor = kinds(objects, 'Pod').find((one) => nameOf(one) === 'demo-reentry-serve-doctor');
    const [asked] = recordsIn(recordIn(doctor, 'spec'), 'containers');
    expect(asked?.['args']).toEqual(['doctor', '--role', ...wanted['demo-reentry-serve'].slice(1)]);
  });

  test('sets up the queues that are served, by one process or several', async () => {
    const queuesOf = async (name: string) => {
      const [job] = kinds(await rendered(matrix([])[name] ?? {}), 'Job');
      const [container] = recordsIn(podOf(job ?? {}), 'containers');
      const { queues, executorQueues } = parseConfig({ env: envOf(container ?? {}) });
      return [queues, executorQueues];
    };
    expect(await queuesOf('defaults')).toEqual([['default'], ['executor']]);
    expect(await queuesOf('one process of several roles')).toEqual([['default'], ['executor']]);
    const [queues, executorQueues] = await queuesOf('one process of all roles, and pools beside it');
    expect(queues?.toSorted()).toEqual(['gpu', 'small']);
    expect(executorQueues).toEqual(['nightly']);
  });

  test('scales what has queues on what waits in them, and a triggerer on the runs that wait', async () => {
    const scaled = async (name: string) =>
      Object.fromEntries(
        kinds(await rendered(matrix([])[name] ?? {}), 'HorizontalPodAutoscaler').map((one) => {
          const [metric] = recordsIn(recordIn(one, 'spec'), 'metrics');
          return [nameOf(one), recordIn(recordIn(metric, 'external'), 'metric')];
        }),
      );
    const waitingIn = (...values: readonly string[]) => ({
      name: 'reentry_queue_waiting',
      selector: {
        matchExpressions: [
          { key: 'queue', operator: 'In', values },
          { key: 'why', operator: 'In', values: ['worker', 'turn'] },
        ],
      },
    });
    expect(await scaled('scaling and spreading')).toEqual({
      'demo-reentry-worker': waitingIn('default'),
      'demo-reentry-executor': waitingIn('executor'),
      'demo-reentry-triggerer': { name: 'reentry_subscriptions_owned' },
    });
    expect(await scaled('one process of all roles, and pools beside it')).toEqual({
      'demo-reentry-serve': waitingIn('small', 'nightly'),
      'demo-reentry-worker-gpu': waitingIn('gpu'),
    });
  });

  test('gives nats-server its users before setup, one of them, connects', async () => {
    const objects = await rendered(matrix([])['passwords, TLS and users'] ?? {});
    const hookOf = (kind: string, suffix: string) => {
      const found = kinds(objects, kind).find((one) => nameOf(one).endsWith(suffix));
      const annotations = recordIn(recordIn(found, 'metadata'), 'annotations');
      return [annotations['helm.sh/hook'], Number(annotations['helm.sh/hook-weight'] ?? 0)];
    };
    expect(hookOf('ConfigMap', 'nats-users')).toEqual(['pre-install,pre-upgrade', -10]);
    expect(hookOf('Job', 'setup')).toEqual(['pre-install,pre-upgrade', 0]);
  });

  test.each<[string, Parameters<typeof layoutOf>, Parameters<typeof natsUsers>[1]]>([
    [
      'passwords, TLS and users',
      ['acme.v1', 'ACME_'],
      {
        ...{ queues: ['default'], executorQueues: ['executor'] },
        tenants: [
          { tenant: 'sales', feeds: ['billing', 'bi'] },
          { tenant: 'ops', feeds: [] },
        ],
      },
    ],
    [
      'one process of several roles',
      ['reentry.v1', 'REENTRY_'],
      {
        ...{ queues: ['default'], executorQueues: ['executor'], tenants: [{ tenant: 'default', feeds: [] }] },
        processes: [['worker', 'triggerer'], ['executor']],
      },
    ],
    [
      'one process of all roles, and pools beside it',
      ['reentry.v1', 'REENTRY_'],
      {
        ...{ queues: ['small', 'gpu'], executorQueues: ['nightly'], tenants: [{ tenant: 'default', feeds: [] }] },
        processes: [['worker', 'triggerer', 'executor'], ['worker']],
      },
    ],
  ])('makes the users of NATS that the table of permissions makes: %s', async (name, layout, settings) => {
    const objects = await rendered(matrix([])[name] ?? {});
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
    const wanted = natsUsers(layoutOf(...layout), settings);
    expect(made).toEqual(
      wanted.map(({ user, passwordFrom, permissions }) => ({
        ...{ user, password: `$${passwordFrom}` },
        permissions: allowed(permissions),
      })),
    );
  });

  test.each(['credentials files', 'one process of several roles', 'one process of all roles, and pools beside it'])(
    'mounts only the process’s own secret: %s',
    async (name) => {
      const objects = await rendered(matrix([])[name] ?? {});
      for (const workload of workloads(objects)) {
        const [container] = recordsIn(podOf(workload), 'containers');
        const volume = recordsIn(podOf(workload), 'volumes').find((one) => one['name'] === 'nats');
        expect(recordsIn(recordIn(volume, 'secret'), 'items').map((item) => item['key'])).toEqual([
          container?.['name'],
        ]);
      }
    },
  );

  test.each<[string, object, RegExp]>([
    ['an unknown setting', { config: { natsUrI: 'x' } }, /natsUrI/],
    [
      'a setting of another type',
      { workers: { default: { queues: ['a'], config: { startCredits: 'many' } } } },
      /startCredits/,
    ],
    ['a setting that the chart makes itself', { config: { natsCreds: '/x' } }, /natsCreds/],
    ['a queue that is none', { workers: { default: { queues: ['not a queue'] } } }, /queues/],
    ['one role to serve', { serve: { enabled: true, roles: ['worker'] } }, /roles/],
    ['a role to serve that is none', { serve: { enabled: true, roles: ['worker', 'client'] } }, /roles/],
    ['a pool without queues', { workers: { extra: {} } }, /queues/],
    ['an unknown value', { worker: {} }, /worker/],
    ['a namespace that is none', { namespaces: ['Jobs'] }, /namespaces/],
    ['too little time to drain', { defaults: { terminationGracePeriodSeconds: 10 } }, /drain/],
    ['credentials without a Secret', { nats: { auth: { method: 'creds' } } }, /nats\.auth\.secret/],
  ])('refuses %s', async (_, values, text) => {
    await expect(rendered(values)).rejects.toThrow(text);
  });
});
