import { describe, expect, test } from 'vitest';
import type { Cluster, LogLine, LogReadOptions } from '../../src/ports/cluster.ts';
import { type Asked, podObject, scriptedServer, sendJson, sendStatus } from '../support/scripted-server.ts';

const QUICK = { backoffMs: [5, 20] } as const;
const ref = { connection: 'scripted', namespace: 'ns', name: 'one', uid: 'u1' };
const SECOND = 1_000_000_000n;
const BASE = BigInt(Date.parse('2026-01-01T00:00:10Z')) * 1_000_000n;
const stamp = (second: number, nanos: number): string =>
  `2026-01-01T00:00:${String(second).padStart(2, '0')}.${String(nanos).padStart(9, '0')}Z`;
const isLog = (asked: Asked): boolean => asked.path.endsWith('/log');
const ended = podObject('one', 'u1', '5', {
  status: { phase: 'Succeeded', containerStatuses: [{ name: 'base', state: { terminated: { exitCode: 0 } } }] },
});
const read = async (cluster: Cluster, options: LogReadOptions = {}): Promise<LogLine[]> =>
  await Array.fromAsync(cluster.logs(ref, 'base', options));
const texts = (lines: readonly LogLine[]): readonly string[] => lines.map(({ text }) => text);

describe('logs', () => {
  test('count the lines of one nanosecond, and drop those that the cursor has', async () => {
    const log = `${stamp(10, 5)} a\n${stamp(10, 7)} b\n${stamp(10, 7)} c\n${stamp(10, 7)} d\n`;
    await using server = await scriptedServer((_, response) => response.end(log));
    const cluster = await server.cluster();
    const lines = await read(cluster);
    expect(lines.map(({ at }) => [at.nanos - BASE, at.lines])).toEqual([
      [5n, 1],
      [7n, 1],
      [7n, 2],
      [7n, 3],
    ]);
    expect(await read(cluster, { from: { nanos: BASE + 7n, lines: 2 } })).toEqual([
      { at: { nanos: BASE + 7n, lines: 3 }, text: 'd' },
    ]);
    expect(server.asked[1]!.query.get('sinceTime')).toBe('2026-01-01T00:00:09Z');
  });

  test('compare times across zones and precisions', async () => {
    const log = '2026-01-01T01:00:10.5+01:00 a\n2025-12-31T18:30:10.500000001-05:30 b\n2026-01-01T00:00:11Z c\n';
    await using server = await scriptedServer((_, response) => response.end(log));
    expect((await read(await server.cluster())).map(({ at }) => at.nanos - BASE)).toEqual([
      SECOND / 2n,
      SECOND / 2n + 1n,
      SECOND,
    ]);
  });

  test('mark a gap where the line of the cursor is no longer there', async () => {
    await using server = await scriptedServer((_, response) =>
      response.end(`${stamp(20, 0)} later\n${stamp(21, 0)} last\n`),
    );
    const lines = await read(await server.cluster(), { from: { nanos: BASE, lines: 1 } });
    expect(lines.map(({ gap }) => gap)).toEqual([true, undefined]);
  });

  test('give lines without a time, and times that go back, the next cursor', async () => {
    const log = `${stamp(10, 9)} a\nno time of its own\n${stamp(10, 3)} back\n${stamp(10, 10)} on\n`;
    await using server = await scriptedServer((_, response) => response.end(log));
    const cluster = await server.cluster();
    const lines = await read(cluster);
    expect(lines.map(({ at, text }) => [at.nanos - BASE, at.lines, text])).toEqual([
      [9n, 1, 'a'],
      [9n, 2, 'no time of its own'],
      [9n, 3, 'back'],
      [10n, 1, 'on'],
    ]);
    for (const [index, { at }] of lines.entries())
      expect(await read(cluster, { from: at })).toEqual(lines.slice(index + 1));
  });

  test('give a line beyond the cap in pieces that a second reading counts alike', async () => {
    const long = 'ü'.repeat(5000);
    await using server = await scriptedServer((_, response) =>
      response.end(`${stamp(10, 1)} ${long}\n${stamp(10, 2)} after\n`),
    );
    const cluster = await server.cluster({ logLineBytes: 1000 });
    const lines = await read(cluster);
    expect(
      lines
        .slice(0, -1)
        .map(({ text }) => text)
        .join(''),
    ).toBe(long);
    expect(lines.length).toBeGreaterThan(10);
    expect(await read(cluster, { from: lines[3]!.at })).toEqual(lines.slice(4));
  });

  test('leave a line that a living container is still writing for the next reading', async () => {
    let status: unknown = podObject('one', 'u1', '5');
    await using server = await scriptedServer((asked, response) => {
      if (isLog(asked)) response.end(`${stamp(10, 1)} whole\n${stamp(10, 2)} par`);
      else sendJson(response, 200, status);
    });
    const cluster = await server.cluster();
    expect(texts(await read(cluster))).toEqual(['whole']);
    status = ended;
    expect(texts(await read(cluster))).toEqual(['whole', 'par']);
  });

  test('followed go on after the stream ended or broke, each line once, and end with a last reading', async () => {
    const all = Array.from({ length: 6 }, (_, index) => `${stamp(10 + index, 1)} line ${index + 1}\n`);
    let streams = 0;
    await using server = await scriptedServer((asked, response) => {
      if (!isLog(asked)) {
        sendJson(response, 200, streams < 3 ? podObject('one', 'u1', '5') : ended);
        return;
      }
      streams += 1;
      if (!asked.query.has('follow')) return response.end(all.join(''));
      if (streams === 1) return response.end(all.slice(0, 2).join(''));
      response.write(all.slice(0, 3).join('') + all[3]!.slice(0, 20), () => response.socket?.destroy());
    });
    const lines = await read(await server.cluster(QUICK), { follow: true });
    expect(texts(lines)).toEqual([1, 2, 3, 4, 5, 6].map((index) => `line ${index}`));
  });

  test('followed over a silent stream are reconnected', async () => {
    let streams = 0;
    await using server = await scriptedServer((asked, response) => {
      if (!isLog(asked)) {
        sendJson(response, 200, streams < 2 ? podObject('one', 'u1', '5') : ended);
        return;
      }
      streams += 1;
      if (asked.query.has('follow')) return response.write(`${stamp(10, 1)} one\n`);
      return response.end(`${stamp(10, 1)} one\n${stamp(10, 2)} two\n`);
    });
    const lines = await read(await server.cluster({ ...QUICK, logIdleMs: 100 }), { follow: true });
    expect(texts(lines)).toEqual(['one', 'two']);
  });

  test('followed of a pod that is gone meanwhile end', async () => {
    await using server = await scriptedServer((asked, response) => {
      if (isLog(asked)) response.end(`${stamp(10, 1)} one\n`);
      else sendStatus(response, 404, 'NotFound', 'pods "one" not found');
    });
    expect(texts(await read(await server.cluster(QUICK), { follow: true }))).toEqual(['one']);
  });

  test('of a container that waits are empty', async () => {
    await using server = await scriptedServer((_, response) => {
      sendStatus(response, 400, 'BadRequest', 'container "base" in pod "one" is waiting to start: ContainerCreating');
    });
    expect(await read(await server.cluster())).toEqual([]);
  });

  test('that a node cannot return are a transient error', async () => {
    await using server = await scriptedServer((_, response) => {
      sendStatus(response, 502, 'Unknown', 'dial tcp 10.0.0.1:10250: connect: connection refused');
    });
    await expect(read(await server.cluster())).rejects.toMatchObject({ fault: 'unavailable', transient: true });
  });

  test('close their connection when the reader leaves', async () => {
    let closed = false;
    await using server = await scriptedServer((_, response) => {
      response.on('close', () => {
        closed = true;
      });
      response.write(`${stamp(10, 1)} one\n${stamp(10, 2)} two\n`);
    });
    for await (const { text } of (await server.cluster()).logs(ref, 'base', { follow: true })) {
      expect(text).toBe('one');
      break;
    }
    await expect.poll(() => closed).toBe(true);
  });
});
