/**
 * Pod ended in the API → worker resumed: `node test/bench/latency.ts [--runs 3] [--waiting 1000] [--ends 200] [--rate 20]`.
 * Beside it, in the same run and from the same moments: a raw watch that publishes to JetStream, until a consumer has the message.
 * Both are counted from the moment at which this process's raw watch shows the end, and from the moment the end was asked for.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { AckPolicy } from 'nats';
import { z } from 'zod';
import { connect } from '../../src/client/index.ts';
import { installationSelector } from '../../src/core/labels.ts';
import { aStage } from '../support/stage.ts';
import { openApi } from './api.ts';
import { aTarget, numbersAsked, percentile, reportOf, targetName } from './report.ts';
import { completions, onePodRequest, submitAll, until, warmUp } from './runs.ts';

const asked = numbersAsked({ runs: 3, waiting: 1_000, ends: 200, rate: 20 });
const name = targetName();
await using target = await aTarget();
await using stage = await aStage(target, { workers: 1, triggerers: 1 });
await using client = await connect({ servers: stage.nats.url });
await using api = openApi(target.kubeconfig);
using report = reportOf('latency', name);
const done = completions(stage);
await warmUp(client, target, stage, done);

const seeded = asked.waiting + asked.runs * asked.ends;
const seedStartedAt = performance.now();
await submitAll(client, onePodRequest(target, stage, { runForSeconds: 100_000 }), { prefix: 'wait', count: seeded });
const selector = installationSelector(stage.namespace);
const running = async () =>
  (await target.cluster.listPods(stage.namespace, selector)).filter(({ phase }) => phase === 'Running');
await until('all pods running', async () => (await running()).length === seeded);
const seedSeconds = (performance.now() - seedStartedAt) / 1_000;
const pods = await running();
// The last subscriptions may still be on their way.
const subscriptions = await stage.eyes.nc.jetstream().views.kv('REENTRY_subs', { bindOnly: true });
await until('all runs waiting', async () => (await subscriptions.status()).values >= seeded);

const podsPath = `/api/v1/namespaces/${stage.namespace}/pods`;
const podEventSchema = z.looseObject({
  type: z.string(),
  object: z.looseObject({
    metadata: z.looseObject({ name: z.string() }),
    status: z.looseObject({ phase: z.string().optional() }).optional(),
  }),
});
const listed = await target.raw('GET', `${podsPath}?limit=1`);
const { resourceVersion } = z
  .looseObject({ metadata: z.looseObject({ resourceVersion: z.string() }) })
  .parse(listed.body).metadata;

// The reference: a stream and a consumer of its own on the same server.
const jsm = await stage.eyes.nc.jetstreamManager();
await jsm.streams.add({ name: 'BENCH', subjects: ['bench.>'] });
await jsm.consumers.add('BENCH', { durable_name: 'bench', ack_policy: AckPolicy.Explicit });
const js = stage.eyes.nc.jetstream();
const consumedAt = new Map<string, number>();
const consumer = await js.consumers.get('BENCH', 'bench');
const messages = await consumer.consume({
  callback: (message) => {
    consumedAt.set(message.subject.slice('bench.'.length), Date.now());
    message.ack();
  },
});

const endedAt = new Map<string, number>();
const over = new AbortController();
const watching = (async () => {
  const query = new URLSearchParams({ watch: 'true', resourceVersion, labelSelector: selector });
  for await (const line of api.lines(`${podsPath}?${query.toString()}`, over.signal)) {
    const { object } = podEventSchema.parse(JSON.parse(line));
    const pod = object.metadata.name;
    if (object.status?.phase !== 'Succeeded' || endedAt.has(pod)) continue;
    endedAt.set(pod, Date.now());
    await js.publish(`bench.${pod}`, line);
  }
})();

const endedPods = new Map<string, number>();
/** What the kubelet would write. */
const end = async (pod: string): Promise<void> => {
  const terminated = { exitCode: 0, reason: 'Completed', finishedAt: new Date().toISOString().replace(/\.\d+/, '') };
  const containerStatuses = [
    { name: 'base', image: 'busybox', imageID: '', ready: false, restartCount: 0, state: { terminated } },
  ];
  endedPods.set(pod, Date.now());
  const { statusCode, body } = await api.call('PATCH', `${podsPath}/${pod}/status`, {
    headers: { 'content-type': 'application/merge-patch+json' },
    body: JSON.stringify({ status: { phase: 'Succeeded', containerStatuses } }),
  });
  const text = await body.text();
  if (statusCode !== 200) throw new Error(`ending ${pod}: ${String(statusCode)} ${text}`);
};

interface Samples {
  readonly p50: number[];
  readonly p99: number[];
}
const samples = (): Samples => ({ p50: [], p99: [] });
const keep = (kept: Samples, values: readonly number[]): void => {
  kept.p50.push(percentile(values, 50));
  kept.p99.push(percentile(values, 99));
};
const [ours, reference, oursAll, referenceAll] = [samples(), samples(), samples(), samples()];
for (let round = 0; round < asked.runs; round += 1) {
  const chosen = pods.slice(round * asked.ends, (round + 1) * asked.ends);
  const startedAt = performance.now();
  const ends: Promise<void>[] = [];
  for (const [n, { name: pod }] of chosen.entries()) {
    await delay(Math.max(0, startedAt + (n * 1_000) / asked.rate - performance.now()));
    ends.push(end(pod));
  }
  await Promise.all(ends);
  await until('the end of the round', () =>
    chosen.every(({ name: pod, runId = '' }) => done.has(runId) && consumedAt.has(pod)),
  );
  const times = chosen.map(({ name: pod, runId = '' }) => ({
    askedAt: endedPods.get(pod) ?? Number.NaN,
    seenAt: endedAt.get(pod) ?? Number.NaN,
    resumedAt: Date.parse(done.get(runId)?.timings['resumedAt'] ?? ''),
    consumedAt: consumedAt.get(pod) ?? Number.NaN,
  }));
  keep(
    ours,
    times.map((time) => time.resumedAt - time.seenAt),
  );
  keep(
    reference,
    times.map((time) => time.consumedAt - time.seenAt),
  );
  keep(
    oursAll,
    times.map((time) => time.resumedAt - time.askedAt),
  );
  keep(
    referenceAll,
    times.map((time) => time.consumedAt - time.askedAt),
  );
}
over.abort();
await watching;
await messages.close();

const { waiting, ends, rate } = asked;
const more = { waiting, ends, rate };
const say = (figure: string, values: readonly number[], bar?: number): void => {
  report.say({ figure, unit: 'ms', values, more, ...(bar === undefined ? {} : { bar }) });
};
say('end seen → resumed, p50', ours.p50, 10);
say('end seen → resumed, p99', ours.p99, 50);
say('end seen → published → consumed (reference), p50', reference.p50);
say('end seen → published → consumed (reference), p99', reference.p99);
say('end asked → resumed, p50', oursAll.p50);
say('end asked → resumed, p99', oursAll.p99);
say('end asked → watched → published → consumed (reference), p50', referenceAll.p50);
say('end asked → watched → published → consumed (reference), p99', referenceAll.p99);
const ratios = oursAll.p50.map((value, round) => value / (referenceAll.p50[round] ?? Number.NaN));
report.say({ figure: 'ours to reference, from the asking, p50', unit: 'times', values: ratios, bar: 3 });
report.say({ figure: 'runs launched and waiting', unit: 'per second', values: [seeded / seedSeconds] });
