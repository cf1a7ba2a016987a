import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { recordIn, recordsIn, textIn } from '../../src/core/json.ts';
import { type ClusterUnderTest, freshName, nameOf, type RawReply, TARGETS } from '../support/kubernetes.ts';

// Matchers are typed `any`.
const someText: unknown = expect.any(String);
const expired: unknown = expect.stringMatching(/Expired|Gone/);
const waiting: unknown = expect.stringContaining('is waiting to start');

/** The behaviour of an API server that reentry relies on, tested without its adapter. */
describe.each(TARGETS)('the API of $name', ({ start }) => {
  let k: ClusterUnderTest;
  let pods: string;
  beforeAll(async () => {
    k = await start();
    pods = `/api/v1/namespaces/${await k.namespace()}/pods`;
  });
  afterAll(async () => {
    await k[Symbol.asyncDispose]();
  });
  const metadata = (reply: RawReply): Readonly<Record<string, unknown>> => recordIn(reply.body, 'metadata');
  /** The events of a watch that the server ends after a second. */
  const watch = async (query: string): Promise<readonly unknown[]> => {
    const { status, body } = await k.raw('GET', `${pods}?watch=1&timeoutSeconds=1&${query}`);
    expect(status).toBe(200);
    return eventsIn(body);
  };
  const eventsIn = (body: unknown): readonly unknown[] => {
    if (typeof body !== 'string') return body === undefined ? [] : [body];
    return body
      .split('\n')
      .filter((line) => line !== '')
      .map((line): unknown => JSON.parse(line));
  };
  const types = (events: readonly unknown[]): readonly (string | undefined)[] =>
    events.map((event) => textIn(event, 'type')).filter((type) => type !== 'BOOKMARK');

  test('creates with 201 and sets uid, version and time', async () => {
    const made = await k.raw('POST', pods, k.pod());
    expect(made.status).toBe(201);
    expect(metadata(made)).toMatchObject({
      uid: someText,
      resourceVersion: someText,
      creationTimestamp: someText,
    });
    expect(recordIn(made.body, 'status')['phase']).toBe('Pending');
  });

  test('answers a used name with 409 AlreadyExists', async () => {
    const pod = k.pod();
    await k.raw('POST', pods, pod);
    const again = await k.raw('POST', pods, pod);
    expect(again).toMatchObject({ status: 409, body: { kind: 'Status', reason: 'AlreadyExists', code: 409 } });
  });

  test('answers an invalid pod with 422 and a cause per field', async () => {
    const wrong = await k.raw('POST', pods, k.pod({ spec: { restartPolicy: 'Sometimes' } }));
    expect(wrong).toMatchObject({ status: 422, body: { reason: 'Invalid' } });
    const causes = recordsIn(recordIn(wrong.body, 'details'), 'causes');
    expect(causes.map((cause) => cause['field'])).toContain('spec.restartPolicy');
  });

  test('refuses unknown fields under strict validation and drops them otherwise', async () => {
    const pod = k.pod({ spec: { futureField: true } });
    expect((await k.raw('POST', `${pods}?fieldValidation=Strict`, pod)).status).toBe(400);
    const made = await k.raw('POST', pods, pod);
    expect(made.status).toBe(201);
    expect(recordIn(made.body, 'spec')['futureField']).toBeUndefined();
  });

  test('refuses a change of an immutable field with 422', async () => {
    const name = nameOf(k.pod());
    await k.raw('POST', pods, k.pod({ name }));
    const patch = { spec: { restartPolicy: 'Always' } };
    const reply = await k.raw('PATCH', `${pods}/${name}`, patch, 'application/merge-patch+json');
    expect(reply).toMatchObject({ status: 422, body: { reason: 'Invalid' } });
  });

  test('answers a patch of an old version with 409 Conflict', async () => {
    const made = await k.raw('POST', pods, k.pod());
    const { name, resourceVersion } = metadata(made);
    const patch = (value: string): Promise<RawReply> =>
      k.raw(
        'PATCH',
        `${pods}/${String(name)}`,
        { metadata: { labels: { value }, resourceVersion } },
        'application/merge-patch+json',
      );
    await k.raw(
      'PATCH',
      `${pods}/${String(name)}`,
      { metadata: { labels: { first: 'yes' } } },
      'application/merge-patch+json',
    );
    expect(await patch('two')).toMatchObject({ status: 409, body: { reason: 'Conflict' } });
  });

  test('answers a deletion with another uid with 409 Conflict, and of nothing with 404', async () => {
    const made = await k.raw('POST', pods, k.pod());
    const other = { preconditions: { uid: '00000000-0000-0000-0000-000000000000' } };
    const path = `${pods}/${String(metadata(made)['name'])}`;
    expect(await k.raw('DELETE', path, other)).toMatchObject({ status: 409, body: { reason: 'Conflict' } });
    expect(await k.raw('DELETE', `${pods}/missing`)).toMatchObject({ status: 404, body: { reason: 'NotFound' } });
  });

  test('lists in pages of one snapshot, each with a token for the next', async () => {
    const set = freshName('set');
    for (let index = 0; index < 5; index += 1) await k.raw('POST', pods, k.pod({ labels: { set } }));
    const first = await k.raw('GET', `${pods}?labelSelector=set%3D${set}&limit=2`);
    await k.raw('POST', pods, k.pod({ labels: { set } }));
    const token = encodeURIComponent(String(metadata(first)['continue']));
    const second = await k.raw('GET', `${pods}?labelSelector=set%3D${set}&limit=2&continue=${token}`);
    const last = encodeURIComponent(String(metadata(second)['continue']));
    const third = await k.raw('GET', `${pods}?labelSelector=set%3D${set}&limit=2&continue=${last}`);
    expect([first, second, third].map(({ body }) => recordsIn(body, 'items').length)).toEqual([2, 2, 1]);
    expect(metadata(third)['continue'] ?? '').toBe('');
    expect(metadata(second)['resourceVersion']).toBe(metadata(first)['resourceVersion']);
  });

  test('refuses a continue token that it did not issue', async () => {
    expect((await k.raw('GET', `${pods}?limit=2&continue=nonsense`)).status).toBe(400);
  });

  test('watches from a version on: later changes in order, and none before', async () => {
    const set = freshName('set');
    await k.raw('POST', pods, k.pod({ labels: { set } }));
    const from = String(metadata(await k.raw('GET', `${pods}?labelSelector=set%3D${set}`))['resourceVersion']);
    const made = await k.raw('POST', pods, k.pod({ labels: { set } }));
    const events = await watch(`labelSelector=set%3D${set}&resourceVersion=${from}`);
    const own = events.filter(
      (event) => textIn(recordIn(recordIn(event, 'object'), 'metadata'), 'uid') === metadata(made)['uid'],
    );
    expect(types(own)[0]).toBe('ADDED');
  });

  test('answers a watch from an expired version with 410 in the stream or as status, or with all changes since; never with a gap', async () => {
    const made = metadata(await k.raw('POST', pods, k.pod()));
    // A server just started has its whole history; that of the local one can be expired.
    k.faults?.order({ fault: 'expireHistory' });
    const query = `watch=1&timeoutSeconds=2&resourceVersion=1&fieldSelector=metadata.name%3D${String(made['name'])}`;
    const { status, body } = await k.raw('GET', `${pods}?${query}`);
    const [first] = status === 410 ? [] : eventsIn(body);
    const object = status === 410 ? body : recordIn(first, 'object');
    const remembers = k.faults === undefined && textIn(first, 'type') === 'ADDED';
    expect(object).toMatchObject(
      remembers ? { metadata: { uid: made['uid'] } } : { kind: 'Status', code: 410, reason: expired },
    );
  });

  test('reports a pod that leaves the selection as DELETED, with the object as it was', async () => {
    const set = freshName('set');
    const made = await k.raw('POST', pods, k.pod({ labels: { set } }));
    const path = `${pods}/${String(metadata(made)['name'])}`;
    const from = String(metadata(await k.raw('GET', `${pods}?labelSelector=set%3D${set}`))['resourceVersion']);
    await k.raw('PATCH', path, { metadata: { labels: { set: 'left' } } }, 'application/merge-patch+json');
    const events = await watch(`labelSelector=set%3D${set}&resourceVersion=${from}`);
    const last = events.findLast((event) => textIn(event, 'type') === 'DELETED');
    expect(recordIn(recordIn(recordIn(last, 'object'), 'metadata'), 'labels')['set']).toBe(set);
    expect((await k.raw('GET', path)).status).toBe(200);
  });

  test('streams the initial list with an end mark', async () => {
    const set = freshName('set');
    await k.raw('POST', pods, k.pod({ labels: { set } }));
    const events = await watch(
      `labelSelector=set%3D${set}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true`,
    );
    const mark = events.findIndex(
      (event) =>
        recordIn(recordIn(recordIn(event, 'object'), 'metadata'), 'annotations')['k8s.io/initial-events-end'] ===
        'true',
    );
    expect(types(events.slice(0, mark))).toEqual(['ADDED']);
    expect(textIn(events[mark], 'type')).toBe('BOOKMARK');
  });

  test('retains a deleted pod for its grace period, with deletionTimestamp', async () => {
    const script = 'trap "" TERM; sleep 600';
    const made = await k.raw('POST', pods, k.pod({ script, spec: { terminationGracePeriodSeconds: 2 } }));
    const path = `${pods}/${String(metadata(made)['name'])}`;
    await expect
      .poll(async () => recordIn((await k.raw('GET', path)).body, 'status')['phase'], { timeout: 30_000 })
      .toBe('Running');
    const asked = await k.raw('DELETE', path);
    expect(asked.status).toBe(200);
    expect(metadata(await k.raw('GET', path))).toMatchObject({
      deletionTimestamp: someText,
      deletionGracePeriodSeconds: 2,
    });
    await expect.poll(async () => (await k.raw('GET', path)).status, { timeout: 30_000 }).toBe(404);
  });

  test('answers the log of a waiting container with 400 and the reason', async () => {
    const spec = { containers: [{ name: 'base', image: 'missing/nowhere:1' }] };
    const made = await k.raw('POST', pods, k.pod({ script: 'true', spec }));
    const path = `${pods}/${String(metadata(made)['name'])}`;
    await expect
      .poll(async () => recordsIn(recordIn((await k.raw('GET', path)).body, 'status'), 'containerStatuses').length, {
        timeout: 30_000,
      })
      .toBe(1);
    expect(await k.raw('GET', `${path}/log`)).toMatchObject({
      status: 400,
      body: { reason: 'BadRequest', message: waiting },
    });
  });

  test('finds pods by field and by set-based labels', async () => {
    const set = freshName('set');
    const made = await k.raw('POST', pods, k.pod({ labels: { set, tier: 'a' } }));
    const name = String(metadata(made)['name']);
    const found = async (query: string): Promise<number> =>
      recordsIn((await k.raw('GET', `${pods}?${query}`)).body, 'items').length;
    expect(await found(`fieldSelector=metadata.name%3D${name}`)).toBe(1);
    expect(await found(`labelSelector=${encodeURIComponent(`set=${set},tier in (a,b)`)}`)).toBe(1);
    expect(await found(`labelSelector=${encodeURIComponent(`set=${set},!tier`)}`)).toBe(0);
    expect(await found(`labelSelector=${encodeURIComponent(`set=${set},tier notin (a)`)}`)).toBe(0);
    expect((await k.raw('GET', `${pods}?fieldSelector=spec.color%3Dred`)).status).toBe(400);
  });
});
