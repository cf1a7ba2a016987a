import type { ServerResponse } from 'node:http';
import type { Subscription } from 'rxjs';
import { afterEach, describe, expect, test } from 'vitest';
import type { Cluster, Manifest, PodSignal } from '../../src/ports/cluster.ts';
import { type Asked, podObject, scriptedServer, sendJson, sendStatus } from '../support/scripted-server.ts';

const QUICK = { backoffMs: [5, 20], healthyMs: 60_000 } as const;
const running: Subscription[] = [];
afterEach(() => {
  for (const one of running.splice(0)) one.unsubscribe();
});

const watching = (cluster: Cluster): PodSignal[] => {
  const signals: PodSignal[] = [];
  running.push(
    cluster.watchPods$({ namespace: 'ns', labelSelector: 'a=b' }).subscribe((signal) => signals.push(signal)),
  );
  return signals;
};
const line = (type: string, object: Manifest): string => `${JSON.stringify({ type, object })}\n`;
const mark = (resourceVersion: string): string =>
  line('BOOKMARK', {
    kind: 'Pod',
    metadata: { resourceVersion, annotations: { 'k8s.io/initial-events-end': 'true' } },
  });
const uids = (signals: readonly PodSignal[]): readonly string[] =>
  signals.flatMap((signal) => (signal.kind === 'pod' ? [signal.pod.uid] : []));
const lag = (signals: readonly PodSignal[]): string =>
  signals.flatMap((signal) => (signal.kind === 'lagging' ? [signal.why] : [])).join('\n');
const isWatch = (asked: Asked): boolean => asked.query.get('watch') === 'true';
const kinds = (signals: readonly PodSignal[]): readonly string[] => signals.map(({ kind }) => kind);

/** A stream that begins as WatchList does and stays open. */
const begin = (response: ServerResponse, ...lines: readonly string[]): void => {
  response.writeHead(200, { 'content-type': 'application/json' });
  for (const text of lines) response.write(text);
};

