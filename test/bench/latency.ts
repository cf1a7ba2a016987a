/**
 * Pod ended in the API → worker resumed, open loop: `node test/bench/latency.ts [--runs 1] [--waiting 10000] [--seconds 8] [--rate 0]`;
 * rate 0: 20, 50 and 200 ends per second, one after the other.
 * The reference, in the same run: a raw watch that publishes to JetStream, until a consumer has the message.
 * Both are counted from when this process's raw watch shows the pod's end, and from when that end was requested.
 */
import { AckPolicy } from 'nats';
import { z } from 'zod';
import { startFixture } from './fixture.ts';
import { benchFlags, percentile, reportOf, targetName } from './report.ts';
import { until } from './runs.ts';
import { endAll, selectorOf } from './waiting-runs.ts';

const flags = benchFlags({ waiting: 10_000, seconds: 8, rate: 0 });
const rates = flags.rate > 0 ? [flags.rate] : [20, 50, 200];
const all = flags.runs * rates.reduce((sum, rate) => sum + rate * flags.seconds, 0);
await using fixture = await startFixture({ workers: 1, triggerers: 1, waiting: flags.waiting + all });
const { target, installation, api, done } = fixture;
using report = reportOf('latency', targetName());

const podsPath = `/api/v1/namespaces/${installation.namespace}/pods`;
const podEventSchema = z.looseObject({
  object: z.looseObject({ metadata: z.looseObject({ name: z.string(), resourceVersion: z.string() }) }),
});
const podListSchema = z.looseObject({ metadata: z.looseObject({ resourceVersion: z.string() }) });

// The reference: its own stream and consumer on the same server.
const jsm = await installation.connection.nc.jetstreamManager();
await jsm.streams.add({ name: 'BENCH', subjects: ['bench.>'] });
await jsm.consumers.add('BENCH', { durable_name: 'bench', ack_policy: AckPolicy.Explicit });
const js = installation.connection.nc.jetstream();
const consumedAt = new Map<string, number>();
const consumer = await js.consumers.get('BENCH', 'bench');
const messages = await consumer.consume({
  callback: (message) => {
    consumedAt.set(message.subject.slice('bench.'.length), Date.now());
    message.ack();
  },
});

const seenAt = new Map<string, number>();
const over = new AbortController();
const listed = podListSchema.parse((await target.raw('GET', `${podsPath}?limit=1`)).body);
let version = listed.metadata.resourceVersion;
const watching = (async () => {
  while (!over.signal.aborted) {
    const query = new URLSearchParams({
      watch: 'true',
      resourceVersion: version,
      labelSelector: selectorOf(installation),
    });
    for await (const line of api.lines(`${podsPath}?${query.toString()}`, over.signal)) {
      // Only ended pods are parsed: a slow reference would flatter reentry.
      if (!line.includes('"Succeeded"')) continue;
      const { name, resourceVersion } = podEventSchema.parse(JSON.parse(line)).object.metadata;
      version = resourceVersion;
      if (seenAt.has(name)) continue;
      seenAt.set(name, Date.now());
      js.publish(`bench.${name}`, line, { timeout: 20_000 }).catch((error: unknown) => {
        process.stderr.write(`the reference lost ${name}: ${String(error)}\n`);
      });
    }
  }
})();

interface Samples {
  readonly p50: number[];
  readonly p99: number[];
}
const samples = (): Samples => ({ p50: [], p99: [] });
const record = (samplesOf: Samples, values: readonly number[]): void => {
  samplesOf.p50.push(percentile(values, 50));
  samplesOf.p99.push(percentile(values, 99));
};
for (const rate of rates) {
  const [seen, seenReference, whole, wholeReference] = [samples(), samples(), samples(), samples()];
  for (let round = 0; round < flags.runs; round += 1) {
    const chosen = fixture.take(rate * flags.seconds);
    const requestedAt = await endAll(installation, api, chosen, rate);
    await until(
      'the end of the round',
      () => chosen.every(({ runId, pod }) => done.has(runId) && consumedAt.has(pod)),
      () => {
        const lacking = (has: (run: (typeof chosen)[number]) => boolean) =>
          chosen.filter((run) => !has(run)).map(({ runId }) => runId);
        const ours = lacking(({ runId }) => done.has(runId));
        return JSON.stringify({ ours, reference: lacking(({ pod }) => consumedAt.has(pod)) });
      },
    );
    const times = chosen.map(({ runId, pod }) => ({
      requestedAt: requestedAt.get(runId) ?? Number.NaN,
      seenAt: seenAt.get(pod) ?? Number.NaN,
      resumedAt: Date.parse(done.get(runId)?.timings['resumedAt'] ?? ''),
      consumedAt: consumedAt.get(pod) ?? Number.NaN,
    }));
    record(
      seen,
      times.map((time) => Math.max(0, time.resumedAt - time.seenAt)),
    );
    record(
      seenReference,
      times.map((time) => time.consumedAt - time.seenAt),
    );
    record(
      whole,
      times.map((time) => time.resumedAt - time.requestedAt),
    );
    record(
      wholeReference,
      times.map((time) => time.consumedAt - time.requestedAt),
    );
  }
  const more = { waiting: flags.waiting, seconds: flags.seconds };
  const add = (figure: string, values: readonly number[], bar?: number): void => {
    const name = `${figure}, ${String(rate)} ends/s`;
    report.add({ figure: name, unit: 'ms', values, more, ...(bar === undefined || rate !== 50 ? {} : { bar }) });
  };
  add('pod end seen → resumed, p50', seen.p50, 10);
  add('pod end seen → resumed, p99', seen.p99, 50);
  add('reference: seen → published → consumed, p50', seenReference.p50);
  add('reference: seen → published → consumed, p99', seenReference.p99);
  add('pod end requested → resumed, p50', whole.p50);
  add('pod end requested → resumed, p99', whole.p99);
  add('reference: requested → watched → published → consumed, p50', wholeReference.p50);
  add('reference: requested → watched → published → consumed, p99', wholeReference.p99);
  const ratios = whole.p50.map((value, round) => value / (wholeReference.p50[round] ?? Number.NaN));
  report.add({
    figure: `ratio to reference, requested → resumed, p50, ${String(rate)} ends/s`,
    unit: 'times',
    values: ratios,
    more,
    bar: 3,
  });
}
over.abort();
await watching;
await messages.close();
report.add({
  figure: 'waiting runs created',
  unit: 'per second',
  values: [(flags.waiting + all) / fixture.seedSeconds],
});
