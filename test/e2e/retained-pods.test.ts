import { describe, expect, test } from 'vitest';
import { installationSelector } from '../../src/core/pod/labels.ts';
import { localInstallation } from '../support/local-installation.ts';

describe('retained pods', () => {
  const { target, installation, client } = localInstallation({ workers: 1, triggerers: 1 });

  const podsOf = async (runId: string) =>
    (await target().cluster.listPods(installation().namespace, installationSelector(installation().namespace)))
      .filter((pod) => pod.runId === runId)
      .map(({ attempt, phase, alreadyChecked }) => ({ attempt, phase, alreadyChecked }))
      .toSorted((a, b) => (a.attempt ?? 0) - (b.attempt ?? 0));
  const sh = (script: string) => ({ image: 'alpine', namespace: installation().namespace, cmds: ['sh', '-c', script] });
  const retried = { retries: 1, retryDelaySeconds: 0.1 };

  test.each(['keep_pod', 'delete_succeeded_pod'] as const)(
    'each failed attempt’s is retained by %s, and its result sidecar is ended',
    async (onFinishAction) => {
      const params = { ...sh('exit 1'), onFinishAction, doXcomPush: true };
      const { runId } = await client().submit({ params, ...retried });
      expect(await client().waitFor(runId)).toMatchObject({ state: 'failed', exitCode: 1, attempt: 2 });
      await expect
        .poll(() => podsOf(runId), { timeout: 20_000 })
        .toEqual([1, 2].map((attempt) => ({ attempt, phase: 'Failed', alreadyChecked: true })));
    },
  );

  test('with a fixed name the last attempt’s is retained, and the one before deleted', async () => {
    const params = { ...sh('exit 1'), name: 'fixed', randomNameSuffix: false, onFinishAction: 'keep_pod' as const };
    const { runId } = await client().submit({ params, ...retried });
    expect(await client().waitFor(runId)).toMatchObject({ state: 'failed', exitCode: 1, attempt: 2 });
    await expect
      .poll(() => podsOf(runId), { timeout: 20_000 })
      .toEqual([{ attempt: 2, phase: 'Failed', alreadyChecked: true }]);
  });

  test('a pod that never started is deleted: it could start after its run has ended', async () => {
    const params = { ...sh('true'), image: 'missing/image:1', onFinishAction: 'keep_pod' as const };
    const { runId } = await client().submit({ params });
    expect(await client().waitFor(runId)).toMatchObject({ state: 'failed' });
    await expect.poll(() => podsOf(runId), { timeout: 20_000 }).toEqual([]);
  });
});
