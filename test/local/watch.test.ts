import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PODS, podOf, startTestbed, type Testbed } from './testbed.ts';

let bed: Testbed;
beforeAll(async () => {
  bed = await startTestbed({ bookmarkMs: 100 });
});
afterAll(async () => {
  await bed[Symbol.asyncDispose]();
});

const still = { schedulingGates: [{ name: 'test/never' }] };
const version = async () => (await bed.object('GET', PODS)).metadata.resourceVersion;
const create = (name: string, labels: Readonly<Record<string, string>> = {}) => bed.run(name, '', still, { labels });
const label = (name: string, labels: Readonly<Record<string, string | null>>) =>
  bed.object('PATCH', `${PODS}/${name}`, { metadata: { labels } }, { 'content-type': 'application/merge-patch+json' });
const brief = (event: Awaited<ReturnType<Awaited<ReturnType<Testbed['watch']>>['next']>>) => [
  event?.type,
  event?.object.metadata.name,
];

describe('a watch', () => {
  test('resumes where an earlier one ended', async () => {
    const before = await version();
    await create('resumed-1');
    await create('resumed-2');
    const watch = await bed.watch(`resourceVersion=${before}&fieldSelector=metadata.name!=x`);
    expect(brief(await watch.next())).toEqual(['ADDED', 'resumed-1']);
    const gated = await watch.next();
    watch.close();
    const resumed = await bed.watch(`resourceVersion=${gated?.object.metadata.resourceVersion ?? ''}`);
    for (;;) {
      const event = await resumed.next();
      if (event?.object.metadata.name === 'resumed-2') break;
    }
    resumed.close();
  });

  test('shows an object that leaves the selection as deleted, as it was', async () => {
    await create('leaver', { in: 'yes' });
    const watch = await bed.watch(`resourceVersion=${await version()}&labelSelector=in%3Dyes`);
    await label('leaver', { in: null });
    await label('leaver', { in: 'yes' });
    const [gone, back] = [await watch.next(), await watch.next()];
    expect([brief(gone), gone?.object.metadata.labels]).toEqual([['DELETED', 'leaver'], { in: 'yes' }]);
    expect(brief(back)).toEqual(['ADDED', 'leaver']);
    watch.close();
  });

  test('from a forgotten version gets 410 as an event, then the end', async () => {
    const before = await version();
    await create('forgotten');
    bed.faults.order({ fault: 'expireHistory' });
    const watch = await bed.watch(`resourceVersion=${before}`);
    expect(await watch.next()).toMatchObject({ type: 'ERROR', object: { code: 410, reason: 'Expired' } });
    expect(await watch.next()).toBeUndefined();
    const current = await bed.watch(`resourceVersion=${await version()}`);
    await label('forgotten', { now: 'seen' });
    expect(brief(await current.next())).toEqual(['MODIFIED', 'forgotten']);
    current.close();
  });

  test('that asks for a list first gets a mark at its end, and bookmarks', async () => {
    await create('listed', { set: 'listed' });
    const watch = await bed.watch(
      'sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&labelSelector=set%3Dlisted',
    );
    expect(brief(await watch.next())).toEqual(['ADDED', 'listed']);
    const end = await watch.next();
    expect([end?.type, end?.object.metadata.annotations]).toEqual([
      'BOOKMARK',
      { 'k8s.io/initial-events-end': 'true' },
    ]);
    const bookmark = await watch.next();
    expect([bookmark?.type, bookmark?.object.metadata.annotations]).toEqual(['BOOKMARK', undefined]);
    watch.close();
    expect((await bed.object('GET', `${PODS}?watch=1&sendInitialEvents=true`)).code).toBe(422);
  });

  test('ends when its time is over', async () => {
    const watch = await bed.watch(`resourceVersion=${await version()}&timeoutSeconds=1`);
    expect(await watch.next()).toBeUndefined();
  });
});

describe('a fault', () => {
  test('ends, resets or cuts watches', async () => {
    const open = async () => await bed.watch(`resourceVersion=${await version()}`);
    const ended = await open();
    bed.faults.order({ fault: 'closeWatches' });
    expect(await ended.next()).toBeUndefined();
    const reset = await open();
    bed.faults.order({ fault: 'closeWatches', how: 'reset' });
    await expect(reset.next()).rejects.toThrow('terminated');
    const cut = await open();
    bed.faults.order({ fault: 'closeWatches', how: 'cutLine' });
    await expect(cut.next()).rejects.toThrow('cut line');
  });

  test('keeps watches silent for a while', async () => {
    const watch = await bed.watch(
      `resourceVersion=${await version()}&fieldSelector=metadata.name=frozen&allowWatchBookmarks=true`,
    );
    bed.faults.order({ fault: 'freezeWatches', ms: 600_000 });
    await create('frozen');
    const next = watch.next();
    // Another watch is silent as well; that the object is there shows that the event was due.
    expect((await bed.request('GET', `${PODS}/frozen`)).status).toBe(200);
    bed.faults.order({ fault: 'freezeWatches', ms: 0 });
    expect(['ADDED', 'BOOKMARK']).toContain((await next)?.type);
    watch.close();
  });

  test('fails the next requests with any status', async () => {
    const aim = { verb: 'get', resource: 'pods' };
    bed.faults.order({ fault: 'failNext', ...aim, status: 429, count: 2, retryAfterSeconds: 7 });
    const failed = await bed.request('GET', `${PODS}/x`);
    expect([failed.status, failed.headers.get('retry-after'), await failed.text()]).toEqual([
      429,
      '7',
      'Too many requests, please try again later.\n',
    ]);
    expect((await bed.request('GET', `${PODS}/x`)).status).toBe(429);
    expect((await bed.request('GET', `${PODS}/x`)).status).toBe(404);
    bed.faults.order({ fault: 'failNext', verb: 'list', resource: 'pods', status: 500 });
    expect(await bed.object('GET', PODS)).toMatchObject({ code: 500, reason: 'InternalError' });
    const message = 'pods "x" is forbidden: exceeded quota: q';
    bed.faults.order({ fault: 'failNext', verb: 'watch', status: 403, message });
    expect(await bed.object('GET', `${PODS}?watch=1`)).toMatchObject({ code: 403, reason: 'Forbidden', message });
  });

  test('loses the answer to a create that was done', async () => {
    bed.faults.order({ fault: 'loseReply', verb: 'create', resource: 'pods' });
    await expect(bed.request('POST', PODS, podOf('stored', '', still))).rejects.toThrow('fetch failed');
    expect((await bed.request('GET', `${PODS}/stored`)).status).toBe(200);
  });

  test('holds an answer back', async () => {
    bed.faults.order({ fault: 'slow', verb: 'get', resource: 'pods', ms: 200 });
    const order: string[] = [];
    const slow = bed.request('GET', `${PODS}/x`).then(() => order.push('slow'));
    const fast = bed.request('GET', PODS).then(() => order.push('fast'));
    await Promise.all([slow, fast]);
    expect(order).toEqual(['fast', 'slow']);
  });
});
