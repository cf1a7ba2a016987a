import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import type { Subscription } from 'rxjs';
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { Cluster, Manifest, PodSignal } from '../../src/ports/cluster.ts';
import { type Asked, podObject, scriptedServer, sendJson, sendStatus } from '../support/scripted-server.ts';

/** What happens to watches in the field, as bytes on a real socket. The same against whole clusters: contracts/kubernetes-outages. */
const QUICK = { backoffMs: [5, 20], healthyMs: 60_000 } as const;
const running: Subscription[] = [];
afterEach(() => {
  for (const one of running.splice(0)) one.unsubscribe();
});

const watching = (cluster: Cluster, onSignal: (signal: PodSignal) => void = () => undefined): PodSignal[] => {
  const signals: PodSignal[] = [];
  const signals$ = cluster.watchPods$({ namespace: 'ns', labelSelector: 'a=b' });
  running.push(
    signals$.subscribe((signal) => {
      signals.push(signal);
      onSignal(signal);
    }),
  );
  return signals;
};
const line = (type: string, object: Manifest): string => `${JSON.stringify({ type, object })}\n`;
const mark = (resourceVersion: string): string =>
  line('BOOKMARK', {
    kind: 'Pod',
    metadata: { resourceVersion, annotations: { 'k8s.io/initial-events-end': 'true' } },
  });
const begin = (response: ServerResponse, ...lines: readonly (string | Buffer)[]): void => {
  response.writeHead(200, { 'content-type': 'application/json' });
  for (const text of lines) response.write(text);
};
const lastOf = (signals: readonly PodSignal[], uid: string): PodSignal | undefined =>
  signals.findLast((signal) => 'pod' in signal && signal.pod.uid === uid);
const isWatch = ({ query }: Asked): boolean => query.get('watch') === 'true';
const isWatchList = ({ query }: Asked): boolean => query.has('sendInitialEvents');
const from = (asked: Asked | undefined): string | null | undefined => asked?.query.get('resourceVersion');

