import { pino } from 'pino';
import { expect, test } from 'vitest';
import { formatCursor, formatNanos, parseCursor } from '../../src/core/log-cursor.ts';
import { storeContainerLog } from '../../src/operator/log-reader.ts';
import { freshName, TARGETS } from '../support/kubernetes.ts';
import { anInstallation, sharedNatsServer } from '../support/nats-server.ts';

const nats = sharedNatsServer();

test('cursors survive their text', () => {
  const cursor = { nanos: 1_700_000_000_123_456_789n, lines: 3 };
  expect(parseCursor(formatCursor(cursor))).toEqual(cursor);
  expect(parseCursor('rubbish')).toBeUndefined();
  expect(parseCursor(undefined)).toBeUndefined();
  expect(formatNanos(cursor.nanos)).toBe('2023-11-14T22:13:20.123456789Z');
});

test('goes on from the state’s cursor when the stored log was evicted, and keeps long and odd lines', async () => {
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
  expect(whole.reading).toMatchObject({ gaps: 0, complete: true });
  expect(whole.texts[0]).toBe('first');
  expect(whole.texts.slice(-3)).toEqual(['\uFFFDbad', 'ünïcode', 'no newline']);
  expect(whole.texts.slice(1, -3).join('').length).toBe(200_000);

  const evicted = await read(freshName('evicted'), whole.reading.cursor);
  expect(evicted.texts).toEqual([]);
  expect(evicted.reading.cursor).toBe(whole.reading.cursor);
});

test('stores what the formatter that a run names makes of a line; one that throws leaves the line as it was', async () => {
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
  expect(await storeContainerLog(source)).toMatchObject({ complete: true, gaps: 0 });
  const { chunks } = await broker.logs.read(run, { limit: 10 });
  const lines = chunks
    .flatMap(({ text }) => text.trimEnd().split('\n'))
    .map((line) => line.slice(line.indexOf(' ') + 1));
  expect(lines).toEqual(['<base> ONE', 'bad', '<base> TWO']);
});
