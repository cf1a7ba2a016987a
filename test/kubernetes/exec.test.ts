import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, test } from 'vitest';
import type { WebSocket } from 'ws';
import type { Clusters } from '../../src/ports/cluster.ts';
import { type ClusterUnderTest, TARGETS } from '../support/kubernetes.ts';
import { frame, POD, scriptedExec, SUCCESS } from '../support/scripted-exec.ts';

const read = (clusters: Clusters, more: object = {}) =>
  clusters.get('scripted').exec(POD, { container: 'base', command: ['cat', 'a b'], ...more });

describe('a command over a connection', () => {
  test('is requested with the token, the preferred protocol and each argument of its own', async () => {
    await using server = await scriptedExec((client) => {
      for (const channel of [1, 2, 3]) client.send(Buffer.of(channel));
      client.send(frame(1, 'a'));
      client.send(frame(1, 'b'));
      client.send(frame(3, SUCCESS));
    });
    const outcome = await read(server.clusters);
    expect(outcome).toMatchObject({ kind: 'ended', exitCode: 0, stdout: Buffer.from('ab') });
    expect(server.asked).toEqual([
      'Bearer secret v5.channel.k8s.io /under/a/path/api/v1/namespaces/ns/pods/pod/exec?container=base&command=cat&command=a+b&stdout=true&stderr=true',
    ]);
  });

  test.each([
    [
      'cut',
      (client: WebSocket) => {
        client.terminate();
      },
    ],
    [
      'closed',
      (client: WebSocket) => {
        client.close(1000);
      },
    ],
  ] as const)('that was %s before its end was reported has no output', async (_, end) => {
    await using server = await scriptedExec((client) => {
      client.send(frame(1, '{"half":'), () => {
        end(client);
      });
    });
    await expect(read(server.clusters)).rejects.toMatchObject({ fault: 'unknownOutcome', transient: true });
  });

  test('that is silent is given up at its deadline', async () => {
    await using server = await scriptedExec(() => undefined);
    const asked = read(server.clusters, { timeoutMs: 200 });
    await expect(asked).rejects.toMatchObject({ fault: 'unknownOutcome', reason: 'Timeout' });
  });

  test('leaves nothing of its answer in memory', async () => {
    const answer = Buffer.alloc(1_000_000, 1);
    await using server = await scriptedExec((client) => {
      client.send(frame(1, answer.toString('latin1')));
      client.send(frame(3, SUCCESS));
    });
    setFlagsFromString('--expose-gc');
    const inUse = (): number => {
      for (let n = 0; n < 2; n += 1) runInNewContext('gc()');
      return process.memoryUsage().arrayBuffers;
    };
    await read(server.clusters);
    const before = inUse();
    const times = 30;
    for (let n = 0; n < times; n += 1) await read(server.clusters);
    await expect.poll(() => inUse() - before, { timeout: 10_000 }).toBeLessThan((times / 3) * answer.length);
  });

  test('that floods is left at its limit', async () => {
    await using server = await scriptedExec((client) => {
      const flood = (): void => {
        if (client.readyState === client.OPEN) client.send(Buffer.alloc(65_536, 1), flood);
      };
      flood();
    });
    expect(await read(server.clusters, { maxBytes: 300_000 })).toEqual({ kind: 'tooLarge', maxBytes: 300_000 });
  });

  test('whose status is not understood is an error', async () => {
    await using server = await scriptedExec((client) => {
      client.send(frame(3, 'what?'));
    });
    await expect(read(server.clusters)).rejects.toThrow(/what\?/);
  });
});

describe('a refused command', () => {
  const [local] = TARGETS;
  test('rejects with the server’s reason', async () => {
    await using k: ClusterUnderTest = await (local?.start() ?? Promise.reject(new Error('there is no local cluster')));
    const made = await k.cluster.createPod(await k.namespace(), k.pod({ script: 'sleep 600' }));
    const pod = await k.until(k.cluster.project(made.pod), ({ phase }) => phase === 'Running');
    const command = { container: 'base', command: ['true'] };
    k.faults?.order({ fault: 'deny', verb: 'create', resource: 'pods/exec' });
    await expect(k.cluster.exec(pod, command)).rejects.toMatchObject({ fault: 'forbidden', status: 403 });
    await expect(k.cluster.exec(pod, command)).rejects.toThrow(/cannot create resource "pods\/exec"/);
    k.faults?.order({ fault: 'clear' });
    k.faults?.order({ fault: 'failNext', verb: 'create', resource: 'pods/exec', status: 503, retryAfterSeconds: 7 });
    await expect(k.cluster.exec(pod, command)).rejects.toMatchObject({ fault: 'unavailable', retryAfterMs: 7_000 });
    k.faults?.order({ fault: 'failNext', verb: 'create', resource: 'pods/exec', status: 401 });
    expect(await k.cluster.exec(pod, command)).toMatchObject({ exitCode: 0 });
    k.faults?.order({ fault: 'loseReply', verb: 'create', resource: 'pods/exec' });
    await expect(k.cluster.exec(pod, command)).rejects.toMatchObject({ fault: 'unknownOutcome' });
  });
});
