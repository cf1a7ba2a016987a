/** `/healthz` during an outage of the broker that is longer than every limit of liveness. */
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import { connect } from '../../src/client/index.ts';
import { SILENT_LIMIT_MS } from '../../src/core/liveness.ts';
import { TARGETS } from '../support/kubernetes.ts';
import { healthPage } from '../support/processes.ts';
import { startInstallation } from '../support/running-installation.ts';

const [local] = TARGETS;

test('no role requests a restart during an outage of the broker, and all continue after it', async () => {
  if (local === undefined) throw new Error('there is always a local cluster');
  await using target = await local.start();
  await using installation = await startInstallation(target, { workers: 0, triggerers: 0 });
  const roles = (['worker', 'triggerer', 'executor'] as const).map((name) => installation.start(name));
  const answers = (path: string) => Promise.all(roles.map(async (role) => (await healthPage(role, path)).status));
  await expect.poll(() => answers('/readyz'), { timeout: 60_000 }).toEqual([200, 200, 200]);

  const seen = new Set<number>();
  let unready: readonly number[] = [];
  await installation.restartBroker(async () => {
    const endsAt = performance.now() + SILENT_LIMIT_MS + 15_000;
    while (performance.now() < endsAt) {
      for (const status of await answers('/healthz')) seen.add(status);
      unready = await answers('/readyz');
      await delay(1_000);
    }
  });
  expect([...seen]).toEqual([200]);
  expect(unready).toEqual([503, 503, 503]);

  await expect.poll(() => answers('/readyz'), { timeout: 60_000 }).toEqual([200, 200, 200]);
  await using client = await connect({ servers: installation.nats.url });
  const params = { image: 'alpine', namespace: installation.namespace, cmds: ['true'] };
  // JetStream may still be recovering; the same id makes it the same run.
  await vi.waitFor(() => client.submit({ params }, { runId: 'after' }), { timeout: 60_000 });
  expect(await client.waitFor('after')).toMatchObject({ state: 'succeeded' });
  expect(await answers('/healthz')).toEqual([200, 200, 200]);
}, 300_000);
