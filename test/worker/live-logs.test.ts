import { once } from 'node:events';
import { expect, onTestFinished, test, vi } from 'vitest';
import { accepted, deferred, taken } from '../../src/core/run/state-changes.ts';
import type { RunKey } from '../../src/wire/subjects.ts';
import { LiveFollows, MAX_FOLLOWS } from '../../src/worker/live-logs.ts';
import { anInstallation, sharedNatsServer } from '../support/nats-server.ts';
import { SILENT_LOG } from '../../src/airflow/defaults.ts';

const server = sharedNatsServer();
/** LiveFollows on a real broker with waiting runs, each followed until the test ends it. */
async function someFollows() {
  const installation = await anInstallation(server.url(), { workerQueues: ['default'] });
  onTestFinished(() => installation[Symbol.asyncDispose]());
  const broker = await installation.broker();
  const active = new Set<string>();
  const follows = new LiveFollows({
    ...{ live: broker.live, runs: broker.runs, id: 'w1', log: SILENT_LOG },
    meter: { count: () => undefined, gauge: () => undefined, observeSeconds: () => undefined },
    follow: async ({ tenant, runId }, _state, _publish, signal) => {
      active.add(`${tenant}/${runId}`);
      await once(signal, 'abort');
      active.delete(`${tenant}/${runId}`);
    },
  });
  onTestFinished(() => {
    follows.stop();
  });
  const aRun = async (tenant: string, runId: string): Promise<RunKey> => {
    const run = { tenant, runId };
    const pod = { connection: 'sim', namespace: 'sim', name: runId, uid: `${tenant}-${runId}` };
    const fence = { stream: 'RUNS', seq: 1, epoch: 1, by: 'gone' };
    const queued = accepted({ operator: 'pod' }, { queue: 'default', fence, requestHash: 'h', now: broker.now() });
    const starting = taken(queued, 'Starting', { stream: 'STEPS', seq: 1, by: 'gone' });
    const waiting = deferred(starting, { pod, await: { terminal: true } }, { now: broker.now() });
    await broker.runs.write(run, { ...waiting, op: 'test' }, 0);
    return run;
  };
  return { follows, active, aRun };
}

test('a tenant with many follows loses its oldest one to a tenant with few, never the reverse', async () => {
  const { follows, active, aRun } = await someFollows();
  for (let n = 0; n < MAX_FOLLOWS; n += 1)
    expect(await follows.ask(await aRun('busy', `run-${String(n)}`), true)).toBe(true);
  await vi.waitFor(() => {
    expect(active.size).toBe(MAX_FOLLOWS);
  });
  const one = await aRun('quiet', 'one');
  expect(await follows.ask(one, true)).toBe(true);
  await vi.waitFor(() => {
    expect([...active]).toContain('quiet/one');
    expect(active.size).toBe(MAX_FOLLOWS);
  });
  expect([...active]).not.toContain('busy/run-0');
  // The tenant with the most follows displaces no other tenant's.
  expect(await follows.ask({ tenant: 'busy', runId: 'run-0' }, true)).toBe(false);
  expect([...active]).toContain('quiet/one');
});
