import { describe, expect, test } from 'vitest';
import { shownText } from '../../src/client/log-lines.ts';
import { runReentry } from '../support/processes.ts';
import { localInstallation } from '../support/local-installation.ts';

describe('a live log', () => {
  const { target, installation, client } = localInstallation({ workers: 2, triggerers: 1 });

  test('is received while the pod runs and nothing is stored; at the end each line has come once', async () => {
    const script =
      'echo first; until [ -e /dev/shm/go ]; do sleep 0.05; done; for i in 1 2 3 4 5; do echo line $i; done; echo last';
    const volumes = [{ name: 'shm', emptyDir: {} }];
    const params = { image: 'alpine', namespace: installation().namespace, cmds: ['sh', '-c', script] };
    const volumeMounts = [{ name: 'shm', mountPath: '/dev/shm' }];
    const { runId } = await client().submit({ params: { ...params, volumes, volumeMounts } });
    const lines = client().logs(runId, { follow: true })[Symbol.asyncIterator]();
    expect((await lines.next()).value).toMatchObject({ attempt: 1, container: 'base', text: 'first' });
    // Nothing was stored: the run has no logging interval, and its pod has not ended.
    expect(await Array.fromAsync(client().logs(runId))).toEqual([]);
    expect((await client().status(runId)).phase).toBe('Deferred');

    // A second client that connects later receives all of it, too.
    const late = client().logs(runId, { follow: true })[Symbol.asyncIterator]();
    expect((await late.next()).value).toMatchObject({ text: 'first' });

    const { pod } = await client().status(runId);
    if (pod === undefined) throw new Error('the run has no pod');
    await target().cluster.exec(pod, { container: 'base', command: ['touch', '/dev/shm/go'] });
    const rest = ['line 1', 'line 2', 'line 3', 'line 4', 'line 5', 'last'];
    for (const listener of [lines, late]) {
      const received: string[] = [];
      for (let next = await listener.next(); next.done !== true; next = await listener.next())
        received.push(next.value.text);
      expect(received).toEqual(rest);
    }
    expect((await client().waitFor(runId)).logs).toEqual({ complete: true, gaps: 0 });
    const stored = (await Array.fromAsync(client().logs(runId))).map(({ text }) => text);
    expect(stored).toEqual(['first', ...rest]);
  });

  test.each([
    ['each line has its container’s name', {}, ['[base] from base', '[side] from side']],
    ['unless that is switched off', { containerNameLogPrefixEnabled: false }, ['from base', 'from side']],
    ['unless there is one container only', { containerLogs: 'side' }, ['from side']],
  ])('of several containers: %s', async (_, more, shown) => {
    const volumeMounts = [{ name: 'shared', mountPath: '/shared' }];
    const containerOf = (name: string, script: string) => ({
      name,
      image: 'alpine',
      command: ['sh', '-c', script],
      volumeMounts,
    });
    // The verdict is the base container's; it waits for the other container’s line.
    const base = containerOf('base', 'until [ -e /shared/written ]; do sleep 0.05; done; echo from base');
    const side = containerOf('side', 'echo from side; touch /shared/written');
    const spec = { containers: [base, side], volumes: [{ name: 'shared', emptyDir: {} }] };
    const params = { namespace: installation().namespace, fullPodSpec: { spec } };
    const { runId } = await client().submit({ params: { ...params, containerLogs: true, ...more } });
    await client().waitFor(runId);
    const lines = await Array.fromAsync(client().logs(runId));
    expect(lines.map(shownText).toSorted()).toEqual(shown);
    expect(lines.map(({ text }) => text).toSorted()).toEqual(shown.map((line) => line.replace(/^.*\] /, '')));
    const printed = await runReentry(['logs', runId], { REENTRY_NATS_URL: installation().nats.url });
    expect(printed.stdout.trimEnd().split('\n').toSorted()).toEqual(shown);
  });
});
