import { describe, expect, test } from 'vitest';
import { XCOM } from '../../src/core/pod/xcom-sidecar.ts';
import { KubernetesError } from '../../src/errors.ts';
import type { PodParamsInput } from '../../src/operator/pod-params.ts';
import { freshName } from '../support/kubernetes.ts';
import { after, aState, type Context, deferred, over, podRuns, sh } from '../support/pod-runs.ts';

const { operator, aContext, podOf, event, launch, toTheEnd, storedLines, untilGone, kube, cluster, ...parts } =
  podRuns();

describe('a run of one pod', () => {
  test('succeeds with its result and its log, and its pod is deleted', async () => {
    const { context, outcome } = await toTheEnd(
      sh('echo one; echo two; echo "{\\"n\\": {{ params.n }}}" > /dev/termination-log', { doXcomPush: true }),
      { context: { params: { n: 41 } } },
    );
    expect(outcome).toMatchObject({
      state: 'succeeded',
      exitCode: 0,
      result: { n: 41 },
      logs: { complete: true, gaps: 0 },
    });
    expect(await storedLines(context)).toEqual(['one', 'two']);
    await operator.cleanUp(context, outcome, await podOf(context));
    await untilGone(context);
  });

  test('fails with the exit code and the termination message', async () => {
    const { outcome } = await toTheEnd(sh('echo "no such table" > /dev/termination-log; exit 3'));
    expect(outcome).toMatchObject({
      state: 'failed',
      exitCode: 3,
      diagnosis: {
        code: 'CONTAINER_FAILED',
        category: 'user',
        summary: 'Container base exited with code 3: no such table',
      },
    });
  });

  test('is skipped by its exit code', async () => {
    const { outcome } = await toTheEnd(sh('exit 99', { skipOnExitCode: [99] }));
    expect(outcome).toMatchObject({ state: 'skipped', exitCode: 99 });
  });

  test('succeeds and reports that its result is missing', async () => {
    const { outcome } = await toTheEnd(sh('echo hi', { doXcomPush: true }));
    expect(outcome).toMatchObject({ state: 'succeeded', diagnosis: { code: 'RESULT_INVALID' } });
  });

  test('fails at once when its image cannot be pulled', async () => {
    const { outcome } = await toTheEnd({ image: 'missing/image' });
    expect(outcome).toMatchObject({ state: 'failed', diagnosis: { code: 'IMAGE_PULL_FAILED' } });
  });

  test('fails with its init container', async () => {
    const initContainers = [{ name: 'prepare', image: 'alpine', command: ['sh', '-c', 'echo preparing; exit 7'] }];
    const { context, outcome } = await toTheEnd(sh('true', { initContainers, initContainerLogs: true }));
    expect(outcome.diagnosis).toMatchObject({
      code: 'INIT_CONTAINER_FAILED',
      summary: 'Init container prepare exited with code 7',
    });
    expect(await storedLines(context, 'prepare')).toEqual(['preparing']);
  });

  test('is stopped at its execution time-out', async () => {
    const { context, outcome } = await toTheEnd(sh('sleep 600', { terminationGracePeriod: 1 }), {
      executionTimeoutSeconds: 1,
    });
    expect(outcome).toMatchObject({ state: 'failed', diagnosis: { code: 'EXECUTION_TIMEOUT', category: 'timeout' } });
    await operator.cleanUp(context, outcome, await podOf(context));
    await untilGone(context);
  });
});

describe('an event that is older than what the pod is now', () => {
  const shared: PodParamsInput = {
    volumes: [{ name: 'shm', emptyDir: {} }],
    volumeMounts: [{ name: 'shm', mountPath: '/dev/shm' }],
  };
  const waiting = (reason: string) =>
    ({ name: 'base', kind: 'main', restartCount: 0, state: 'waiting', reason }) as const;

  test.each([
    ['failed', 'IMAGE_PULL_FAILED'],
    ['timeout', 'STARTUP_TIMEOUT'],
  ] as const)('%s: the pod has started meanwhile, is waited for, and ends by itself', async (kind, reason) => {
    const context = await launch(sh('until [ -e /dev/shm/go ]; do sleep 0.05; done', shared));
    await kube().until(await podOf(context), ({ phase }) => phase === 'Running');
    const then = { ...(await podOf(context)), phase: 'Pending' as const, containers: [waiting('ErrImagePull')] };
    const stale = { kind, reason, at: 0, pod: then };
    expect(await operator.triggerReentry(context, stale)).toMatchObject({ kind: 'defer', pod: { uid: then.uid } });
    await cluster().exec(then, { container: 'base', command: ['touch', '/dev/shm/go'] });
    await event(context);
    expect(over(await operator.triggerReentry(context, stale))).toMatchObject({ state: 'succeeded', exitCode: 0 });
  });
});

