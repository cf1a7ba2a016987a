/**
 * One log through one run, from the node's API into the stored stream: `node --expose-gc test/bench/logs.ts [--mb 512 --line-bytes 120]`.
 * Measures lines sent and stored, MB/s, and the peak of live memory while the log is read (after a garbage collection, every 16 MB), above what is
 * in use afterwards. The reference reads an eighth of the log into memory at once. What is left afterwards is a figure of its own: compiled
 * code, or a leak, which would grow with the log.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pino } from 'pino';
import { openClusters } from '../../src/kubernetes/clusters.ts';
import { storeContainerLog } from '../../src/operator/logs/reader.ts';
import type { Clusters } from '../../src/ports/cluster.ts';
import type { LogStore } from '../../src/ports/stores.ts';
import { aBroker, aNatsServer } from '../support/nats-server.ts';
import { numberFlags, reportOf } from './report.ts';

const { mb, 'line-bytes': lineBytes } = numberFlags({ mb: 512, 'line-bytes': 120 });
/** The reference reads this part of the log: an eighth is enough to see its memory grow with the log. */
const REFERENCE_SHARE = 8;
const SAMPLE_BYTES = 16 * 1024 * 1024;
const MIB = 1024 * 1024;

const collect = globalThis.gc;
if (collect === undefined) throw new Error('run it with `node --expose-gc`');

/** Memory in use once all garbage is gone, in bytes. */
function liveBytes(): number {
  // Twice: memory of buffers outside the heap is freed by the collection after the one that found them unused.
  collect?.();
  collect?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** A log server in a process of its own. */
async function aLogServer(megabytes: number) {
  const script = join(import.meta.dirname, 'log-server.ts');
  const child = spawn(process.execPath, [script, '--mb', String(megabytes), '--line-bytes', String(lineBytes)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const printed: unknown = JSON.parse(String((await once(createInterface(child.stdout), 'line'))[0]));
  const { port, lines } =
    printed !== null && typeof printed === 'object' && 'port' in printed && 'lines' in printed ? printed : {};
  return { url: `http://127.0.0.1:${String(port)}`, lines: Number(lines), [Symbol.dispose]: () => void child.kill() };
}

const RUN = { tenant: 'default', runId: 'bench' };

const configOf = (url: string): string =>
  JSON.stringify({
    'current-context': 'c',
    clusters: [{ name: 'c', cluster: { server: url } }],
    users: [{ name: 'u', user: {} }],
    contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
  });

/** Reads the log of a server into the store. */
async function stored(clusters: Clusters, container: string, store: LogStore) {
  await using opened = clusters;
  return await storeContainerLog({
    ...{ cluster: opened.get('bench'), pod: { connection: 'bench', namespace: 'ns', name: 'pod', uid: 'uid' } },
    ...{ container, run: RUN, attempt: 1, store, log: pino({ level: 'silent' }) },
  });
}

using report = reportOf('logs', 'a scripted node and a real broker');
const directory = await mkdtemp(join(tmpdir(), 'reentry-bench-logs-'));
try {
  using node = await aLogServer(mb);
  await using nats = await aNatsServer();
  const { broker, installation } = await aBroker(nats.url, { storageBytes: 16 * 1024 * MIB });
  const kubeconfig = join(directory, 'kubeconfig');

  let storedBytes = 0;
  let sampledAt = 0;
  const samples: number[] = [];
  let samplingMs = 0;
  // The real store, with a count of stored bytes and a sample of memory in between.
  const store: LogStore = {
    ...broker.logs,
    async append(...args) {
      const outcome = await broker.logs.append(...args);
      storedBytes += args[3].text.length;
      if (storedBytes - sampledAt >= SAMPLE_BYTES) {
        sampledAt = storedBytes;
        const begunAt = performance.now();
        samples.push(liveBytes());
        samplingMs += performance.now() - begunAt;
      }
      return outcome;
    },
  };
  // First a small log, so that compiled code and open connections are not counted as the stream's.
  using little = await aLogServer(16);
  const kubeconfigOf = (url: string) => writeFile(kubeconfig, configOf(url));
  await kubeconfigOf(little.url);
  await stored(openClusters({ connections: { bench: { kubeconfig } } }), 'warm', store);
  await kubeconfigOf(node.url);
  storedBytes = 0;
  sampledAt = 0;
  samples.length = 0;
  samplingMs = 0;
  const baseline = liveBytes();
  const rssBefore = process.memoryUsage.rss();
  const begunAt = performance.now();
  const reading = await stored(openClusters({ connections: { bench: { kubeconfig } } }), 'base', store);
  const seconds = (performance.now() - begunAt - samplingMs) / 1000;
  const rssAfter = process.memoryUsage.rss();
  const closed = liveBytes();

  let lines = 0;
  let wrong = 0;
  for (let after = 0; ;) {
    const page = await broker.logs.read(RUN, { container: 'base', after, limit: 200 });
    for (const { text } of page.chunks)
      for (const line of text.split('\n')) {
        if (line === '') continue;
        if (!line.includes(` line ${String(lines)} `)) wrong += 1;
        lines += 1;
      }
    if (page.next === undefined || page.chunks.length === 0) break;
    after = page.next;
  }
  await installation[Symbol.asyncDispose]();

  report.add({ figure: 'lines sent', unit: 'lines', values: [node.lines] });
  report.add({ figure: 'lines stored', unit: 'lines', values: [lines], bar: node.lines, atLeast: true });
  report.add({
    figure: 'lines missing, repeated or out of order',
    unit: 'lines',
    values: [wrong + Math.abs(lines - node.lines)],
    bar: 0,
  });
  report.add({
    figure: 'throughput',
    unit: 'MB/s',
    values: [storedBytes / 1e6 / seconds],
    more: { seconds, gaps: reading.gaps },
  });
  report.add({
    figure: 'live memory of the stream, peak',
    unit: 'MiB',
    values: [(Math.max(...samples) - closed) / MIB],
    bar: 1,
  });
  report.add({
    figure: 'live memory left after the stream',
    unit: 'MiB',
    values: [(closed - baseline) / MIB],
    bar: 0.5,
  });
  report.add({ figure: 'growth of resident memory', unit: 'MiB', values: [(rssAfter - rssBefore) / MIB] });

  using small = await aLogServer(Math.max(1, mb / REFERENCE_SHARE));
  const before = liveBytes();
  const reply = await fetch(`${small.url}/log`);
  const whole = (await reply.text()).split('\n');
  report.add({
    figure: 'reference: whole log in memory',
    unit: 'MiB',
    values: [(liveBytes() - before) / MIB],
    more: { megabytes: mb / REFERENCE_SHARE, lines: whole.length - 1 },
  });
} finally {
  await rm(directory, { recursive: true, force: true });
}
