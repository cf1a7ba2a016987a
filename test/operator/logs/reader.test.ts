import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatCursor, formatNanos, LOG_GAP_TEXT, parseCursor } from '../../../src/core/log/cursor.ts';
import { storeContainerLog } from '../../../src/operator/logs/reader.ts';
import type { Clusters } from '../../../src/ports/cluster.ts';
import type { PodProjection } from '../../../src/core/pod/projection.ts';
import { openClusters } from '../../../src/kubernetes/clusters.ts';
import { startLocalCluster } from '../../../src/local/cluster.ts';
import { freshName, nameOf, TARGETS } from '../../support/kubernetes.ts';
import { anInstallation, sharedNatsServer } from '../../support/nats-server.ts';

const nats = sharedNatsServer();

test('cursors are read back from their text', () => {
  const cursor = { nanos: 1_700_000_000_123_456_789n, lines: 3 };
  expect(parseCursor(formatCursor(cursor))).toEqual(cursor);
  expect(parseCursor('rubbish')).toBeUndefined();
  expect(parseCursor(undefined)).toBeUndefined();
  expect(formatNanos(cursor.nanos)).toBe('2023-11-14T22:13:20.123456789Z');
});

test('continues from the state’s cursor when the stored log was evicted, and stores long and odd lines', async () => {
  const [local] = TARGETS;
  if (local === undefined) throw new Error('there is always a local cluster');
  await using kube = await local.start();
  await using installation = await anInstallation(nats.url());
  const broker = await installation.broker();
  const namespace = await kube.namespace();
  const script =
    'echo first; head -c 200000 /dev/zero | tr "\\0" x; echo; printf "\\377bad\\n"; echo ünïcode; printf "no newline"';
  const { pod: manifest } = await kube.cluster.createPod(namespace, kube.pod({ script }));
  const pod = await kube.until(kube.cluster.project(manifest), ({ phase }) => phase === 'Succeeded');
  const source = {
    cluster: kube.cluster,
    pod,
    container: 'base',
    attempt: 1,
    store: broker.logs,
    log: pino({ level: 'silent' }),
  };
  const read = async (runId: string, cursor?: string) => {
    const run = { tenant: 'default', runId };
    const reading = await storeContainerLog({ ...source, run, cursor });
    const { chunks } = await broker.logs.read(run, { limit: 100 });
    for (const { text } of chunks) expect(Buffer.byteLength(text)).toBeLessThanOrEqual(64 * 1024);
    const lines = chunks.flatMap(({ text }) => text.split('\n')).filter((line) => line !== '');
    return { reading, texts: lines.map((line) => line.slice(line.indexOf(' ') + 1)) };
  };
  const whole = await read(freshName('whole'));
  expect(whole.reading).toMatchObject({ gaps: 0, failure: undefined });
  expect(whole.texts[0]).toBe('first');
  expect(whole.texts.slice(-3)).toEqual(['\uFFFDbad', 'ünïcode', 'no newline']);
  expect(whole.texts.slice(1, -3).join('').length).toBe(200_000);

  const evicted = await read(freshName('evicted'), whole.reading.cursor);
  expect(evicted.texts).toEqual([]);
  expect(evicted.reading.cursor).toBe(whole.reading.cursor);
});

test('stores each line as the run’s formatter returns it; one that throws leaves the line unchanged', async () => {
  const [local] = TARGETS;
  if (local === undefined) throw new Error('there is always a local cluster');
  await using kube = await local.start();
  await using installation = await anInstallation(nats.url());
  const broker = await installation.broker();
  const { pod: manifest } = await kube.cluster.createPod(
    await kube.namespace(),
    kube.pod({ script: 'echo one; echo bad; echo two' }),
  );
  const pod = await kube.until(kube.cluster.project(manifest), ({ phase }) => phase === 'Succeeded');
  const run = { tenant: 'default', runId: freshName('run') };
  const format = (container: string, text: string): string => {
    if (text === 'bad') throw new Error('bad');
    return `<${container}> ${text.toUpperCase()}`;
  };
  const log = pino({ level: 'silent' });
  const source = { cluster: kube.cluster, pod, container: 'base', run, attempt: 1, store: broker.logs, log, format };
  expect(await storeContainerLog(source)).toMatchObject({ failure: undefined, gaps: 0 });
  const { chunks } = await broker.logs.read(run, { limit: 10 });
  const lines = chunks
    .flatMap(({ text }) => text.trimEnd().split('\n'))
    .map((line) => line.slice(line.indexOf(' ') + 1));
  expect(lines).toEqual(['<base> ONE', 'bad', '<base> TWO']);
});

test('stores each line once while another reader stores the whole log', async () => {
  const [local] = TARGETS;
  if (local === undefined) throw new Error('there is always a local cluster');
  await using kube = await local.start();
  await using installation = await anInstallation(nats.url());
  const { logs: store } = await installation.broker();
  // More than one chunk of 64 KiB: the first reader stores before it has read all lines.
  const script = 'for i in $(seq 100); do printf "%04d %01000d\\n" $i 0; done';
  const { pod: manifest } = await kube.cluster.createPod(await kube.namespace(), kube.pod({ script }));
  const pod = await kube.until(kube.cluster.project(manifest), ({ phase }) => phase === 'Succeeded');
  const run = { tenant: 'default', runId: freshName('run') };
  const source = {
    ...{ cluster: kube.cluster, pod, container: 'base', run, attempt: 1, store },
    log: pino({ level: 'silent' }),
  };
  let seen = 0;
  const onLine = async (): Promise<void> => {
    seen += 1;
    if (seen === 1) await storeContainerLog(source);
  };
  expect(await storeContainerLog({ ...source, onLine })).toMatchObject({ failure: undefined, gaps: 0 });
  const { chunks } = await store.read(run, { limit: 100 });
  const lines = chunks.flatMap(({ text }) => text.trimEnd().split('\n'));
  const numbers = lines.map((line) => Number(line.split(' ')[1]));
  expect(numbers).toEqual(Array.from({ length: 100 }, (_, index) => index + 1));
});

