import { expect, test, vi } from 'vitest';
import { connect } from '../../src/client/index.ts';
import { TARGETS } from '../support/kubernetes.ts';
import { runReentry } from '../support/processes.ts';
import { startInstallation } from '../support/running-installation.ts';

const [local] = TARGETS;

test('one process is worker, triggerer and executor; it drains as a whole', async () => {
  if (local === undefined) throw new Error('there is always a local cluster');
  await using target = await local.start();
  await using installation = await startInstallation(target, { workers: 0, triggerers: 0 });
  const whole = installation.start('serve', {}, ['worker', 'triggerer', 'executor']);
  await using client = await connect({ servers: installation.nats.url });
  await vi.waitFor(() => client.list(), { timeout: 60_000 });

  const params = { image: 'alpine', namespace: installation.namespace };
  const pod = await client.submit({ params: { ...params, cmds: ['sh', '-c', 'sleep 0.2; echo hi'] } });
  const command = await client.submit({
    operator: 'command',
    params: { ...params, command: ['sh', '-c', 'sleep 0.2'] },
  });
  for (const { runId } of [pod, command]) expect(await client.waitFor(runId)).toMatchObject({ state: 'succeeded' });

  const [, port = ''] = /"port":(\d+),"msg":"serving health and metrics"/.exec(whole.stderr()) ?? [];
  const figures = async () => {
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    const of = (name: string) =>
      Number(new RegExp(`^reentry_${name}(?:{connection="default"})? (\\d+)$`, 'm').exec(text)?.[1]);
    return Object.fromEntries(
      ['pods_created_total', 'pods_deleted_total', 'log_lines_total', 'broker_connected'].map((name) => [
        name,
        of(name),
      ]),
    );
  };
  await expect
    .poll(figures, { timeout: 20_000 })
    .toEqual({ pods_created_total: 2, pods_deleted_total: 2, log_lines_total: 1, broker_connected: 1 });

  whole.kill('SIGTERM');
  expect(await whole.ended).toBe(0);
  for (const role of ['worker', 'triggerer', 'executor']) expect(whole.stderr()).toContain(`${role} stopped`);
});

test('one role that cannot continue ends the process, with its reason', async () => {
  if (local === undefined) throw new Error('there is always a local cluster');
  await using target = await local.start();
  await using installation = await startInstallation(target, { workers: 0, triggerers: 0 });
  // Only the executor reads this file.
  const flags = ['--executor-pod-template-file', '/nowhere/pod.yaml'];
  const { code, stderr } = await runReentry(['serve', 'worker', 'executor', ...flags], installation.env);
  expect(code).not.toBe(0);
  expect(stderr).toContain('/nowhere/pod.yaml');
});