describe('a watch', () => {
  test('cut in the middle of a character receives the whole event from the next connection', async () => {
    const whole = Buffer.from(line('ADDED', podObject('zürich', 'ü€😀', '8')));
    const inside = whole.indexOf(Buffer.from('😀')) + 2;
    await using server = await scriptedServer((asked, response) => {
      if (asked.index > 0) begin(response, whole);
      else {
        begin(response, mark('7'), whole.subarray(0, inside));
        response.end();
      }
    });
    const signals = watching(await server.cluster(QUICK));
    await expect.poll(() => lastOf(signals, 'ü€😀')).toMatchObject({ kind: 'pod', pod: { name: 'zürich' } });
    expect(from(server.asked[1])).toBe('7');
  });

  test('cut within its initial events starts over, because later ones of them can be older', async () => {
    const open: ServerResponse[] = [];
    await using server = await scriptedServer((asked, response) => {
      open.push(response);
      if (asked.index === 0) begin(response, line('ADDED', podObject('one', 'u1', '5')));
      else if (isWatchList(asked))
        begin(
          response,
          ...[podObject('one', 'u1', '5'), podObject('two', 'u2', '3')].map((pod) => line('ADDED', pod)),
          mark('9'),
        );
      // From version 5 on there is nothing: pod two has not changed since version 3.
      else begin(response);
    });
    const signals = watching(await server.cluster(QUICK));
    await expect.poll(() => lastOf(signals, 'u1')).toBeDefined();
    open[0]!.socket?.resetAndDestroy();
    await expect.poll(() => server.asked.length).toBeGreaterThan(1);
    expect(from(server.asked[1])).toBeNull();
    await expect.poll(() => lastOf(signals, 'u2')).toBeDefined();
    await expect.poll(() => signals.some(({ kind }) => kind === 'synced')).toBe(true);
  });

  test('without any bookmark resumes from the last event, also after a silence', async () => {
    await using server = await scriptedServer((asked, response) => {
      if (asked.index === 0) begin(response, mark('7'), line('MODIFIED', podObject('one', 'u1', '9')));
      else if (asked.index === 1) begin(response);
      else begin(response, line('ADDED', podObject('two', 'u2', '11')));
    });
    const signals = watching(await server.cluster({ ...QUICK, watchIdleMs: 80 }));
    await expect.poll(() => lastOf(signals, 'u2'), { timeout: 5_000 }).toBeDefined();
    expect(server.asked.slice(1, 3).map(from)).toEqual(['9', '9']);
    // Silence is no fact about a pod.
    expect(lastOf(signals, 'u1')?.kind).toBe('pod');
  });

  test('during many 429 replies waits as long as they ask for, and emits no pods', async () => {
    let refusals = 0;
    const askedAt: number[] = [];
    await using server = await scriptedServer((asked, response) => {
      askedAt.push(performance.now());
      if (asked.index === 0) {
        begin(response, line('ADDED', podObject('one', 'u1', '5')), mark('7'));
        setImmediate(() => response.socket?.resetAndDestroy());
      } else if (refusals < 3) {
        refusals += 1;
        response.writeHead(429, { 'content-type': 'text/plain', 'retry-after': '1' }).end('Too many requests\n');
      } else begin(response, line('MODIFIED', podObject('one', 'u1', '9')));
    });
    const signals = watching(await server.cluster(QUICK));
    await expect
      .poll(() => lastOf(signals, 'u1'), { timeout: 15_000 })
      .toMatchObject({ kind: 'pod', pod: { resourceVersion: '9' } });
    const gaps = askedAt.slice(2).map((at, n) => at - (askedAt[n + 1] ?? 0));
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(990);
    expect(signals.some(({ kind }) => kind === 'gone')).toBe(false);
    expect(server.asked.some((asked) => !isWatch(asked))).toBe(false);
  });

  test('reports one pod gone and the other present after a relist with the same name', async () => {
    const twin = podObject('one', 'u2', '12');
    await using server = await scriptedServer((asked, response) => {
      if (!isWatch(asked)) sendJson(response, 200, twin);
      else if (asked.index === 0) {
        begin(response, line('ADDED', podObject('one', 'u1', '5')), mark('7'));
        response.end();
      } else if (isWatchList(asked)) begin(response, line('ADDED', twin), mark('13'));
      else sendStatus(response, 410, 'Expired', 'too old');
    });
    const signals = watching(await server.cluster(QUICK));
    await expect.poll(() => lastOf(signals, 'u1'), { timeout: 5_000 }).toMatchObject({ kind: 'gone', confirmed: true });
    expect(lastOf(signals, 'u2')).toMatchObject({ kind: 'pod' });
  });

  test('that leaves the selection shows the pod as it was, unconfirmed, and resumes from that version', async () => {
    const before = podObject('one', 'u1', '9');
    await using server = await scriptedServer((asked, response) => {
      if (!isWatch(asked)) sendJson(response, 200, before);
      else if (asked.index === 0) {
        begin(response, line('ADDED', podObject('one', 'u1', '5')), mark('7'), line('DELETED', before));
        response.end();
      } else begin(response, line('ADDED', podObject('two', 'u2', '11')));
    });
    const signals = watching(await server.cluster(QUICK));
    await expect.poll(() => lastOf(signals, 'u2'), { timeout: 5_000 }).toBeDefined();
    expect(lastOf(signals, 'u1')).toMatchObject({ kind: 'gone', confirmed: false });
    expect(server.asked.filter(isWatch).slice(1).map(from)).toEqual(['9']);
  });

  test('continues while its token is rotated, and reconnects with the new one', async () => {
    let open: ServerResponse | undefined;
    let valid = 'old';
    await using server = await scriptedServer((asked, response) => {
      if (asked.headers['authorization'] !== `Bearer ${valid}`) {
        sendStatus(response, 401, 'Unauthorized', 'Unauthorized');
        return;
      }
      begin(response, ...(isWatchList(asked) ? [mark('7')] : []));
      open = response;
    });
    const tokenFile = join(server.directory, 'token');
    await writeFile(tokenFile, 'old\n');
    const signals = watching(await server.cluster(QUICK, { tokenFile }));
    await expect.poll(() => signals.some(({ kind }) => kind === 'synced')).toBe(true);
    await writeFile(tokenFile, 'new\n');
    valid = 'new';
    // A server asks at the beginning only: what is open stays open.
    open?.write(line('ADDED', podObject('one', 'u1', '8')));
    await expect.poll(() => lastOf(signals, 'u1')).toBeDefined();
    const first = open;
    open?.end();
    await expect.poll(() => open !== first, { timeout: 5_000 }).toBe(true);
    open?.write(line('ADDED', podObject('two', 'u2', '9')));
    await expect.poll(() => lastOf(signals, 'u2')).toBeDefined();
    expect(signals.some(({ kind }) => kind === 'lagging')).toBe(false);
    expect(server.asked.at(-1)?.headers['authorization']).toBe('Bearer new');
  });

  test('whose reader is slow takes no more than it can hold, and misses nothing', async () => {
    const events = 400;
    const padding = 'x'.repeat(50_000);
    let waitedForReader = 0;
    await using server = await scriptedServer((asked, response) => {
      if (asked.index > 0) {
        begin(response);
        return;
      }
      const write = async (): Promise<void> => {
        begin(response, mark('7'));
        for (let n = 0; n < events; n += 1) {
          if (response.write(line('ADDED', podObject(`p${n}`, `u${n}`, String(8 + n), { padding })))) continue;
          waitedForReader += 1;
          await once(response, 'drain');
        }
      };
      void write();
    });
    const signals = watching(await server.cluster(QUICK), ({ kind }) => {
      const until = performance.now() + (kind === 'pod' ? 1 : 0);
      while (performance.now() < until);
    });
    await expect.poll(() => signals.filter(({ kind }) => kind === 'pod').length, { timeout: 20_000 }).toBe(events);
    // 20 MB were not buffered in this process: the server was slowed down.
    expect(waitedForReader).toBeGreaterThan(10);
    expect(server.asked).toHaveLength(1);
  });

  test('closed because it was too slow lists again and misses nothing', async () => {
    await using server = await scriptedServer((asked, response) => {
      if (!isWatch(asked)) sendStatus(response, 404, 'NotFound', 'not found');
      else if (asked.index === 0) {
        begin(response, line('ADDED', podObject('one', 'u1', '5')), mark('7'));
        setImmediate(() => response.socket?.resetAndDestroy());
      } else if (isWatchList(asked)) begin(response, line('ADDED', podObject('two', 'u2', '90')), mark('91'));
      else {
        begin(response, line('ERROR', { kind: 'Status', code: 410, reason: 'Expired' }));
        response.end();
      }
    });
    const signals = watching(await server.cluster(QUICK));
    await expect.poll(() => lastOf(signals, 'u2'), { timeout: 5_000 }).toBeDefined();
    await expect.poll(() => lastOf(signals, 'u1')).toMatchObject({ kind: 'gone', confirmed: true });
  });

  test('that expires at once, again and again, asks for ever less', async () => {
    await using server = await scriptedServer((asked, response) => {
      if (isWatchList(asked)) begin(response, mark('7'));
      else begin(response, line('ERROR', { kind: 'Status', code: 410, reason: 'Expired' }));
      response.end();
    });
    watching(await server.cluster({ ...QUICK, backoffMs: [200, 5_000] }));
    const startedAt = performance.now();
    // The fifth list comes after waits drawn below 0.2, 0.4, 0.8 and 1.6 s, and the ends between.
    await expect.poll(() => server.asked.filter(isWatchList).length, { timeout: 20_000 }).toBeGreaterThanOrEqual(5);
    expect(performance.now() - startedAt).toBeGreaterThan(100);
    expect(server.asked.length).toBeLessThan(20);
  });

  test('that broke just after a signal emits alive as soon as it is connected again', async () => {
    let first: ServerResponse | undefined;
    await using server = await scriptedServer((asked, response) => {
      if (asked.index > 0) begin(response);
      else begin(response, mark('7'));
      response.flushHeaders();
      first ??= response;
    });
    const signals = watching(await server.cluster(QUICK));
    const kinds = (): readonly string[] => signals.map(({ kind }) => kind);
    await expect.poll(kinds).toContain('synced');
    first?.write(line('ADDED', podObject('one', 'u1', '8')), () => first?.destroy());
    await expect.poll(kinds).toContain('lagging');
    await expect.poll(() => signals.at(-1)?.kind).toBe('alive');
  });

  test('emits alive also after the clock of the machine was set back', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    try {
      await using server = await scriptedServer((_asked, response) => {
        begin(response, mark('7'));
        const talking = setInterval(() => response.write(line('BOOKMARK', { metadata: { resourceVersion: '8' } })), 50);
        response.once('close', () => {
          clearInterval(talking);
        });
      });
      const signals = watching(await server.cluster(QUICK));
      const alive = (): number => signals.filter(({ kind }) => kind === 'alive').length;
      await expect.poll(alive).toBe(1);
      vi.setSystemTime(Date.now() - 3_600_000);
      await expect.poll(alive, { timeout: 5_000 }).toBeGreaterThan(1);
    } finally {
      vi.useRealTimers();
    }
  });

  test('that is ended repeatedly without an event lists again: a server may forget a version without reporting it', async () => {
    await using server = await scriptedServer((asked, response) => {
      const isFirst = asked.index === 0;
      begin(
        response,
        ...(isWatchList(asked) ? [line('ADDED', podObject('x', isFirst ? 'u1' : 'u2', '5')), mark('7')] : []),
      );
      response.flushHeaders();
      if (isFirst || !isWatchList(asked)) response.end();
    });
    const signals = watching(await server.cluster(QUICK));
    await expect.poll(() => lastOf(signals, 'u2'), { timeout: 10_000 }).toBeDefined();
    expect(server.asked.filter(isWatchList)).toHaveLength(2);
    expect(server.asked.filter(isWatch)).toHaveLength(4);
  });

  test('with confirms: false reports pods that disappeared at once, and sends no request', async () => {
    const pods = Array.from({ length: 30 }, (_, n) => line('ADDED', podObject(`p${n}`, `u${n}`, '5')));
    await using server = await scriptedServer((asked, response) => {
      if (asked.index === 0) begin(response, ...pods, mark('7'));
      else if (isWatchList(asked)) begin(response, mark('9'));
      else begin(response, line('ERROR', { kind: 'Status', code: 410, reason: 'Expired' }));
      if (!isWatchList(asked) || asked.index === 0) response.end();
    });
    const cluster = await server.cluster(QUICK);
    const gone: PodSignal[] = [];
    running.push(
      cluster.watchPods$({ namespace: 'ns', labelSelector: 'a=b', confirms: false }).subscribe((signal) => {
        if (signal.kind === 'gone') gone.push(signal);
      }),
    );
    await expect.poll(() => gone.length, { timeout: 5_000 }).toBe(30);
    expect(gone).toContainEqual(expect.objectContaining({ confirmed: false }));
    expect(server.asked.filter((asked) => !isWatch(asked))).toEqual([]);
  });

  test('whose WatchList is cut before its end continues with a paged list', async () => {
    await using server = await scriptedServer((asked, response) => {
      if (isWatchList(asked)) {
        begin(response, line('ADDED', podObject('one', 'u1', '5')));
        response.end();
      } else if (isWatch(asked)) begin(response);
      else
        sendJson(response, 200, {
          metadata: { resourceVersion: '7' },
          items: [podObject('one', 'u1', '5'), podObject('two', 'u2', '6')],
        });
    });
    const signals = watching(await server.cluster(QUICK));
    await expect.poll(() => signals.filter(({ kind }) => kind === 'synced').length).toBe(1);
    expect(lastOf(signals, 'u2')).toBeDefined();
    expect(server.asked.filter(isWatchList)).toHaveLength(1);
    expect(server.asked.map(from).at(-1)).toBe('7');
  });

  test('of many processes comes back at many moments after the server ended them all', async () => {
    const askedAt: number[] = [];
    const open: ServerResponse[] = [];
    await using server = await scriptedServer((asked, response) => {
      if (!isWatchList(asked)) askedAt.push(performance.now());
      begin(response, ...(isWatchList(asked) ? [mark('7')] : []));
      open.push(response);
    });
    const all = await Promise.all(Array.from({ length: 30 }, () => server.cluster(QUICK)));
    const signals = all.map((cluster) => watching(cluster));
    await expect.poll(() => signals.every((one) => one.some(({ kind }) => kind === 'synced'))).toBe(true);
    for (const response of open.splice(0)) response.end();
    await expect.poll(() => askedAt.length, { timeout: 10_000 }).toBe(30);
    expect(Math.max(...askedAt) - Math.min(...askedAt)).toBeGreaterThan(300);
    // No watch listed again.
    expect(server.asked.filter(isWatchList)).toHaveLength(30);
  });
});
