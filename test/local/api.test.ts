import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:tls';
import { fetch } from 'undici';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PODS, podOf, startTestbed, type Testbed } from './testbed.ts';

let bed: Testbed;
beforeAll(async () => {
  bed = await startTestbed({ logMaxBytes: 20_000 });
});
afterAll(async () => {
  await bed[Symbol.asyncDispose]();
});

/** Pods that no node takes: they stay as they are created. */
const still = { nodeSelector: { 'kubernetes.io/hostname': 'elsewhere' } };
const phase = (name: string) =>
  expect.poll(async () => (await bed.pod(name)).status.phase, { timeout: 20_000, interval: 30 });
const create = (pod: unknown, query = '') => bed.object('POST', `${PODS}?${query}`, pod);
const names = async (query: string) =>
  ((await bed.object('GET', `${PODS}?${query}`)).items ?? []).map(({ metadata }) => metadata.name);

describe('access', () => {
  test('needs the token', async () => {
    const get = async (path: string, headers: Readonly<Record<string, string>> = {}) =>
      (await fetch(bed.cluster.url + path, { headers, dispatcher: bed.dispatcher })).status;
    expect(await get('/api/v1/pods')).toBe(401);
    expect(await get('/api/v1/pods', { authorization: 'Bearer wrong' })).toBe(401);
    expect(await get('/healthz')).toBe(200);
    expect(await get('/api/v1/pods', { authorization: `Bearer ${bed.cluster.token}` })).toBe(200);
  });

  test.each(['h2', 'http/1.1'])('is over TLS, by the certificate in the kubeconfig, with %s', async (protocol) => {
    const kubeconfig = await readFile(bed.cluster.kubeconfigPath, 'utf8');
    const data = /"certificate-authority-data": "(?<data>[^"]+)"/.exec(kubeconfig)?.groups?.['data'] ?? '';
    const { hostname, port } = new URL(bed.cluster.url);
    const socket = connect({
      ...{ host: hostname, port: Number(port), ca: Buffer.from(data, 'base64') },
      ALPNProtocols: [protocol],
    });
    await once(socket, 'secureConnect');
    expect([socket.authorized, socket.alpnProtocol]).toEqual([true, protocol]);
    socket.destroy();
  });

  test('can be reviewed, and denied by a fault', async () => {
    const review = async (verb: string) => {
      const spec = { resourceAttributes: { verb, resource: 'pods', namespace: 'default' } };
      return (await bed.object('POST', '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', { spec }))['status'];
    };
    expect(await review('create')).toEqual({ allowed: true });
    bed.faults.order({ fault: 'deny', verb: 'create', resource: 'pods' });
    expect(await review('create')).toMatchObject({ allowed: false });
    expect((await create(podOf('denied', 'true', still))).code).toBe(403);
    bed.faults.order({ fault: 'clear' });
  });
});

describe('create', () => {
  test.each([
    ['no container', { ...podOf('x', ''), spec: {} }, ['spec.containers']],
    ['no image', { ...podOf('x', ''), spec: { containers: [{ name: 'a' }] } }, ['spec.containers[0].image']],
    ['a bad name', podOf('Bad_Name', ''), ['metadata.name']],
    ['no name', { ...podOf('x', ''), metadata: {} }, ['metadata.name']],
    ['a bad label', podOf('x', '', {}, { labels: { team: 'not valid' } }), ['metadata.labels']],
    ['an unknown policy', podOf('x', '', { restartPolicy: 'Sometimes' }), ['spec.restartPolicy']],
    [
      'two containers of one name and a volume that is not there',
      podOf('x', '', {
        containers: [
          { name: 'a', image: 'i' },
          { name: 'a', image: 'i', volumeMounts: [{ name: 'v', mountPath: '/v' }] },
        ],
      }),
      ['spec.containers[1].name', 'spec.containers[1].volumeMounts[0].name'],
    ],
  ])('refuses a pod with %s, naming the field', async (_, pod, fields) => {
    const status = await create(pod);
    expect([status.code, status.reason]).toEqual([422, 'Invalid']);
    expect(status.details?.causes?.map(({ field }) => field)).toEqual(fields);
  });

  test('refuses an object that is no pod', async () => {
    expect(await create([])).toMatchObject({ code: 400, reason: 'BadRequest' });
    expect(await create(podOf('x', '', { containers: 'none' }))).toMatchObject({ code: 400, reason: 'BadRequest' });
    expect(await create({ ...podOf('x', ''), kind: 'Deployment' })).toMatchObject({ code: 400 });
  });

  test('warns of unknown fields, or refuses them where validation is strict', async () => {
    const odd = podOf('odd', '', { ...still, containers: [{ name: 'a', image: 'i', comand: ['x'] }], frobnicate: 1 });
    const strict = await create(odd, 'fieldValidation=Strict');
    expect(strict.code).toBe(400);
    expect(strict.message).toContain(
      'strict decoding error: unknown field "spec.containers[0].comand", unknown field "spec.frobnicate"',
    );
    const warned = await bed.request('POST', PODS, odd);
    expect(warned.headers.get('warning')).toContain('unknown field \\"spec.frobnicate\\"');
    expect(await warned.json()).not.toHaveProperty('spec.frobnicate');
  });

  test('stores nothing in a dry run, and reports what it could not store', async () => {
    expect((await create(podOf('dry', 'true'), 'dryRun=All')).kind).toBe('Pod');
    expect((await bed.request('GET', `${PODS}/dry`)).status).toBe(404);
    expect(await bed.object('POST', '/api/v1/namespaces/none/pods', podOf('x', ''))).toMatchObject({
      code: 404,
      message: 'namespaces "none" not found',
    });
    await create(podOf('taken', '', still));
    expect(await create(podOf('taken', '', still))).toMatchObject({ code: 409, reason: 'AlreadyExists' });
    expect((await create({ ...podOf('', '', still), metadata: { generateName: 'made-' } })).metadata.name).toMatch(
      /^made-[a-z0-9]{5}$/,
    );
    expect(await create(podOf('x', '', { serviceAccountName: 'missing' }))).toMatchObject({ code: 403 });
  });
});

