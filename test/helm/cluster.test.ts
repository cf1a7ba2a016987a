import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { clusterFindings } from '../../src/commands/doctor.ts';
import { parseConfig } from '../../src/config.ts';
import { accessText, CLUSTER_ACCESS } from '../../src/core/rbac.ts';
import { isRecord, type JsonRecord, recordIn, recordsIn, textIn } from '../../src/core/json.ts';
import { targetOf } from '../../src/kubernetes/kubeconfig.ts';
import { matrix, rendered } from '../support/helm.ts';
import { type ClusterUnderTest, freshName, TARGETS } from '../support/kubernetes.ts';
import { aNatsServer, type TestServer } from '../support/nats-server.ts';
import { type ReentryProcess, runReentry, startReentry } from '../support/processes.ts';

const given = TARGETS.find(({ name }) => name.includes('KUBECONFIG'));
if (given === undefined) throw new Error('the chart is tried on the Kubernetes of KUBECONFIG');
describe('the chart on a real Kubernetes', () => {
  suite(given.start);
});

const WITH_GROUPS: Readonly<Record<string, string>> = {
  NetworkPolicy: 'networkpolicies',
};
const pluralOf = (kind: string) => WITH_GROUPS[kind] ?? `${kind.toLowerCase()}s`;
const CLUSTER_SCOPED = ['Namespace', 'ClusterRole', 'ClusterRoleBinding'];

function collectionOf(object: JsonRecord, namespace: string): string {
  const [apiVersion, kind] = [textIn(object, 'apiVersion') ?? '', textIn(object, 'kind') ?? ''];
  const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const own = textIn(object['metadata'], 'namespace') ?? namespace;
  return `${root}${CLUSTER_SCOPED.includes(kind) ? '' : `/namespaces/${own}`}/${pluralOf(kind)}`;
}

/** As little of the Prometheus operator as its objects need to be taken. */
const crd = (kind: string) => ({
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: `${kind.toLowerCase()}s.monitoring.coreos.com` },
  spec: {
    group: 'monitoring.coreos.com',
    scope: 'Namespaced',
    names: { kind, plural: `${kind.toLowerCase()}s`, singular: kind.toLowerCase(), listKind: `${kind}List` },
    versions: [
      {
        ...{ name: 'v1', served: true, storage: true },
        schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
      },
    ],
  },
});

