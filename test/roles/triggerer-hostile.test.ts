/** A user who may create pods with the installation's labels sets their annotations: these must not inject anything into the broker's protocol. */
import { Subject } from 'rxjs';
import { expect, test } from 'vitest';
import { recordIn } from '../../src/core/json.ts';
import { ANNOTATIONS, LABELS } from '../../src/core/pod/labels.ts';
import { SHARD_COUNT } from '../../src/core/identity.ts';
import { openClusters } from '../../src/kubernetes/clusters.ts';
import { connectNats } from '../../src/nats/connection.ts';
import { layoutFrom } from '../../src/nats/link.ts';
import type { Log, Meter } from '../../src/ports/ambient.ts';
import { triggerer } from '../../src/roles/triggerer.ts';
import { ctlMessageSchema } from '../../src/wire/steps.ts';
import { freshName, TARGETS } from '../support/kubernetes.ts';
import { anInstallation, sharedNatsServer } from '../support/nats-server.ts';
import { DEFAULTS } from '../support/defaults.ts';

const server = sharedNatsServer();
const WITHIN = { timeout: 20_000, interval: 20 };
/** Ends the protocol line that it is put into, and begins others. */
const LINES = ' 2\r\nhi\r\nPUB evil.x 2\r\nhi\r\nPUB evil.y 2\r\nho\r\n';

/** Annotations, and the run that a report may be about. */
const PODS: readonly {
  readonly annotations: { readonly tenant?: string; readonly runId?: string; readonly queue?: string };
  readonly isRun: boolean;
}[] = [
  { annotations: { tenant: 'acme', runId: 'queue', queue: `default.ctl.a.b${LINES}` }, isRun: true },
  { annotations: { tenant: 'acme', runId: 'wildcard', queue: '*' }, isRun: true },
  { annotations: { tenant: 'acme', runId: 'levels', queue: 'default.start.acme.other' }, isRun: true },
  { annotations: { tenant: 'acme', runId: 'long-queue', queue: 'q'.repeat(5_000) }, isRun: true },
  // Odd, but a text like any other: it is encoded.
  { annotations: { tenant: 'acme', runId: 'a\r\nb', queue: 'default' }, isRun: true },
  { annotations: { tenant: `acme${LINES.repeat(3)}`, runId: 'tenant' }, isRun: false },
  { annotations: { tenant: '', runId: 'no-tenant' }, isRun: false },
  { annotations: { tenant: 'acme', runId: '' }, isRun: false },
  { annotations: { tenant: 'acme', runId: 'x'.repeat(10_000) }, isRun: false },
  { annotations: { tenant: 'acme' }, isRun: false },
];

test('hostile annotations of pods publish nothing, and the triggerer continues', async () => {
  const target = TARGETS.at(-1);
  if (target === undefined) throw new Error('no Kubernetes to test on');
  await using kubernetes = await target.start();
  await using installation = await anInstallation(server.url());
  await using observer = await connectNats({ ...installation.options, role: 'setup', name: 'observer' });
  const namespace = await kubernetes.namespace();
  await using clusters = openClusters({ connections: { test: { kubeconfig: kubernetes.kubeconfig } } });
  const { subjects } = layoutFrom(installation.options);
  const injected: string[] = [];
  const reports: { readonly subject: string; readonly data: unknown }[] = [];
  observer.nc.subscribe('evil.>', { callback: (_error, { subject }) => injected.push(subject) });
  observer.nc.subscribe(subjects.step.all, {
    callback: (_error, message) => reports.push({ subject: message.subject, data: message.json() }),
  });
  await observer.nc.flush();

  const ignored: string[] = [];
  const warned: object[] = [];
  const log: Log = {
    ...{ debug: () => undefined, info: () => undefined, error: () => undefined, child: () => log },
    warn: (fields, message) => warned.push({ ...fields, message }),
  };
  const meter: Meter = {
    ...{ gauge: () => undefined, observeSeconds: () => undefined },
    count: (name: string) => {
      if (name === 'pods_misnamed_total') ignored.push(name);
    },
  };
  const settings = {
    ...DEFAULTS.triggerer,
    ...{ id: 't1', installation: freshName('inst'), namespaces: [namespace] },
    ...{ defaultQueue: 'default', orphanAfterMs: 200 },
  };
  const broker = await installation.broker('triggerer');
  const work$ = triggerer({ broker, clusters, settings, log, meter });
  const stop$ = new Subject<void>();
  const failures: unknown[] = [];
  const running = work$(stop$).subscribe({ error: (error: unknown) => failures.push(error) });
  await expect.poll(() => work$.health().shards.length, WITHIN).toBe(SHARD_COUNT);

  const launch = async ({ tenant, runId, queue }: (typeof PODS)[number]['annotations']) => {
    const pod = kubernetes.pod({ runForSeconds: 3_600, labels: { [LABELS.installation]: settings.installation } });
    const given = { [ANNOTATIONS.tenant]: tenant, [ANNOTATIONS.runId]: runId, [ANNOTATIONS.queue]: queue };
    const annotations = { ...given, [ANNOTATIONS.attempt]: '-7' };
    const metadata = { ...recordIn(pod, 'metadata'), annotations };
    await clusters.get('test').createPod(namespace, { ...pod, metadata });
  };
  for (const { annotations } of PODS) await launch(annotations);
  const wanted = PODS.flatMap(({ annotations: { tenant = '', runId = '' }, isRun }) =>
    isRun ? [subjects.step.of('default', 'ctl', { tenant, runId })] : [],
  );
  await expect.poll(() => new Set(reports.map(({ subject }) => subject)), WITHIN).toEqual(new Set(wanted));
  // A pod made after them is reported: the triggerer is past all of them, and works.
  await launch({ tenant: 'acme', runId: 'lawful', queue: 'default' });
  const lawful = subjects.step.of('default', 'ctl', { tenant: 'acme', runId: 'lawful' });
  await expect.poll(() => reports.some(({ subject }) => subject === lawful), WITHIN).toBe(true);
  expect(new Set(reports.map(({ subject }) => subject))).toEqual(new Set([...wanted, lawful]));
  for (const { data } of reports) expect(ctlMessageSchema.safeParse(data).success).toBe(true);
  expect(injected).toEqual([]);
  // Each is counted and logged once, however often its pod changes.
  // An empty text names nothing, as a missing one.
  const misnamed = PODS.filter(
    ({ annotations: { tenant = '', runId = '' }, isRun }) => !isRun && tenant !== '' && runId !== '',
  );
  expect(ignored).toHaveLength(misnamed.length);
  expect(warned.filter((fields) => 'pod' in fields)).toHaveLength(ignored.length);
  expect(failures).toEqual([]);
  stop$.next();
  running.unsubscribe();
});