describe('patch and delete', () => {
  test('a merge patch changes labels, but not what is fixed', async () => {
    await create(podOf('patched', '', still, { labels: { a: '1', b: '2' } }));
    const patch = (body: unknown, type = 'merge-patch') =>
      bed.object('PATCH', `${PODS}/patched`, body, { 'content-type': `application/${type}+json` });
    const changed = await patch({ metadata: { labels: { a: null, c: '3' }, annotations: { note: 'x' } } });
    expect([changed.metadata.labels, changed.metadata.annotations]).toEqual([{ b: '2', c: '3' }, { note: 'x' }]);
    expect(await patch({ spec: { containers: [] } })).toMatchObject({ code: 422 });
    expect(await patch({ metadata: { resourceVersion: '1', labels: { d: '4' } } })).toMatchObject({
      code: 409,
      reason: 'Conflict',
    });
    expect(await patch([{ op: 'test', path: '/metadata/uid', value: 'other' }], 'json-patch')).toMatchObject({
      code: 422,
    });
    const added = await patch([{ op: 'add', path: '/metadata/labels/e', value: '5' }], 'json-patch');
    expect(added.metadata.labels).toEqual({ b: '2', c: '3', e: '5' });
    expect((await patch({ metadata: { labels: { f: '6' } } }, 'strategic-merge-patch')).metadata.labels?.['f']).toBe(
      '6',
    );
  });

  test('a delete with the uid of another pod does nothing', async () => {
    const { metadata } = await create(podOf('mine', '', still));
    const remove = (uid: string) => bed.object('DELETE', `${PODS}/mine`, { preconditions: { uid } });
    expect(await remove('other')).toMatchObject({ code: 409, reason: 'Conflict' });
    expect((await remove(metadata.uid)).metadata.uid).toBe(metadata.uid);
    expect((await bed.request('GET', `${PODS}/mine`)).status).toBe(404);
  });

  test('a namespace is deleted with its content', async () => {
    await bed.object('POST', '/api/v1/namespaces', { metadata: { name: 'brief' } });
    const pods = '/api/v1/namespaces/brief/pods';
    await bed.object('POST', pods, podOf('runs', 'while :; do sleep 0.05; done', { terminationGracePeriodSeconds: 1 }));
    await expect
      .poll(async () => (await bed.object('GET', `${pods}/runs`))['status'])
      .toMatchObject({ phase: 'Running' });
    expect((await bed.object('DELETE', '/api/v1/namespaces/brief'))['status']).toEqual({ phase: 'Terminating' });
    expect(await bed.object('POST', pods, podOf('late', ''))).toMatchObject({
      code: 403,
      details: { causes: [{ reason: 'NamespaceTerminating' }] },
    });
    await expect
      .poll(async () => (await bed.request('GET', '/api/v1/namespaces/brief')).status, { timeout: 10_000 })
      .toBe(404);
  });
});

