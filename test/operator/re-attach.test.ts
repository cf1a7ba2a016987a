import { describe, expect, test } from 'vitest';
import { recordIn } from '../../src/core/json.ts';
import { addSuffix } from '../../src/core/pod/names.ts';
import type { PodParamsInput } from '../../src/operator/pod-params.ts';
import { freshName } from '../support/kubernetes.ts';
import { aState, type Context, deferred, over, podRuns, sh } from '../support/pod-runs.ts';

const { operator, aContext, podOf, launch, cluster, untilGone, namespace } = podRuns();

const second = (context: Context): Context => ({ ...context, state: aState({ attempt: 2 }) });

/** A live pod of the run's first attempt beside the one it has. */
async function twinOf(context: Context): Promise<void> {
  const { name } = await podOf(context);
  const found = await cluster().getPod(namespace(), name);
  const { labels, annotations } = recordIn(found, 'metadata');
  const twin = addSuffix(name, freshName('twin').slice(-8));
  await cluster().createPod(namespace(), {
    ...{ apiVersion: 'v1', kind: 'Pod' },
    metadata: { name: twin, labels, annotations },
    spec: { restartPolicy: 'Never', containers: [{ name: 'base', image: 'alpine', command: ['sleep', '600'] }] },
  });
}

describe('a later attempt', () => {
  test('E46 uses the live pod of an earlier one: no pod is created or deleted', async () => {
    const context = await launch(sh('sleep 600'));
    const again = deferred(await operator.execute(second(context)));
    expect(again.pod).toEqual(context.state.pod);
    expect((await podOf(context)).deletedAt).toBeUndefined();
    await cluster().deletePod(again.pod, 0);
  });

  test('E46 uses it although its spec was exported from a marked pod', async () => {
    const labels = { already_checked: 'True', airflow_executor_done: 'True', 'airflow-worker': 'w' };
    const context = await launch(sh('sleep 600', { fullPodSpec: { metadata: { labels } } }));
    const again = deferred(await operator.execute(second(context)));
    expect(again.pod).toEqual(context.state.pod);
    await cluster().deletePod(again.pod, 0);
  });

  test('E47 E48 gets a new pod once the earlier one has ended, was evicted or is being deleted', async () => {
    const context = await launch(sh('sleep 600', { terminationGracePeriod: 30 }));
    const { pod } = context.state;
    if (pod === undefined) throw new Error('there is a pod');
    await cluster().deletePod(pod);
    const again = deferred(await operator.execute(second(context)));
    expect(again.pod.uid).not.toBe(pod.uid);
    await cluster().deletePod(again.pod, 0);
  });

  test('E49 ignores a marked pod', async () => {
    const context = await launch(sh('sleep 600'));
    const { pod } = context.state;
    if (pod === undefined) throw new Error('there is a pod');
    await cluster().patchPod(pod, { metadata: { labels: { already_checked: 'True' } } });
    const again = deferred(await operator.execute(second(context)));
    expect(again.pod.uid).not.toBe(pod.uid);
    for (const one of [pod, again.pod]) await cluster().deletePod(one, 0);
  });

  test('E50 of a run with several live pods fails; with reattachOnRestart off it marks them all and creates a new one', async () => {
    const context = await launch(sh('sleep 600', { terminationGracePeriod: 0 }));
    await twinOf(context);
    expect(over(await operator.execute(second(context)))).toMatchObject({ diagnosis: { code: 'PODS_AMBIGUOUS' } });
    const off = second({
      ...context,
      params: { ...context.params, reattachOnRestart: false, onFinishAction: 'keep_pod' },
    });
    const created = deferred(await operator.execute(off));
    const pods = (await cluster().listPods(namespace(), 'reentry.dev/run')).filter(
      ({ runId }) => runId === context.run.runId,
    );
    expect(pods.filter(({ alreadyChecked }) => alreadyChecked)).toHaveLength(2);
    expect(pods.filter(({ alreadyChecked }) => !alreadyChecked).map(({ uid }) => uid)).toEqual([created.pod.uid]);
    for (const pod of pods) await cluster().deletePod(pod, 0);
  });

  test('E50 with reattachOnRestart off deletes the earlier one if onFinishAction deletes', async () => {
    const context = await launch(sh('sleep 600', { reattachOnRestart: false, terminationGracePeriod: 0 }));
    const { pod } = deferred(await operator.execute(second(context)));
    await untilGone(context);
    await cluster().deletePod(pod, 0);
  });

  test('with a fixed name waits until the earlier pod is gone', async () => {
    const params: PodParamsInput = { name: freshName('older'), randomNameSuffix: false, terminationGracePeriod: 30 };
    const context = await launch(sh('trap "" TERM; sleep 600', { ...params, reattachOnRestart: false }));
    expect(await operator.execute(second(context))).toMatchObject({ kind: 'later', infrastructure: false });
    await cluster().deletePod(await podOf(context), 0);
  });
});

test('a blocking run never gets a second pod for one that is gone', async () => {
  const context = await launch(sh('sleep 600', { deferrable: false, terminationGracePeriod: 0 }));
  const taken = { ...context, state: { ...context.state, phase: 'Starting' as const } };
  expect(deferred(await operator.execute(taken)).pod).toEqual(context.state.pod);
  await cluster().deletePod(await podOf(context), 0);
  await untilGone(context);
  expect(over(await operator.execute(taken))).toMatchObject({ state: 'failed', diagnosis: { code: 'POD_DELETED' } });
  const name = context.state.pod?.name ?? '';
  expect(await cluster().getPod(namespace(), name)).toBeUndefined();
});

test('E51 no pod is deleted when none could be created', async () => {
  const before = cluster().requestCounts()['delete'] ?? 0;
  expect(over(await operator.execute(aContext({ namespace: 'nowhere' }))).state).toBe('failed');
  expect(cluster().requestCounts()['delete'] ?? 0).toBe(before);
});
