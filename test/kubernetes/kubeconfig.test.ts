import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { createSecureServer } from 'node:http2';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join, relative } from 'node:path';
import type { Duplex } from 'node:stream';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { JsonRecord } from '../../src/core/json.ts';
import { type ConnectionSettings, openClusters } from '../../src/kubernetes/clusters.ts';
import { targetOf } from '../../src/kubernetes/kubeconfig.ts';
import type { Clusters } from '../../src/ports/cluster.ts';

/** What a request came with. */
interface Got {
  readonly version: string;
  readonly path: string;
  readonly headers: readonly (readonly [string, string])[];
}

let directory: string;
let url: string;
let ca: string;
const got: Got[] = [];
const opened: Clusters[] = [];
const ending: (() => Promise<void>)[] = [];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'reentry-kubeconfig-'));
  const [key, cert] = [join(directory, 'tls.key'), join(directory, 'tls.crt')];
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
  await promisify(execFile)(
    'openssl',
    ['req', '-x509', '-nodes', '-days', '2', ...curve, '-keyout', key, '-out', cert].concat(subject),
  );
  ca = await readFile(cert, 'utf8');
  const noted = (version: string, path: string | undefined, raw: readonly string[]): void => {
    const headers = raw.flatMap((name, index) =>
      index % 2 === 0 ? [[name.toLowerCase(), raw[index + 1] ?? ''] as const] : [],
    );
    got.push({ version, path: path ?? '', headers });
  };
  // As API servers are: HTTP/2 where the client knows it.
  const server = createSecureServer({ key: await readFile(key), cert: ca, allowHTTP1: true });
  server.on('request', (request, response) => {
    noted(request.httpVersion, request.url, request.rawHeaders);
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end('{"gitVersion":"v1"}');
  });
  server.on('upgrade', (request: IncomingMessage, socket: Duplex) => {
    noted('upgrade', request.url, request.rawHeaders);
    socket.end('HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  url = `https://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
  ending.push(async () => {
    await new Promise((resolve) => server.close(resolve));
  });
});
afterAll(async () => {
  for (const one of opened) await one[Symbol.asyncDispose]();
  for (const end of ending) await end();
  await rm(directory, { recursive: true, force: true });
});

/** A kubeconfig whose context `c` is this user on the server; `more` replaces whole fields. */
async function written(name: string, user: unknown, more: JsonRecord = {}): Promise<string> {
  const path = join(directory, name);
  await mkdir(dirname(path), { recursive: true });
  const cluster = { server: url, 'certificate-authority-data': Buffer.from(ca).toString('base64') };
  await writeFile(
    path,
    JSON.stringify({
      'current-context': 'c',
      clusters: [{ name: 'c', cluster }],
      users: [{ name: 'u', user }],
      contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
      ...more,
    }),
  );
  return path;
}

/** Makes one call and one upgrade with the kubeconfig; returns the headers that identify the user. */
async function asked(settings: ConnectionSettings, env: NodeJS.ProcessEnv = {}): Promise<readonly Got[]> {
  const clusters = openClusters({ connections: { c: settings }, env: { PATH: process.env['PATH'], ...env } });
  opened.push(clusters);
  const before = got.length;
  expect(await clusters.get('c').version()).toBe('v1');
  const pod = { connection: 'c', namespace: 'ns', name: 'pod', uid: 'uid' };
  const run = clusters.get('c').exec(pod, { container: 'base', command: ['true'] });
  await expect(run).rejects.toMatchObject({ status: 403 });
  return got.slice(before).map((one) => ({
    ...one,
    headers: one.headers.filter(([name]) => name === 'authorization' || name.startsWith('impersonate-')),
  }));
}

const refused = (settings: ConnectionSettings, env: NodeJS.ProcessEnv = {}): string => {
  try {
    targetOf('c', settings, env);
  } catch (error) {
    expect(error).toMatchObject({ code: 'CONFIG_INVALID', transient: false });
    return error instanceof Error ? error.message : '';
  }
  throw new Error('it was taken');
};

describe('impersonation', () => {
  test('is sent as one header for each value, on calls and on commands', async () => {
    const kubeconfig = await written('as', {
      token: 't',
      as: 'jané',
      'as-uid': 'id-1',
      'as-groups': ['devs', 'a, b'],
      'as-user-extra': { 'example.com/scopes': ['view', 'edit'], reason: ['duty'] },
    });
    const headers = [
      ['impersonate-user', Buffer.from('jané').toString('latin1')],
      ['impersonate-uid', 'id-1'],
      ['impersonate-group', 'devs'],
      ['impersonate-group', 'a, b'],
      ['impersonate-extra-example.com%2fscopes', 'view'],
      ['impersonate-extra-example.com%2fscopes', 'edit'],
      ['impersonate-extra-reason', 'duty'],
      ['authorization', 'Bearer t'],
    ];
    const requests = await asked({ kubeconfig });
    expect(requests.map(({ version, path }) => `${version} ${path.replace(/\?.*/, '')}`)).toEqual([
      '1.1 /version',
      'upgrade /api/v1/namespaces/ns/pods/pod/exec',
    ]);
    for (const one of requests) {
      expect(one.headers).toHaveLength(headers.length);
      expect(one.headers).toEqual(expect.arrayContaining(headers));
    }
  });

  test('does not cost HTTP/2 where each header has one value', async () => {
    const [call] = await asked({ kubeconfig: await written('as-one', { as: 'jane', 'as-groups': ['devs'] }) });
    expect(call?.version).toBe('2.0');
    expect(call?.headers).toEqual([
      ['impersonate-user', 'jane'],
      ['impersonate-group', 'devs'],
    ]);
  });

  test.each([
    [{ 'as-groups': ['devs'] }, /user "u".*"as-groups" needs "as"/],
    [{ as: '', 'as-uid': '1', 'as-user-extra': { a: ['b'] } }, /"as-uid" and "as-user-extra" needs? "as"/],
    [{ as: ['jane'] }, /"as" must be a string/],
    [{ as: 'jane', 'as-groups': 'devs' }, /"as-groups" must be a list/],
    [{ as: 'jane', 'as-groups': ['devs', ''] }, /"as-groups" must not contain an empty string/],
    [{ as: 'jane', 'as-groups': [{ a: 1 }] }, /"as-groups" must be a string/],
    [{ as: 'jane', 'as-user-extra': ['a'] }, /"as-user-extra" must map keys to lists/],
    [{ as: 'jane', 'as-user-extra': { a: 'b' } }, /"as-user-extra.a" must be a list/],
    [{ as: 'jane\r\nimpersonate-group: system:masters' }, /"as" contains a character that HTTP headers cannot carry/],
  ])('is never dropped: %j is refused', async (user, why) => {
    expect(refused({ kubeconfig: await written('as-odd', user) })).toMatch(why);
  });
});

describe('a kubeconfig', () => {
  test('with nulls is one without those fields', async () => {
    const anonymous = await written('null-user', null);
    expect((await asked({ kubeconfig: anonymous })).map(({ headers }) => headers)).toEqual([[], []]);
    const none = { token: null, username: null, exec: null, 'auth-provider': null, as: null, 'as-groups': null };
    const user = { ...none, 'as-uid': null, 'as-user-extra': null, tokenFile: null, 'client-certificate': null };
    const contexts = [null, { name: 'c', context: { cluster: 'c', user: 'u', namespace: null } }];
    const kubeconfig = await written('nulls', user, { contexts, preferences: null });
    expect((await asked({ kubeconfig })).map(({ headers }) => headers)).toEqual([[], []]);
    expect(targetOf('c', { kubeconfig }, {}).namespace).toBe('default');
  });

  test('is not refused for entries that are not used', async () => {
    const contexts = [
      { name: 'half', context: { namespace: 'a' } },
      { name: 'c', context: { cluster: 'c', user: 'u' } },
    ];
    const users = [{ name: 'other', user: { 'as-groups': ['a'] } }, { name: 'u' }];
    const kubeconfig = await written('unused', {}, { contexts, users });
    expect(targetOf('c', { kubeconfig }, {}).cluster.server).toBe(url);
    expect(refused({ kubeconfig, context: 'half' })).toContain('context "half" names no cluster');
  });

  test('whose user does not exist is not used without one', async () => {
    expect(refused({ kubeconfig: await written('no-user', {}, { users: null }) })).toContain('user "u"');
  });

  test('named by the variable may be missing, one named in the settings may not', async () => {
    const [there, missing] = [await written('there', { token: 't' }), join(directory, 'missing')];
    const env = { KUBECONFIG: [missing, there].join(delimiter) };
    expect(targetOf('c', {}, env).user.token).toBe('t');
    expect(refused({ kubeconfig: env.KUBECONFIG })).toContain(`kubeconfig ${missing} cannot be used`);
    expect(refused({}, { KUBECONFIG: missing })).toContain(missing);
    const broken = join(directory, 'broken');
    await writeFile(broken, '{');
    expect(refused({}, { KUBECONFIG: [broken, there].join(delimiter) })).toContain(broken);
  });
});

describe('a credential plugin', () => {
  const apiVersion = 'client.authentication.k8s.io/v1';
  const grant = `printf '{"kind":"ExecCredential","status":{"token":"%s"}}' "$WHO"`;
  const script = async (name: string, text: string): Promise<string> => {
    const path = join(directory, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, `#!/bin/sh\n${text}\n`);
    await chmod(path, 0o755);
    return path;
  };

  test.each(['./bin/plugin', 'bin/plugin', '../plugins/bin/plugin'])(
    'named %s is beside its kubeconfig',
    async (command) => {
      await script('plugins/bin/plugin', grant);
      const env = [{ name: 'WHO', value: 'near' }];
      const kubeconfig = await written('plugins/config', { exec: { apiVersion, command, env } });
      for (const path of [kubeconfig, relative(process.cwd(), kubeconfig)])
        expect((await asked({ kubeconfig: path }))[0]?.headers).toEqual([['authorization', 'Bearer near']]);
    },
  );

  test('named without a folder is found by PATH', async () => {
    const path = await script('elsewhere/reentry-plugin', grant);
    await script('here/reentry-plugin', 'exit 1');
    const exec = { apiVersion, command: 'reentry-plugin', env: [{ name: 'WHO', value: 'far' }] };
    const kubeconfig = await written('here/config', { exec });
    const [call] = await asked({ kubeconfig }, { PATH: `${dirname(path)}${delimiter}${process.env['PATH'] ?? ''}` });
    expect(call?.headers).toEqual([['authorization', 'Bearer far']]);
  });

  test.each([
    ['all of it', { 'tls-server-name': 'localhost', 'proxy-url': 'http://127.0.0.1:9' }, { audience: 'a', n: [1] }],
    ['what there is', { 'insecure-skip-tls-verify': true }, undefined],
  ])('that asks for cluster information receives %s', async (name, fields, config) => {
    const received = join(directory, `received-${name}`);
    const command = await script('prints-info', `printf %s "$KUBERNETES_EXEC_INFO" > "$RECEIVED"; WHO=x; ${grant}`);
    const exec = { apiVersion, command, provideClusterInfo: true, env: [{ name: 'RECEIVED', value: received }] };
    await writeFile(join(directory, 'ca.crt'), ca);
    const cluster = {
      server: url,
      ...('proxy-url' in fields ? { 'certificate-authority': 'ca.crt' } : {}),
      ...fields,
      extensions: [
        { name: 'other', extension: { a: 1 } },
        ...(config === undefined ? [] : [{ name: 'client.authentication.k8s.io/exec', extension: config }]),
      ],
    };
    const kubeconfig = await written('cluster-info', { exec }, { clusters: [{ name: 'c', cluster }] });
    const clusters = openClusters({ connections: { c: { kubeconfig } }, tuning: { unaryMs: 5_000 } });
    opened.push(clusters);
    // Nothing listens behind the proxy in its kubeconfig.
    await clusters
      .get('c')
      .version()
      .catch(() => undefined);
    expect(JSON.parse(await readFile(received, 'utf8'))).toEqual({
      apiVersion,
      kind: 'ExecCredential',
      spec: {
        interactive: false,
        cluster: {
          server: url,
          ...fields,
          ...('proxy-url' in fields ? { 'certificate-authority-data': Buffer.from(ca).toString('base64') } : {}),
          ...(config === undefined ? {} : { config }),
        },
      },
    });
  });

  test('that does not ask for it receives none', async () => {
    const received = join(directory, 'not-asked');
    const command = await script('untells', `printf %s "$KUBERNETES_EXEC_INFO" > "$RECEIVED"; WHO=x; ${grant}`);
    const exec = { apiVersion, command, env: [{ name: 'RECEIVED', value: received }] };
    await asked({ kubeconfig: await written('no-info', { exec }) });
    expect(JSON.parse(await readFile(received, 'utf8'))).toMatchObject({ spec: { interactive: false } });
    expect(await readFile(received, 'utf8')).not.toContain('cluster');
  });
});
