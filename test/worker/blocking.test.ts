import { NEVER } from 'rxjs';
import { expect, test } from 'vitest';
import type { Cluster } from '../../src/ports/cluster.ts';
import { type BlockingEvent, BlockingRuns } from '../../src/worker/protocol/blocking.ts';
import { freshName } from '../support/kubernetes.ts';
import { podRuns } from '../support/pod-runs.ts';

const { aContext, kube, namespace } = podRuns();

const MERGE = 'application/merge-patch+json';
const base = (state: object) => ({ name: 'base', image: 'alpine', imageID: '', ready: false, restartCount: 0, state });

/** A pod that no node runs: the test writes its status. */
async function aPod() {
  const name = freshName('held');
  const { pod } = await kube().cluster.createPod(namespace(), {
    ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name, labels: { 'reentry.dev/installation': 'test' } } },
    spec: { nodeName: 'nowhere', containers: [{ name: 'base', image: 'alpine', command: ['sleep', '600'] }] },
  });
  const status = (phase: string, state: object) =>
    kube().raw(
      'PATCH',
      `/api/v1/namespaces/${namespace()}/pods/${name}/status`,
      { status: { phase, containerStatuses: [base(state)] } },
      MERGE,
    );
  return { ref: kube().cluster.project(pod), status };
}

test('a deadline applies only to a pod that was seen after it: a lagging watch ends no run', async () => {
  const { ref, status } = await aPod();
  const { cluster } = kube();
  const looks: (string | undefined)[] = [];
  const watched: Cluster = {
    ...cluster,
    project: (pod) => cluster.project(pod),
    watchPods$: (scope) => cluster.watchPods$(scope),
    findPod: async (pod) => {
      const found = await cluster.findPod(pod);
      looks.push(found?.phase);
      return found;
    },
  };
  // Lists and watches fail, single reads work.
  for (const verb of ['list', 'watch'] as const)
    kube().faults?.order({ fault: 'failNext', verb, resource: 'pods', status: 503, count: 1_000 });
  const context = aContext({}, {}, { cluster: () => watched });
  const now = context.now();
  const deadlines = { from: now, scheduleBy: now + 1_000, startBy: now + 1_000 };
  const events: BlockingEvent[] = [];
  const next = new BlockingRuns('test', NEVER, NEVER).next(context, ref, { terminal: true, ...deadlines });
  void next.then((one) => events.push(one));

  await expect.poll(() => looks).toEqual(['Pending']);
  await status('Running', { running: { startedAt: new Date().toISOString() } });
  await expect.poll(() => looks, { timeout: 10_000 }).toEqual(['Pending', 'Running']);
  expect(events).toEqual([]);
  await status('Succeeded', { terminated: { exitCode: 0, finishedAt: new Date().toISOString() } });
  kube().faults?.order({ fault: 'clear' });
  expect(await next).toMatchObject({ kind: 'event', event: { kind: 'success' } });
  await cluster.deletePod(ref, 0);
});
