import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { KubernetesError } from '../../src/errors.ts';
import { type ClusterUnderTest, nameOf, TARGETS } from '../support/kubernetes.ts';

describe.each(TARGETS)('pods on $name', ({ start }) => {
  let k: ClusterUnderTest;
  let ns: string;
  beforeAll(async () => {
    k = await start();
    ns = await k.namespace();
  });
  afterAll(async () => {
    await k[Symbol.asyncDispose]();
  });
  const refusal = async (asked: Promise<unknown>): Promise<KubernetesError> => {
    const error: unknown = await asked.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    if (error instanceof KubernetesError) return error;
    throw new Error(`expected a KubernetesError, got ${String(error)}`);
  };

  test('createPod creates the pod, and finds it when called again', async () => {
    const manifest = k.pod({ labels: { app: 'one' } });
    const first = await k.cluster.createPod(ns, manifest);
    const second = await k.cluster.createPod(ns, manifest);
    expect([first.kind, second.kind]).toEqual(['created', 'exists']);
    expect(k.cluster.project(second.pod).uid).toBe(k.cluster.project(first.pod).uid);
    expect(k.cluster.project(first.pod)).toMatchObject({ connection: 'test', namespace: ns, name: nameOf(manifest) });
  });

  test('createPod refuses a field that Kubernetes does not know, naming it', async () => {
    const error = await refusal(k.cluster.createPod(ns, k.pod({ spec: { futureField: 1 } })));
    expect(error).toMatchObject({ fault: 'invalid', status: 400, transient: false });
    expect(error.problems.map(({ path }) => path)).toEqual(['spec.futureField']);
  });

  test('createPod refuses an invalid pod with the path of the problem', async () => {
    const error = await refusal(k.cluster.createPod(ns, k.pod({ name: 'No_Such-Name' })));
    expect(error).toMatchObject({ fault: 'invalid', status: 422, reason: 'Invalid' });
    expect(error.problems.map(({ path }) => path)).toContain('metadata.name');
  });

  test('createPod refuses a pod without containers', async () => {
    const error = await refusal(k.cluster.createPod(ns, k.pod({ spec: { containers: [] } })));
    expect(error).toMatchObject({ fault: 'invalid', status: 422 });
    expect(error.problems.map(({ path }) => path)).toContain('spec.containers');
  });

  test('createPod in a missing namespace is notFound, and the message names operation and namespace', async () => {
    const error = await refusal(k.cluster.createPod('no-such-namespace', k.pod({ name: 'lost' })));
    expect(error).toMatchObject({ fault: 'notFound', status: 404 });
    expect(error.message).toContain('create pod no-such-namespace/lost on cluster "test"');
  });

  test('a dry run creates nothing', async () => {
    const manifest = k.pod();
    expect(await k.cluster.createPod(ns, manifest, { dryRun: true })).toMatchObject({ kind: 'created' });
    expect(await k.cluster.getPod(ns, nameOf(manifest))).toBeUndefined();
  });

  test('getPod of an unused name is undefined', async () => {
    expect(await k.cluster.getPod(ns, 'missing')).toBeUndefined();
  });

  test('patchPod merges labels and removes those that are null', async () => {
    const pod = k.cluster.project((await k.cluster.createPod(ns, k.pod({ labels: { a: '1', b: '2' } }))).pod);
    expect(await k.cluster.patchPod(pod, { metadata: { labels: { a: null, c: '3' } } })).toBe('patched');
    expect(await k.cluster.getPod(ns, pod.name)).toMatchObject({ metadata: { labels: { b: '2', c: '3' } } });
    expect(await k.cluster.listPods(ns, 'a=1')).toHaveLength(0);
  });

  test('patchPod and deletePod do not change a pod with the same name and another uid', async () => {
    const pod = k.cluster.project((await k.cluster.createPod(ns, k.pod())).pod);
    const stranger = { ...pod, uid: '00000000-0000-0000-0000-000000000000' };
    expect(await k.cluster.patchPod(stranger, { metadata: { labels: { touched: 'yes' } } })).toBe('gone');
    expect(await k.cluster.deletePod(stranger)).toBe('gone');
    expect(await k.cluster.getPod(ns, pod.name)).toMatchObject({ metadata: { uid: pod.uid } });
    expect(await k.cluster.getPod(ns, pod.name)).not.toMatchObject({ metadata: { labels: { touched: 'yes' } } });
  });

  test('deletePod returns asked, and gone once the pod is gone', async () => {
    const pod = k.cluster.project((await k.cluster.createPod(ns, k.pod())).pod);
    await k.until(pod, ({ phase }) => phase === 'Running');
    expect(await k.cluster.deletePod(pod)).toBe('asked');
    await expect.poll(() => k.cluster.getPod(ns, pod.name), { timeout: 30_000 }).toBeUndefined();
    expect(await k.cluster.deletePod(pod)).toBe('gone');
    expect(await k.cluster.patchPod(pod, { metadata: { labels: { x: 'y' } } })).toBe('gone');
  });

  test('deletePod without grace removes the pod at once', async () => {
    const pod = k.cluster.project((await k.cluster.createPod(ns, k.pod())).pod);
    await k.until(pod, ({ phase }) => phase === 'Running');
    await k.cluster.deletePod(pod, 0);
    expect(await k.cluster.getPod(ns, pod.name)).toBeUndefined();
  });

  test('a pod that ends shows its exit code', async () => {
    const pod = k.cluster.project((await k.cluster.createPod(ns, k.pod({ runForSeconds: 1, exitCode: 3 }))).pod);
    const ended = await k.until(pod, ({ phase }) => phase === 'Failed');
    expect(ended.containers).toMatchObject([{ name: 'base', state: 'terminated', exitCode: 3, kind: 'main' }]);
    expect(ended.baseContainer).toBe('base');
  });

  test('a real container ends with its exit code and its termination message', async () => {
    const script = 'echo "{\\"rows\\": 3}" > /dev/termination-log; exit 4';
    const pod = k.cluster.project((await k.cluster.createPod(ns, k.pod({ script }))).pod);
    const ended = await k.until(pod, ({ phase }) => phase === 'Failed');
    expect(ended.containers).toMatchObject([{ state: 'terminated', exitCode: 4, message: '{"rows": 3}\n' }]);
  });

  test('listPods pages through all selected pods', async () => {
    const labels = { batch: 'paged' };
    await Promise.all(Array.from({ length: 7 }, () => k.cluster.createPod(ns, k.pod({ labels }))));
    const paged = k.open({ pageSize: 3 });
    const pods = await paged.listPods(ns, 'batch=paged');
    expect(new Set(pods.map(({ uid }) => uid)).size).toBe(7);
    expect(paged.requestCounts()).toEqual({ list: 3 });
    expect(await k.cluster.listPods(ns, 'batch in (other)')).toEqual([]);
    expect((await k.cluster.listPods(undefined, 'batch=paged')).length).toBe(7);
  });

  test('podEvents returns the events of this pod only', async () => {
    const made = await Promise.all([0, 1].map(() => k.cluster.createPod(ns, k.pod({ script: 'true' }))));
    const [one, other] = made.map(({ pod }) => k.cluster.project(pod));
    await k.until(one!, ({ phase }) => phase === 'Succeeded');
    await expect.poll(async () => (await k.cluster.podEvents(one!)).map(({ reason }) => reason)).toContain('Started');
    const lines = await k.cluster.podEvents(one!);
    expect(lines.every(({ lastSeenAt, count }) => lastSeenAt > 0 && count >= 1)).toBe(true);
    expect(await k.cluster.podEvents({ ...other!, uid: 'missing' })).toEqual([]);
  });

  test('missingPermissions is empty for an administrator', async () => {
    const wanted = [
      { verb: 'create', resource: 'pods', namespace: ns },
      { verb: 'get', resource: 'pods', subresource: 'log' },
    ];
    expect(await k.cluster.missingPermissions(wanted)).toEqual([]);
  });

  test('version names the server', async () => {
    expect(await k.cluster.version()).toMatch(/^v1\.\d+/);
  });

  test('a malformed selector is invalid', async () => {
    expect(await refusal(k.cluster.listPods(ns, 'a in b c'))).toMatchObject({ fault: 'invalid', status: 400 });
  });
});
