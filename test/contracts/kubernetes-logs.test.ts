import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { PodProjection } from '../../src/core/pod/projection.ts';
import type { LogLine, LogReadOptions } from '../../src/ports/cluster.ts';
import { type ClusterUnderTest, TARGETS } from '../support/kubernetes.ts';

describe.each(TARGETS)('logs on $name', ({ start }) => {
  let k: ClusterUnderTest;
  let ns: string;
  beforeAll(async () => {
    k = await start();
    ns = await k.namespace();
  });
  afterAll(async () => {
    await k[Symbol.asyncDispose]();
  });
  const run = async (script: string): Promise<PodProjection> =>
    k.cluster.project((await k.cluster.createPod(ns, k.pod({ script }))).pod);
  const ended = async (script: string): Promise<PodProjection> =>
    await k.until(await run(script), ({ phase }) => phase === 'Succeeded');
  const read = async (pod: PodProjection, options: LogReadOptions = {}, most = Infinity): Promise<LogLine[]> => {
    const lines: LogLine[] = [];
    for await (const line of k.cluster.logs(pod, 'base', options)) {
      lines.push(line);
      if (lines.length >= most) break;
    }
    return lines;
  };
  const texts = (lines: readonly LogLine[]): readonly string[] => lines.map(({ text }) => text);

  test('returns every line of both streams with growing cursors', async () => {
    const lines = await read(await ended('for i in 1 2 3; do echo line $i; done; echo oops >&2'));
    expect(texts(lines).toSorted()).toEqual(['line 1', 'line 2', 'line 3', 'oops']);
    const now = BigInt(Date.now()) * 1_000_000n;
    for (const { at } of lines) expect(now - at.nanos).toBeLessThan(120_000_000_000n);
  });

  test('from any line on, returns exactly the lines after it', async () => {
    const pod = await ended('for i in $(seq 1 300); do echo line $i; done');
    const all = await read(pod);
    expect(texts(all)).toEqual(Array.from({ length: 300 }, (_, index) => `line ${index + 1}`));
    for (const index of [0, 1, 99, 150, 298]) {
      expect(await read(pod, { from: all[index]!.at })).toEqual(all.slice(index + 1));
    }
    expect(await read(pod, { from: all.at(-1)!.at })).toEqual([]);
  });

  // Runtimes may drop a carriage return right before the newline: containerd does.
  test('preserves empty lines, carriage returns and characters beyond ASCII', async () => {
    const lines = await read(await ended(String.raw`printf 'a\n\n b \r c\nz\303\274rich \342\200\250 x\n'`));
    expect(texts(lines)).toEqual(['a', '', ' b \r c', 'zürich \u2028 x']);
  });

  test('returns a last line without newline once the container has ended', async () => {
    const lines = await read(await ended("printf 'one\\nlast'"));
    expect(texts(lines)).toEqual(['one', 'last']);
  });

  test('returns a line longer than 16 KiB whole', async () => {
    const lines = await read(await ended('head -c 20000 /dev/zero | tr "\\0" x; echo; echo after'));
    expect(lines.map(({ text }) => text.length)).toEqual([20_000, 5]);
  });

  test('follows a living container to its end', async () => {
    const pod = await run('for i in 1 2 3; do echo line $i; sleep 0.3; done');
    await k.until(pod, ({ phase }) => phase !== 'Pending');
    expect(texts(await read(pod, { follow: true }))).toEqual(['line 1', 'line 2', 'line 3']);
  });

  test('an abandoned follow continues from its cursor without loss or repetition', async () => {
    const pod = await run('for i in 1 2 3 4 5 6; do echo line $i; sleep 0.2; done');
    await k.until(pod, ({ phase }) => phase !== 'Pending');
    const before = await read(pod, { follow: true }, 3);
    const after = await read(pod, { follow: true, from: before.at(-1)!.at });
    expect(texts([...before, ...after])).toEqual([1, 2, 3, 4, 5, 6].map((index) => `line ${index}`));
  });

  test('of a container that has not started are empty', async () => {
    const pod = await run('echo never');
    await k.until(pod, () => true);
    const stuck = k.cluster.project(
      (
        await k.cluster.createPod(
          ns,
          k.pod({ script: 'true', spec: { containers: [{ name: 'base', image: 'missing/nowhere:1' }] } }),
        )
      ).pod,
    );
    await k.until(stuck, ({ containers }) => /ErrImagePull|ImagePullBackOff/.test(containers[0]?.reason ?? ''));
    expect(await read(stuck)).toEqual([]);
    expect(await read(stuck, { follow: true })).toEqual([]);
  });

  test('of a pod that is not there are an error', async () => {
    const pod = await ended('true');
    await k.cluster.deletePod(pod, 0);
    await expect(read(pod)).rejects.toMatchObject({ fault: 'notFound' });
  });

  test('of a container that the pod does not have are an error', async () => {
    const pod = await ended('true');
    const asked = Array.fromAsync(k.cluster.logs(pod, 'other', {}));
    await expect(asked).rejects.toMatchObject({ fault: 'invalid', status: 400 });
  });

  test('previous ones of a container that was never restarted are an error', async () => {
    const pod = await ended('true');
    await expect(read(pod, { previous: true })).rejects.toMatchObject({ fault: 'invalid', status: 400 });
  });

  test('tailLines returns the last ones only', async () => {
    const pod = await ended('for i in 1 2 3 4 5; do echo line $i; done');
    expect(texts(await read(pod, { tailLines: 2 }))).toEqual(['line 4', 'line 5']);
  });

  test('limitBytes returns whole lines only, and the rest on the next reading', async () => {
    const pod = await ended('for i in 1 2 3 4 5; do echo line $i; done');
    const first = await read(pod, { limitBytes: 100 });
    expect(first.length).toBeLessThan(5);
    expect(first.length).toBeGreaterThan(0);
    const rest = await read(pod, { from: first.at(-1)!.at });
    expect(texts([...first, ...rest])).toEqual([1, 2, 3, 4, 5].map((index) => `line ${index}`));
  });

  test('a reading ends without an error when its signal aborts', async () => {
    const pod = await run('echo begun; sleep 600');
    await k.until(pod, ({ phase }) => phase === 'Running');
    const stop = new AbortController();
    const lines: string[] = [];
    for await (const { text } of k.cluster.logs(pod, 'base', { follow: true, signal: stop.signal })) {
      lines.push(text);
      stop.abort();
    }
    expect(lines).toEqual(['begun']);
    await k.cluster.deletePod(pod, 0);
  });
});