describe('a restarted container', () => {
  let directory: string;
  let local: Awaited<ReturnType<typeof startLocalCluster>>;
  let clusters: Clusters;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'reentry-restarts-'));
    local = await startLocalCluster({ directory, restartBackoffMs: 50 });
    clusters = openClusters({ connections: { local: { kubeconfig: local.kubeconfigPath } } });
  });
  afterAll(async () => {
    await clusters[Symbol.asyncDispose]();
    await local[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
  });

  /** Fails twice, then succeeds; run `n` ends when `end` is called. */
  const SCRIPT = `n=$(($(cat /v/n 2>/dev/null || echo 0) + 1)); echo $n >/v/n
echo "run $n begins"; until [ -e /v/go$n ]; do sleep 0.02; done; echo "run $n ends"; [ $n -ge 3 ]`;

  async function aRestarting() {
    const installation = await anInstallation(nats.url());
    const broker = await installation.broker();
    const cluster = clusters.get('local');
    const { pod: manifest } = await cluster.createPod('default', {
      ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name: freshName('again') } },
      spec: {
        restartPolicy: 'OnFailure',
        volumes: [{ name: 'v', emptyDir: {} }],
        containers: [
          {
            ...{ name: 'base', image: 'busybox', command: ['sh', '-c', SCRIPT] },
            volumeMounts: [{ name: 'v', mountPath: '/v' }],
          },
        ],
      },
    });
    const run = { tenant: 'default', runId: freshName('run') };
    const present = async (): Promise<PodProjection> => {
      const found = await cluster.getPod('default', nameOf(manifest));
      if (found === undefined) throw new Error('the pod is gone');
      return cluster.project(found);
    };
    let gaps = 0;
    const stored = async (): Promise<readonly string[]> => {
      const pod = await present();
      const restartCount = pod.containers[0]?.restartCount;
      const reading = await storeContainerLog({
        ...{ cluster, pod, container: 'base', run, attempt: 1, store: broker.logs, restartCount },
        log: pino({ level: 'silent' }),
      });
      gaps += reading.gaps;
      const { chunks } = await broker.logs.read(run, { limit: 100 });
      const lines = chunks.flatMap(({ text }) => text.trimEnd().split('\n'));
      return lines.map((line) => line.slice(line.indexOf(' ') + 1));
    };
    return {
      stored,
      gaps: () => gaps,
      /** Waits until run `n` has started and written. */
      begun: async (n: number) => {
        const seen = async () => {
          const [base] = (await present()).containers;
          if (base?.restartCount !== n - 1 || base.state !== 'running') return [];
          return (await Array.fromAsync(cluster.logs(await present(), 'base', {}))).map(({ text }) => text);
        };
        await expect.poll(seen, { timeout: 20_000, interval: 20 }).toEqual([`run ${String(n)} begins`]);
      },
      end: async (n: number) => {
        const command = ['touch', `/v/go${String(n)}`];
        await cluster.exec(await present(), { container: 'base', command });
      },
      over: () => expect.poll(async () => (await present()).phase, { timeout: 20_000 }).toBe('Succeeded'),
      [Symbol.asyncDispose]: () => installation[Symbol.asyncDispose](),
    };
  }

  test('has the rest of the earlier run first, each line once', async () => {
    await using pod = await aRestarting();
    await pod.begun(1);
    expect(await pod.stored()).toEqual(['run 1 begins']);
    await pod.end(1);
    await pod.begun(2);
    expect(await pod.stored()).toEqual(['run 1 begins', 'run 1 ends', 'run 2 begins']);
    expect(await pod.stored()).toHaveLength(3);
    await pod.end(2);
    await pod.begun(3);
    await pod.end(3);
    await pod.over();
    const all = [1, 2, 3].flatMap((n) => [`run ${String(n)} begins`, `run ${String(n)} ends`]);
    expect(await pod.stored()).toEqual(all);
    expect(pod.gaps()).toBe(0);
  });

  test('that ran twice unread has a marked and counted gap for the run that the node dropped', async () => {
    await using pod = await aRestarting();
    await pod.begun(1);
    expect(await pod.stored()).toEqual(['run 1 begins']);
    for (const n of [1, 2]) {
      await pod.end(n);
      await pod.begun(n + 1);
    }
    const left = ['run 2 begins', 'run 2 ends', 'run 3 begins'];
    expect(await pod.stored()).toEqual(['run 1 begins', LOG_GAP_TEXT, ...left]);
    await pod.end(3);
    await pod.over();
    expect(await pod.stored()).toEqual(['run 1 begins', LOG_GAP_TEXT, ...left, 'run 3 ends']);
    expect(pod.gaps()).toBe(1);
  });
});