describe('watchPods$', () => {
  test('resumes from the last version after a reset, and reports that it lagged', async () => {
    await using server = await scriptedServer((asked, response) => {
      if (asked.index === 0) {
        begin(
          response,
          line('ADDED', podObject('one', 'u1', '5')),
          mark('7'),
          line('MODIFIED', podObject('one', 'u1', '9')),
        );
        setImmediate(() => response.socket?.resetAndDestroy());
      } else begin(response, line('ADDED', podObject('two', 'u2', '11')));
    });
    const signals = watching(await server.cluster(QUICK));
    await expect.poll(() => uids(signals)).toContain('u2');
    // What the reset lost is requested again: from the last emitted event on.
    expect(['7', '9', null]).toContain(server.asked[1]!.query.get('resourceVersion'));
    expect(lag(signals)).toContain('watch pods of ns on cluster "scripted"');
  });

  test('does not emit an event whose line was cut, and receives it again', async () => {
    const whole = line('ADDED', podObject('two', 'u2', '8'));
    await using server = await scriptedServer((asked, response) => {
      if (asked.index === 0) {
        begin(response, mark('7'), whole.slice(0, 60));
        response.end();
      } else begin(response, whole);
    });
    const signals = watching(await server.cluster(QUICK));
    await expect.poll(() => uids(signals)).toEqual(['u2']);
    expect(server.asked[1]!.query.get('resourceVersion')).toBe('7');
    expect(lag(signals)).toContain('ended in the middle of an event');
  });

  test('puts events together however their bytes arrive', async () => {
    const bytes = Buffer.from(mark('7') + line('ADDED', podObject('zürich', 'ü€😀', '8')));
    await using server = await scriptedServer((_, response) => {
      begin(response);
      let at = 0;
      const next = (): void => {
        if (at >= bytes.length) return;
        response.write(bytes.subarray(at, at + 1), next);
        at += 1;
      };
      next();
    });
    const signals = watching(await server.cluster(QUICK));
    await expect.poll(() => uids(signals), { timeout: 10_000 }).toEqual(['ü€😀']);
  });

  test('takes an event of a megabyte', async () => {
    const big = podObject('big', 'u1', '8', { padding: 'x'.repeat(1_000_000) });
    await using server = await scriptedServer((_, response) => {
      begin(response, mark('7'), line('ADDED', big));
    });
    const signals = watching(await server.cluster(QUICK));
    await expect.poll(() => uids(signals)).toEqual(['u1']);
  });

  test.each(['as an event', 'as a status'])(
    'lists again after 410 %s, and reports which pods are gone',
    async (how) => {
      await using server = await scriptedServer((asked, response) => {
        if (!isWatch(asked)) sendStatus(response, 404, 'NotFound', 'pods "one" not found');
        else if (asked.index === 0) {
          begin(
            response,
            line('ADDED', podObject('one', 'u1', '5')),
            line('ADDED', podObject('two', 'u2', '6')),
            mark('7'),
          );
          response.end();
        } else if (asked.query.has('resourceVersion')) {
          if (how === 'as a status') sendStatus(response, 410, 'Expired', 'too old resource version: 7 (9)');
          else {
            begin(response, line('ERROR', { kind: 'Status', code: 410, reason: 'Expired' }));
            response.end();
          }
        } else
          begin(
            response,
            line('ADDED', podObject('two', 'u2', '6')),
            line('ADDED', podObject('three', 'u3', '8')),
            mark('9'),
          );
      });
      const signals = watching(await server.cluster(QUICK));
      await expect
        .poll(() => signals.find(({ kind }) => kind === 'gone'), { timeout: 10_000 })
        .toMatchObject({
          pod: { uid: 'u1' },
          confirmed: true,
        });
      // What has not changed is not emitted again.
      expect(uids(signals)).toEqual(['u1', 'u2', 'u3']);
      expect(kinds(signals).filter((kind) => kind === 'synced')).toHaveLength(2);
    },
  );

  test('ends a stream that is open and silent, and begins another one', async () => {
    await using server = await scriptedServer((asked, response) => {
      begin(response, ...(asked.index === 0 ? [mark('7')] : [line('ADDED', podObject('one', 'u1', '8'))]));
    });
    const signals = watching(await server.cluster({ ...QUICK, watchIdleMs: 100 }));
    await expect.poll(() => uids(signals)).toContain('u1');
    expect(lag(signals)).toContain('received nothing for 100 ms');
  });

  test('waits as long as a 429 asks for, whose body is plain text', async () => {
    await using server = await scriptedServer((asked, response) => {
      if (asked.index === 0) {
        response
          .writeHead(429, { 'content-type': 'text/plain', 'retry-after': '1' })
          .end('Too many requests, please try again later.\n');
      } else begin(response, mark('7'));
    });
    const signals = watching(await server.cluster(QUICK));
    await expect.poll(() => lag(signals)).toContain('429: Too many requests');
    expect(server.asked).toHaveLength(1);
    await expect.poll(() => kinds(signals), { timeout: 10_000 }).toContain('synced');
  });

  test('lists in pages where WatchList is refused, and does not ask for it again', async () => {
    await using server = await scriptedServer((asked, response) => {
      if (asked.query.has('sendInitialEvents')) {
        sendStatus(
          response,
          422,
          'Invalid',
          'sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled',
        );
      } else if (isWatch(asked)) begin(response, line('ADDED', podObject('three', 'u3', '8')));
      else if (asked.query.has('continue')) {
        sendJson(response, 200, { metadata: { resourceVersion: '7' }, items: [podObject('two', 'u2', '6')] });
      } else
        sendJson(response, 200, {
          metadata: { resourceVersion: '7', continue: 'more' },
          items: [podObject('one', 'u1', '5')],
        });
    });
    const cluster = await server.cluster(QUICK);
    const first = watching(cluster);
    await expect.poll(() => uids(first)).toEqual(['u1', 'u2', 'u3']);
    expect(server.asked.at(-1)!.query.get('resourceVersion')).toBe('7');
    const second = watching(cluster);
    await expect.poll(() => uids(second)).toEqual(['u1', 'u2', 'u3']);
    expect(server.asked.filter(({ query }) => query.has('sendInitialEvents'))).toHaveLength(1);
    expect(lag(first)).toBe('');
  });

  test('starts a list again whose continue token has expired', async () => {
    let expired = false;
    await using server = await scriptedServer((asked, response) => {
      if (isWatch(asked)) {
        begin(response);
        return;
      }
      if (asked.query.has('continue') && !expired) {
        expired = true;
        sendStatus(response, 410, 'Expired', 'The provided continue parameter is too old');
        return;
      }
      const more = asked.query.has('continue') ? {} : { continue: 'more' };
      sendJson(response, 200, {
        metadata: { resourceVersion: '7', ...more },
        items: [podObject('one', 'u1', '5')],
      });
    });
    const cluster = await server.cluster(QUICK);
    expect(await cluster.listPods('ns', 'a=b')).toHaveLength(2);
    expect(server.asked).toHaveLength(4);
  });

  test('survives refusals of every kind', async () => {
    const refusals = [401, 401, 403, 500, 503, 504];
    await using server = await scriptedServer((asked, response) => {
      const status = refusals[asked.index];
      if (status === undefined) begin(response, mark('7'));
      else sendStatus(response, status, 'Odd', `refusal ${status}`);
    });
    const signals = watching(await server.cluster(QUICK));
    await expect.poll(() => kinds(signals), { timeout: 10_000 }).toContain('synced');
    expect(kinds(signals).filter((kind) => kind === 'lagging')).toHaveLength(5);
  });

  test('reports that a pod with a deletion timestamp is gone without a request', async () => {
    const metadata = {
      name: 'one',
      namespace: 'ns',
      uid: 'u1',
      resourceVersion: '8',
      deletionTimestamp: '2026-01-01T00:00:09Z',
    };
    await using server = await scriptedServer((_, response) => {
      begin(
        response,
        line('ADDED', podObject('one', 'u1', '5')),
        mark('7'),
        line('DELETED', podObject('one', 'u1', '8', { metadata })),
      );
    });
    const signals = watching(await server.cluster(QUICK));
    await expect.poll(() => signals.find(({ kind }) => kind === 'gone')).toMatchObject({ confirmed: true });
    expect(server.asked).toHaveLength(1);
  });

  test('closes its connection when it is left', async () => {
    let closed = false;
    await using server = await scriptedServer((_, response) => {
      response.on('close', () => {
        closed = true;
      });
      begin(response, mark('7'));
    });
    const signals = watching(await server.cluster(QUICK));
    await expect.poll(() => kinds(signals)).toContain('synced');
    running.pop()!.unsubscribe();
    await expect.poll(() => closed).toBe(true);
    expect(server.asked).toHaveLength(1);
  });
});