test.each([
  ['failed', 'IMAGE_PULL_FAILED'],
  ['timeout', 'STARTUP_TIMEOUT'],
] as const)(
  'an event %s does not fail a pod that succeeded and whose result sidecar still starts',
  async (kind, reason) => {
    const name = freshName('late-sidecar');
    const { pod } = await cluster().createPod(parts.namespace(), {
      ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name, labels: { 'reentry.dev/installation': 'test' } } },
      spec: {
        nodeName: 'nowhere',
        containers: ['base', XCOM.container].map((of) => ({ name: of, image: 'alpine', command: ['true'] })),
      },
    });
    const status = (of: string, state: object) => ({
      ...{ name: of, image: 'alpine', imageID: '', ready: false, restartCount: 0, state },
    });
    const containerStatuses = [
      status('base', { terminated: { exitCode: 0, reason: 'Completed', finishedAt: new Date().toISOString() } }),
      status(XCOM.container, { waiting: { reason: 'ContainerCreating' } }),
    ];
    const path = `/api/v1/namespaces/${parts.namespace()}/pods/${name}/status`;
    // As on a kubelet: a pod is Pending until all of its containers have started.
    const body = { status: { phase: 'Pending', containerStatuses } };
    await kube().raw('PATCH', path, body, 'application/merge-patch+json');
    const now = cluster().project(pod);
    const then = { ...now, containers: [{ name: 'base', kind: 'main', restartCount: 0, state: 'waiting' } as const] };
    const { connection, namespace, uid } = now;
    const state = aState({ phase: 'Resuming', pod: { connection, namespace, name, uid }, await: { terminal: true } });
    const context = aContext(sh('true', { doXcomPush: true }), {}, { state });
    expect(await operator.triggerReentry(context, { kind, reason, at: 0, pod: then })).toMatchObject({ kind: 'defer' });
    await cluster().deletePod(now, 0);
  },
);

describe('launching', () => {
  test('twice finds the same pod', async () => {
    const context = aContext(sh('sleep 600'));
    const first = deferred(await operator.execute(context));
    const second = deferred(await operator.execute(context));
    expect(second.pod).toEqual(first.pod);
    expect(second.await.terminal).toBe(true);
    await cluster().deletePod(first.pod, 0);
  });

  test('is found again by a worker that takes the run over', async () => {
    const context = aContext(sh('sleep 600'));
    expect(await operator.find?.(context)).toBeUndefined();
    const { pod } = deferred(await operator.execute(context));
    expect(await operator.find?.(context)).toEqual(pod);
    expect(await operator.find?.({ ...context, state: aState({ attempt: 2 }) })).toBeUndefined();
    await cluster().deletePod(pod, 0);
  });

  test('fails when another owner’s pod has its name', async () => {
    const params = sh('true', { name: freshName('taken'), randomNameSuffix: false });
    await operator.execute(aContext(params));
    expect(over(await operator.execute(aContext(params))).diagnosis?.code).toBe('POD_NAME_TAKEN');
  });

  test('does not wait without a pod when the outcome of the creation is unknown', async () => {
    const lost = new KubernetesError('unknownOutcome', 'no answer', { status: 0, reason: 'Timeout' });
    const lossy = { ...cluster(), createPod: () => Promise.reject(lost) };
    await expect(operator.execute(aContext(sh('true'), {}, { cluster: () => lossy }))).rejects.toBe(lost);
  });

  test.each<[string, PodParamsInput, Partial<Context>, string]>([
    ['a namespace that is not watched', {}, { namespaces: ['other'] }, 'NAMESPACE_NOT_WATCHED'],
    ['a namespace with a path', { namespace: '..' }, {}, 'INVALID_REQUEST'],
    [
      'one in its full spec',
      { fullPodSpec: { metadata: { namespace: '.' } }, namespace: undefined },
      {},
      'INVALID_REQUEST',
    ],
    ['a missing namespace', { namespace: 'nowhere' }, {}, 'NAMESPACE_NOT_FOUND'],
    ['a manifest the API refuses', { volumeMounts: [{ name: 'none', mountPath: '/x' }] }, {}, 'INVALID_REQUEST'],
    ['a host path', { volumes: [{ name: 'v', hostPath: { path: '/' } }] }, {}, 'INVALID_REQUEST'],
    ['an unknown template variable', { cmds: ['{{ unknown }}'] }, {}, 'INVALID_REQUEST'],
  ])('is refused for %s', async (_, params, more, code) => {
    expect(over(await operator.execute(aContext(params, {}, more)))).toMatchObject({
      state: 'failed',
      diagnosis: { code },
    });
  });

  test('creates no pod once a cancel was requested', async () => {
    const context = aContext({}, {}, { checkOwner: () => Promise.resolve({ cancelRequested: true }) });
    expect(over(await operator.execute(context)).state).toBe('cancelled');
    expect(await cluster().listPods(parts.namespace(), `reentry.dev/run`)).not.toContainEqual(
      expect.objectContaining({ runId: context.run.runId }),
    );
  });
});