describe('list', () => {
  test('chooses by labels and fields', async () => {
    for (const [name, labels] of Object.entries({
      l1: { set: 'l', tier: 'a' },
      l2: { set: 'l', tier: 'b' },
      l3: { set: 'l' },
    })) {
      await create(podOf(name, '', still, { labels }));
    }
    const chosen = (selector: string) => names(`labelSelector=${encodeURIComponent(selector)}`);
    expect(await chosen('set=l,tier in (a, b)')).toEqual(['l1', 'l2']);
    expect(await chosen('set=l,tier notin (a)')).toEqual(['l2', 'l3']);
    expect(await chosen('set==l,!tier')).toEqual(['l3']);
    expect(await chosen('set=l,tier,tier!=a')).toEqual(['l2']);
    expect(await names('labelSelector=set%3Dl&fieldSelector=metadata.name!=l1,status.phase=Pending')).toEqual([
      'l2',
      'l3',
    ]);
    expect((await bed.request('GET', `${PODS}?fieldSelector=spec.priority=1`)).status).toBe(400);
    expect((await bed.request('GET', `${PODS}?labelSelector=a%20b%20c`)).status).toBe(400);
  });

  test('comes in pages of one moment, until that is forgotten', async () => {
    for (const index of [1, 2, 3]) await create(podOf(`page-${String(index)}`, '', still, { labels: { set: 'page' } }));
    const list = (query: string) => bed.object('GET', `${PODS}?labelSelector=set%3Dpage&limit=2&${query}`);
    const first = await list('');
    await bed.request('DELETE', `${PODS}/page-3`);
    const token = first.metadata.continue ?? '';
    const second = await list(`continue=${token}`);
    expect([first, second].map(({ items }) => items?.map(({ metadata }) => metadata.name))).toEqual([
      ['page-1', 'page-2'],
      ['page-3'],
    ]);
    expect(second.metadata.resourceVersion).toBe(first.metadata.resourceVersion);
    bed.faults.order({ fault: 'expireHistory' });
    expect(await list(`continue=${token}`)).toMatchObject({ code: 410, reason: 'Expired' });
  });

  test('is a table for clients that request one', async () => {
    const headers = { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json' };
    const table = await bed.object('GET', `${PODS}?fieldSelector=metadata.name=taken`, undefined, headers);
    expect(table['rows']).toMatchObject([
      { cells: ['taken', '0/1', 'Pending', 0, expect.any(String), '<none>', '<none>', '<none>', '<none>'] },
    ]);
  });
});

describe('logs', () => {
  test('are cut by time, lines and bytes', async () => {
    await bed.run('logged', 'echo one; echo two; sleep 2; echo three; printf four');
    await phase('logged').toBe('Succeeded');
    const stamped = (await bed.log('logged', 'timestamps=true')).split('\n').map((line) => line.split(' '));
    expect(stamped.map(([, text]) => text)).toEqual(['one', 'two', 'three', 'four']);
    for (const [time] of stamped) expect(time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
    expect(await bed.log('logged', 'tailLines=2')).toBe('three\nfour');
    expect(await bed.log('logged', 'tailLines=0')).toBe('');
    expect(await bed.log('logged', 'limitBytes=5')).toBe('one\nt');
    expect(await bed.log('logged', `sinceTime=${stamped[2]?.[0] ?? ''}`)).toBe('three\nfour');
    expect(await bed.log('logged', 'sinceSeconds=3600')).toBe('one\ntwo\nthree\nfour');
  });

  test('are followed to the end of the container, over rotations', async () => {
    await bed.run('followed', 'for i in $(seq 1 2000); do echo "line $i"; [ $((i % 100)) = 0 ] && sleep 0.02; done');
    await expect.poll(async () => (await bed.request('GET', `${PODS}/followed/log`)).status).toBe(200);
    const lines = (await bed.log('followed', 'follow=true')).trimEnd().split('\n');
    expect(lines.at(-1)).toBe('line 2000');
    // Only the current file is read from its start, and it was put aside more than once.
    const rest = (await bed.log('followed')).trimEnd().split('\n');
    expect([rest.length < 1000, rest.at(-1)]).toEqual([true, 'line 2000']);
  });

  test('join what the runtime stored in parts', async () => {
    await bed.run('long', 'head -c 40000 /dev/zero | tr "\\0" x; echo; echo end');
    await phase('long').toBe('Succeeded');
    // 40,000 bytes are more than a file of this cluster holds; what is left of the line still joins.
    expect(await bed.log('long', 'timestamps=true')).toMatch(/^(\S+ x+\n)?\S+ end\n$/);
  });

  test('need a container name if there are several, and an earlier run for the previous one', async () => {
    const containers = ['a', 'b'].map((name) => ({ name, image: 'x', command: ['echo', name] }));
    await bed.run('several', '', { containers });
    await phase('several').toBe('Succeeded');
    expect(await bed.object('GET', `${PODS}/several/log`)).toMatchObject({
      code: 400,
      message: 'a container name must be specified for pod several, choose one of: [a b]',
    });
    expect(await bed.log('several', 'container=b')).toBe('b\n');
    expect(await bed.object('GET', `${PODS}/several/log?container=c`)).toMatchObject({ code: 400 });
    expect(await bed.object('GET', `${PODS}/several/log?container=a&previous=true`)).toMatchObject({ code: 400 });
  });
});

test('events report what scheduler and kubelet did', async () => {
  await bed.run('reported', 'true');
  await phase('reported').toBe('Succeeded');
  const { metadata } = await bed.pod('reported');
  const events = await bed.object(
    'GET',
    `/api/v1/namespaces/default/events?fieldSelector=involvedObject.uid=${metadata.uid}`,
  );
  expect(events.items?.map((event) => event['reason']).sort()).toEqual(['Created', 'Pulled', 'Scheduled', 'Started']);
});

test('metrics count requests by verb, resource and code', async () => {
  const text = await (await bed.request('GET', '/metrics')).text();
  expect(text).toMatch(/^apiserver_request_total\{code="201",.*resource="pods",.*verb="POST".*\} \d+$/m);
  expect(text).toMatch(/^apiserver_request_total\{code="422",.*resource="pods",.*verb="POST".*\} \d+$/m);
});