function suite(start: () => Promise<ClusterUnderTest>): void {
  let api: ClusterUnderTest;
  let folder: string;
  let [release, tasks, more] = ['', '', ''];
  const crds: string[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'reentry-chart-'));
    api = await start();
    [release, tasks, more] = [await api.namespace(), await api.namespace(), await api.namespace()];
    const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
    for (const name of [release, tasks])
      await api.raw('PATCH', `/api/v1/namespaces/${name}`, { metadata: { labels } }, 'application/merge-patch+json');
    const path = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
    for (const kind of ['ServiceMonitor', 'PrometheusRule']) {
      const made = await api.raw('POST', path, crd(kind));
      if (made.status === 201) crds.push(`${path}/${crd(kind).metadata.name}`);
      const served = async () =>
        (await api.raw('GET', `/apis/monitoring.coreos.com/v1/namespaces/${release}/${pluralOf(kind)}`)).status;
      await vi.waitUntil(async () => (await served()) === 200, { timeout: 30_000 });
    }
  });
  afterAll(async () => {
    for (const path of crds) await api.raw('DELETE', path);
    await api[Symbol.asyncDispose]();
    await rm(folder, { recursive: true });
  });

  test.each(Object.keys(matrix([])))('every object is accepted: %s', async (name) => {
    for (const object of await rendered(matrix([tasks, more])[name] ?? {}, release)) {
      // The account of a pod does not exist in a dry run.
      const spec = { ...recordIn(object, 'spec'), serviceAccountName: 'default' };
      const body = textIn(object, 'kind') === 'Pod' ? { ...object, spec } : object;
      const path = `${collectionOf(object, release)}?dryRun=All&fieldValidation=Strict`;
      const reply = await api.raw('POST', path, body);
      const what = `${textIn(object, 'kind') ?? ''} ${textIn(object['metadata'], 'name') ?? ''}`;
      expect({
        what,
        status: reply.status,
        message: reply.status === 201 ? '' : textIn(reply.body, 'message'),
      }).toEqual({
        ...{ what, status: 201, message: '' },
      });
    }
  });

  test('its own pods are admitted where `restricted` is enforced', async () => {
    const objects = Object.values(matrix([tasks, more])).map((values) => rendered(values, release));
    for (const object of (await Promise.all(objects)).flat()) {
      const template = recordIn(object['spec'], 'template');
      const kind = textIn(object, 'kind');
      if (kind !== 'Deployment' && kind !== 'Job' && kind !== 'Pod') continue;
      // The account does not exist in a dry run.
      const spec = { ...(kind === 'Pod' ? recordIn(object, 'spec') : recordIn(template, 'spec')) };
      const pod = {
        ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name: freshName('admit') } },
        spec: { ...spec, serviceAccountName: 'default' },
      };
      const reply = await api.raw('POST', `/api/v1/namespaces/${release}/pods?dryRun=All&fieldValidation=Strict`, pod);
      expect({ status: reply.status, message: reply.status === 201 ? '' : textIn(reply.body, 'message') }).toEqual({
        ...{ status: 201, message: '' },
      });
    }
  });

  describe('with its Roles and its users of NATS', () => {
    const opened: AsyncDisposable[] = [];
    const tenants = ['sales', 'ops'];
    let nats: TestServer;
    const env: Record<string, Record<string, string>> = {};

    async function accountOf(account: string): Promise<string> {
      const path = `/api/v1/namespaces/${release}/serviceaccounts/${account}/token`;
      const { body } = await api.raw('POST', path, {
        ...{ apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { expirationSeconds: 3600 } },
      });
      const { cluster } = targetOf('test', { kubeconfig: api.kubeconfig }, {});
      const file = join(folder, `${account}.kubeconfig`);
      const entry = { server: cluster.server, 'certificate-authority-data': cluster.caData };
      await writeFile(
        file,
        JSON.stringify({
          ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'c' },
          clusters: [{ name: 'c', cluster: entry }],
          users: [{ name: 'u', user: { token: textIn(recordIn(body, 'status'), 'token') } }],
          contexts: [{ name: 'c', context: { cluster: 'c', user: 'u', namespace: tasks } }],
        }),
      );
      return file;
    }

    beforeAll(async () => {
      const objects = await rendered(
        {
          namespaces: [tasks],
          nats: { users: { enabled: true, tenants: tenants.map((name) => ({ name, feeds: [] })) } },
          executors: { default: { enabled: true, queues: ['executor'] } },
        },
        release,
      );
      for (const object of objects) {
        if (!['ServiceAccount', 'Role', 'RoleBinding'].includes(textIn(object, 'kind') ?? '')) continue;
        expect((await api.raw('POST', collectionOf(object, release), object)).status).toBe(201);
      }
      const map = objects.find((one) => textIn(one['metadata'], 'name')?.endsWith('-nats-users'));
      const conf = textIn(recordIn(map, 'data'), 'reentry-users.conf') ?? '';
      // In a cluster the passwords come from nats-server's environment.
      const config = conf.replace(/\$REENTRY_NATS_PASSWORD_(\w+)/g, (_, name: string) => `"pw-${name}"`);
      nats = await aNatsServer({ config });
      opened.push(nats);
      for (const user of ['setup', 'worker', 'executor', 'triggerer', ...tenants.map((name) => `client-${name}`)]) {
        const passFile = join(folder, `${user}.password`);
        await writeFile(passFile, `pw-${user.toUpperCase().replace(/[^A-Z0-9]/g, '_')}\n`);
        env[user] = {
          REENTRY_NATS_URL: nats.url,
          REENTRY_NATS_USER: `reentry-${user}`,
          REENTRY_NATS_PASS_FILE: passFile,
          REENTRY_CACHE_FOLDER: folder,
          REENTRY_STORAGE_BYTES: String(512 * 1024 ** 2),
        };
      }
      for (const role of ['worker', 'executor', 'triggerer'])
        env[role] = {
          ...env[role],
          REENTRY_KUBECONFIG: await accountOf(`demo-reentry-${role}`),
          REENTRY_NAMESPACES: tasks,
          REENTRY_INSTALLATION: freshName('chart'),
          REENTRY_POD_SECURITY: 'restricted',
          REENTRY_HTTP_PORT: '0',
          REENTRY_LOG_FORMAT: 'json',
        };
      // One installation for all.
      for (const role of ['executor', 'triggerer'])
        Object.assign(env[role] ?? {}, { REENTRY_INSTALLATION: env['worker']?.['REENTRY_INSTALLATION'] });
      const made = await runReentry(['setup'], { ...env['setup'] });
      expect(made).toMatchObject({ code: 0 });
      const roles: ReentryProcess[] = ['worker', 'triggerer', 'executor'].map((role) =>
        startReentry([role], { ...env[role] }),
      );
      opened.push(...roles);
      for (const role of roles) await vi.waitUntil(() => / started/.test(role.stderr()), { timeout: 30_000 });
    });
    afterAll(async () => {
      for (const one of opened.reverse()) await one[Symbol.asyncDispose]();
    });

    const cli = (user: string, ...args: readonly string[]) =>
      runReentry(args, { ...env[user], ...(user.startsWith('client-') ? { REENTRY_TENANT: user.slice(7) } : {}) });
    const onRealNode = ['--param', `nodeSelector=${JSON.stringify({ 'node.reentry.dev/kind': 'real' })}`];

    test('a run of a non-root pod succeeds, with its log', async () => {
      const script = 'id -u; echo hello';
      const run = await cli(
        ...(['client-sales', 'submit', '--wait', '--logs', '--image', 'busybox', ...onRealNode] as const),
        ...['--', 'sh', '-c', script],
      );
      expect(run).toMatchObject({ code: 0, stdout: '65534\nhello\n' });
    });

    test('results are read from sidecars, of a pod run and of a command', async () => {
      const script = 'echo "{\\"n\\": 7}" > /airflow/xcom/return.json';
      const asked = [
        'client-sales',
        'submit',
        '--wait',
        '--json',
        '--image',
        'busybox',
        '--param',
        'doXcomPush=true',
      ] as const;
      const spec = { nodeSelector: { 'node.reentry.dev/kind': 'real' } };
      const override = ['--command', '--param', `executorConfig=${JSON.stringify({ podOverride: { spec } })}`];
      for (const more of [onRealNode, override]) {
        const run = await cli(...asked, ...more, '--', 'sh', '-c', script);
        expect(run).toMatchObject({ code: 0 });
        expect(JSON.parse(run.stdout)).toMatchObject({ state: 'succeeded', result: { n: 7 } });
      }
    });

    test('a failure is explained, and a running pod cancelled', async () => {
      const failed = await cli(
        ...(['client-sales', 'submit', '--wait', '--image', 'busybox', '--run-id', 'bad', ...onRealNode] as const),
        ...['--', 'sh', '-c', 'exit 3'],
      );
      expect(failed.code).toBe(1);
      expect((await cli('client-sales', 'explain', 'bad')).stdout).toContain('CONTAINER_FAILED');
      const long = await cli(
        ...(['client-sales', 'submit', '--image', 'busybox', '--run-id', 'long', ...onRealNode] as const),
        ...['--param', 'terminationGracePeriod=1', '--', 'sleep', '300'],
      );
      expect(long.code).toBe(0);
      const status = async () => (await cli('client-sales', 'status', 'long', '--json')).stdout;
      await expect.poll(status, { timeout: 30_000 }).toContain('"Deferred"');
      expect(await cli('client-sales', 'cancel', 'long', '--wait')).toMatchObject({ code: 0 });
    });

    test('a tenant neither reads nor cancels the runs of another', async () => {
      for (const verb of ['status', 'cancel', 'explain', 'result', 'logs']) {
        const own = await cli('client-ops', verb, 'bad');
        expect({ verb, code: own.code }).not.toEqual({ verb, code: 0 });
        const foreign = await runReentry([verb, 'bad', '--tenant', 'sales'], { ...env['client-ops'] });
        expect({ verb, code: foreign.code }).not.toEqual({ verb, code: 0 });
      }
      expect(await cli('client-ops', 'list', '--json')).toMatchObject({ code: 0, stdout: '{"runs":[]}\n' });
    });

    const findings = z.object({
      findings: z.array(z.object({ what: z.string(), state: z.string(), detail: z.string() })),
    });
    const doctor = async (user: string, role: string) => {
      const { stdout } = await cli(user, 'doctor', '--role', role, '--json');
      return findings.parse(JSON.parse(stdout)).findings.filter(({ state }) => state !== 'ok');
    };

    test.each([
      ['worker', 'worker'],
      ['executor', 'executor'],
      ['triggerer', 'triggerer'],
      ['client-sales', 'client'],
      ['setup', 'setup'],
    ])('doctor finds nothing wrong with the credentials of %s', async (user, role) => {
      const found = role === 'client' ? await cli(user, 'doctor', '--role', role, '--json') : await doctor(user, role);
      expect('stdout' in found ? found.stdout : found).toEqual(
        'stdout' in found ? expect.not.stringContaining('broken') : [],
      );
    });

    test.each(['worker', 'executor', 'triggerer'] as const)(
      'doctor names any one missing verb of the %s',
      { timeout: 120_000 },
      async (role) => {
        const path = `/apis/rbac.authorization.k8s.io/v1/namespaces/${tasks}/roles/demo-reentry-${role}`;
        const { body } = await api.raw('GET', path);
        const rules = recordsIn(body, 'rules');
        for (const access of CLUSTER_ACCESS[role]) {
          const text = accessText(access);
          const rest = rules.flatMap((rule) => {
            const [resource] = Array.isArray(rule['resources']) ? rule['resources'].map(String) : [];
            const verbs = (Array.isArray(rule['verbs']) ? rule['verbs'] : []).map(String);
            const left = verbs.filter((verb) => `${verb} ${resource ?? ''}` !== text);
            return left.length === 0 ? [] : [{ ...rule, verbs: left }];
          });
          await api.raw('PATCH', path, { rules: rest }, 'application/merge-patch+json');
          let reported = '';
          // What `doctor --role` looks at, without a process for each verb.
          const named = async () => {
            const found = await clusterFindings(parseConfig({ env: env[role] ?? {} }), {}, [role]);
            return (reported = found.flatMap((one) => (one.state === 'ok' ? [] : [one.detail])).join());
          };
          await expect.poll(named, { timeout: 20_000 }).toContain(text);
          expect(reported.match(/\(/g)).toHaveLength(1);
        }
        await api.raw('PATCH', path, { rules }, 'application/merge-patch+json');
        await expect.poll(() => doctor(role, role), { timeout: 20_000 }).toEqual([]);
      },
    );

    test('doctor names a missing subject', async () => {
      // A triggerer's user asked to be a worker lacks much; each subject is named with what it is for.
      const found = await doctor('triggerer', 'worker');
      expect(found.map(({ detail }) => detail).join('\n')).toContain('may not publish reentry.v1.ev.*.*.*');
      expect(found.every(({ detail }) => detail.length > 10 && isRecord({ detail }))).toBe(true);
    });
  });
}
