/** The broker's data is deleted under running pods; `recover` finds their runs again. Seen from outside: pods by the API, ends by events. */
import { once } from 'node:events';
import { createServer } from 'node:net';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { recordIn } from '../../src/core/json.ts';
import { ANNOTATIONS, installationSelector, LABELS } from '../../src/core/pod/labels.ts';
import { DEFAULT_SUBJECT_ROOT, subjectsUnder } from '../../src/wire/subjects.ts';
import { TARGETS } from '../support/kubernetes.ts';
import { runReentry } from '../support/processes.ts';
import { startInstallation } from '../support/running-installation.ts';

const subjects = subjectsUnder(DEFAULT_SUBJECT_ROOT);
const RUNS = 8;
const POLL = { timeout: 120_000, interval: 100 };
const reportSchema = z.looseObject({
  counts: z.record(z.string(), z.number()),
  pods: z.array(z.looseObject({ outcome: z.string(), runId: z.string().optional(), uid: z.string() })),
  couldNotKnow: z.array(z.string()).min(1),
});

test('every pod is found, none is killed or created twice, and every run ends', async () => {
  const [local] = TARGETS;
  if (local === undefined) throw new Error('there is no local cluster');
  await using target = await local.start();
  await using installation = await startInstallation(target, { workers: 2, triggerers: 2 });
  // The pods end when this port answers: the local cluster's containers share the machine's network.
  const gate = createServer((socket) => socket.end());
  gate.listen(0, '127.0.0.1');
  await once(gate, 'listening');
  const address = gate.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  gate.close();
  await once(gate, 'close');
  const script = `exec bash -c 'until (exec 3<>/dev/tcp/127.0.0.1/${String(port)}) 2>/dev/null; do sleep 0.2; done; echo done'`;
  const params = { image: 'alpine', cmds: ['sh', '-c'], arguments: [script], namespace: installation.namespace };
  const js = installation.connection.nc.jetstream();
  const runIds = Array.from({ length: RUNS }, (_, n) => `run-${String(n)}`);
  const ask = (runId: string) =>
    js.publish(subjects.run.of('default', { tenant: 'default', runId }), JSON.stringify({ params }));
  for (const runId of runIds) await ask(runId);
  const podsNow = async () =>
    target.cluster.listPods(installation.namespace, installationSelector(installation.namespace));
  const running = async () => (await podsNow()).filter(({ phase }) => phase === 'Running').length;
  await expect.poll(running, POLL).toBe(RUNS);
  const before = new Map((await podsNow()).map(({ uid, runId }) => [uid, runId]));

  await installation.loseBrokerData();
  expect(await runReentry(['setup'], installation.env)).toMatchObject({ code: 0 });
  // Any client that may create pods can set reentry's labels: an invalid run id is not a run.
  const foreign = target.pod({ runForSeconds: 3_600, labels: { [LABELS.installation]: installation.namespace } });
  const annotations = { [ANNOTATIONS.tenant]: 'x 2\r\nPUB evil'.repeat(20), [ANNOTATIONS.runId]: 'r' };
  const stranger = await target.cluster.createPod(installation.namespace, {
    ...foreign,
    metadata: { ...recordIn(foreign, 'metadata'), annotations },
  });
  const recover = async (...args: readonly string[]) =>
    reportSchema.parse(JSON.parse((await runReentry(['recover', '--json', ...args], installation.env)).stdout));
  expect((await recover('--dry-run')).counts).toEqual({ recovered: RUNS, unnamed: 1 });
  // A forgotten queue is reported: no process would continue its runs.
  expect((await runReentry(['recover', '--dry-run', '--queues', 'other'], installation.env)).stderr).toContain(
    `queue default of ${String(RUNS)} recovered runs`,
  );
  const report = await recover();
  const recovered = report.pods.filter(({ outcome }) => outcome === 'recovered');
  expect(new Map(recovered.map(({ uid, runId }) => [uid, runId]))).toEqual(before);
  expect(report.counts).toEqual({ recovered: RUNS, unnamed: 1 });
  expect(report.pods.find(({ outcome }) => outcome === 'unnamed')).not.toHaveProperty('tenant');
  expect((await recover()).counts).toEqual({ known: RUNS, unnamed: 1 });
  await target.cluster.deletePod(target.cluster.project(stranger.pod), 0);
  await expect.poll(async () => (await podsNow()).length, POLL).toBe(RUNS);
  // A client that does not know of the recovery submits it again: the run exists.
  await expect
    .poll(
      () =>
        ask('run-0').then(
          () => true,
          () => false,
        ),
      POLL,
    )
    .toBe(true);
  expect(new Set((await podsNow()).map(({ uid }) => uid))).toEqual(new Set(before.keys()));
  expect(await running()).toBe(RUNS);

  const opened = createServer((socket) => socket.end());
  opened.listen(port, '127.0.0.1');
  await once(opened, 'listening');
  const jsm = await installation.connection.nc.jetstreamManager();
  const completed = async () => {
    const filter = { subjects_filter: subjects.event.completedOf('default') };
    return Object.values((await jsm.streams.info('REENTRY_EVENTS', filter)).state.subjects ?? {});
  };
  await expect.poll(completed, POLL).toEqual(runIds.map(() => 1));
  opened.close();
  const listed = await runReentry(['list', '--json'], installation.env);
  const { runs } = z
    .object({
      runs: z.array(z.looseObject({ phase: z.string(), attempt: z.number(), pod: z.looseObject({ uid: z.string() }) })),
    })
    .parse(JSON.parse(listed.stdout));
  expect(runs.map(({ phase, attempt }) => [phase, attempt])).toEqual(runIds.map(() => ['Succeeded', 1]));
  expect(new Set(runs.map(({ pod }) => pod.uid))).toEqual(new Set(before.keys()));
  expect((await runReentry(['logs', 'run-3'], installation.env)).stdout).toContain('done');
  await expect.poll(podsNow, POLL).toEqual([]);
});