describe('re-entry', () => {
  test('while the pod runs stores each line once, and leaves the deadlines unchanged', async () => {
    let context = await launch(
      sh('echo a; echo b; until [ -e /tmp/go ]; do sleep 0.05; done; echo c', { loggingInterval: 1 }),
      {
        executionTimeoutSeconds: 300,
      },
    );
    const { await: wait } = context.state;
    expect(wait?.loggingEveryMs).toBe(5000);
    const running = async (): Promise<void> => {
      const pod = await podOf(context);
      const copy = { ...pod, containers: pod.containers.map((one) => ({ ...one })) };
      const again = deferred(
        await operator.triggerReentry(context, { kind: 'running', at: parts.broker().now(), pod: copy }),
      );
      expect(again.await).toEqual(wait);
      context = after(context, again);
    };
    await expect
      .poll(async () => (await running(), await storedLines(context)), { timeout: 20_000 })
      .toEqual(['a', 'b']);
    await running();
    expect(await storedLines(context)).toEqual(['a', 'b']);
    expect(await operator.stop(context, await podOf(context))).toBe('stopping');
  });

  test('of a pod deleted by another client: a stop reads its log while the node still has it', async () => {
    const context = await launch(sh('trap "" TERM; echo final line; sleep 600', { terminationGracePeriod: 600 }));
    await expect.poll(async () => (await podOf(context)).containers[0]?.state, { timeout: 20_000 }).toBe('running');
    const pod = await podOf(context);
    await cluster().deletePod(pod);
    await expect
      .poll(async () => (await operator.stop(context, pod), await storedLines(context)), { timeout: 10_000 })
      .toEqual(['final line']);
    expect(await operator.stop(context, pod)).toBe('stopping');
    await cluster().deletePod(pod, 0);
  });

  test('by two workers at once stores each line once', async () => {
    const context = await launch(
      sh('i=0; while [ $i -lt 3000 ]; do echo "line $i of a long enough text to fill chunks"; i=$((i+1)); done'),
    );
    const ended = await event(context);
    await Promise.all([operator.triggerReentry(context, ended), operator.triggerReentry(context, ended)]);
    await operator.triggerReentry(context, ended);
    const lines = await storedLines(context);
    expect(lines.length).toBe(3000);
    expect(new Set(lines).size).toBe(3000);
    expect(lines[2999]).toContain('line 2999 ');
  });

  test('of a pod that is gone: its last state decides, without its log', async () => {
    const context = await launch(sh('echo x'));
    const ended = await event(context);
    await cluster().deletePod(await podOf(context), 0);
    await untilGone(context);
    expect(over(await operator.triggerReentry(context, ended))).toMatchObject({
      state: 'succeeded',
      exitCode: 0,
      logs: { complete: false },
    });
    expect(over(await operator.triggerReentry(context, { kind: 'gone', at: 1 })).diagnosis?.code).toBe('POD_DELETED');
  });

  test('after an error reads the pod itself and waits again, three times', async () => {
    let context = await launch(sh('sleep 600'));
    for (let n = 0; n < 3; n += 1)
      context = after(context, deferred(await operator.triggerReentry(context, { kind: 'error', at: 1 })));
    expect(over(await operator.triggerReentry(context, { kind: 'error', at: 1 })).state).toBe('failed');
    await cluster().deletePod(await podOf(context), 0);
  });
});

test('a pod that is stopped between two attempts has its log under its own attempt only', async () => {
  const context = await launch(sh('echo one; sleep 600', { terminationGracePeriod: 0, loggingInterval: 5 }));
  const running = { kind: 'running', at: 1 } as const;
  await expect
    .poll(async () => (await operator.triggerReentry(context, running), await storedLines(context)), {
      timeout: 20_000,
    })
    .toEqual(['one']);
  const between = { ...context, state: aState({ pod: { ...(await podOf(context)) }, attempt: 2 }) };
  expect(await operator.stop(between, await podOf(context))).toBe('stopping');
  expect(await parts.broker().logs.read(context.run, { attempt: 2, limit: 10 })).toEqual({ chunks: [] });
  await untilGone(context);
});

test('onKillAction keep_pod retains a stopped pod, regardless of onFinishAction', async () => {
  const context = await launch(sh('sleep 600', { onKillAction: 'keep_pod' }));
  const pod = await podOf(context);
  expect(await operator.stop(context, pod)).toBe('gone');
  await operator.cleanUp(context, { state: 'cancelled' }, pod);
  expect(await podOf(context)).toMatchObject({ alreadyChecked: true, deletedAt: undefined });
  await cluster().deletePod(pod, 0);
});

test.each<[PodParamsInput['onFinishAction'], number, boolean]>([
  ['keep_pod', 0, true],
  ['delete_succeeded_pod', 0, false],
  ['delete_succeeded_pod', 1, true],
  ['delete_active_pod', 0, true],
])('onFinishAction %s after exit code %d', async (onFinishAction, code, retained) => {
  const { context, outcome } = await toTheEnd(sh(`exit ${String(code)}`, { onFinishAction }));
  await operator.cleanUp(context, outcome, await podOf(context));
  if (retained) expect((await podOf(context)).alreadyChecked).toBe(true);
  else await untilGone(context);
});
