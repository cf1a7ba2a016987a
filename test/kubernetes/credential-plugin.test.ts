import { readFileSync } from 'node:fs';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Manifest, PodSignal } from '../../src/ports/cluster.ts';
import { podObject, scriptedServer, type ScriptedServer, sendJson } from '../support/scripted-server.ts';

const GRANTED = JSON.stringify({ kind: 'ExecCredential', status: { token: 'granted' } });
let server: ScriptedServer;
let serial = 0;
beforeAll(async () => {
  server = await scriptedServer((_, response) => {
    sendJson(response, 200, podObject('pod', 'uid', '1'));
  });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

/** A plugin that writes the ids of its processes to `pids`, whatever else `script` does. */
async function plugin(
  script: string,
): Promise<{ readonly user: Manifest; readonly file: (name: string) => string; readonly pids: () => number[] }> {
  serial += 1;
  const file = (name: string): string => join(server.directory, `plugin-${serial}-${name}`);
  const path = file('sh');
  const pids = file('pids');
  const own = { GO: file('go'), PIDS: pids, GRANTED };
  await writeFile(path, `#!/bin/sh\necho $$ >> "$PIDS"\n${script}\n`);
  await chmod(path, 0o755);
  await writeFile(pids, '');
  const env = Object.entries(own).map(([name, value]) => ({ name, value }));
  const user = { exec: { apiVersion: 'client.authentication.k8s.io/v1', command: path, env } };
  return {
    user,
    file,
    pids: () => readFileSync(pids, 'utf8').trim().split('\n').filter(Boolean).map(Number),
  };
}

/** Whether a process is running; a zombie is not. */
async function runs(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return stat !== '' && !/^\d+ \(.*\) [ZX] /s.test(stat);
}
const left = async (pids: readonly number[]): Promise<number> =>
  (await Promise.all(pids.map(runs))).filter(Boolean).length;

/** Waits for `go` and then grants. */
const WAITS = 'while [ ! -e "$GO" ]; do sleep 0.02; done; printf %s "$GRANTED"';

describe('a credential plugin that hangs', () => {
  test.each([
    ['ignores the signal to end', `trap '' TERM INT; while :; do sleep 0.05; done`],
    ['is a wrapper that waits for another', `sh -c 'echo $$ >> "$PIDS"; sleep 600'; :`],
    ['is a wrapper whose child keeps the pipe', `sh -c 'echo $$ >> "$PIDS"; sleep 600' & sleep 0.05; exit 0`],
    ['has printed a credential', `printf %s "$GRANTED"; sleep 600`],
  ])('and %s is ended at its time-out with all that it started', async (_, script) => {
    const { user, pids } = await plugin(script);
    const cluster = await server.cluster({ pluginMs: 300 }, user);
    const before = server.asked.length;
    await expect(cluster.getPod('ns', 'pod')).rejects.toThrow(
      /no credentials could be obtained: .*exec plugin .* 300 ms/,
    );
    expect(pids()).not.toEqual([]);
    await expect.poll(() => left(pids())).toBe(0);
    expect(server.asked).toHaveLength(before);
    // The next call runs it again.
    await expect(cluster.getPod('ns', 'pod')).rejects.toMatchObject({ fault: 'unavailable', transient: true });
    await expect.poll(() => left(pids())).toBe(0);
  });

  test('delays a call until the call’s deadline, and its credentials serve the next one', async () => {
    const { user, file, pids } = await plugin(WAITS);
    const cluster = await server.cluster({ unaryMs: 200 }, user);
    const calls = [cluster.getPod('ns', 'pod'), cluster.createPod('ns', podObject('pod', '', ''))];
    for (const call of calls) {
      await expect(call).rejects.toMatchObject({ fault: 'unavailable', reason: 'NoCredentials', transient: true });
    }
    await writeFile(file('go'), '');
    await expect.poll(() => cluster.getPod('ns', 'pod').catch(() => undefined)).toBeDefined();
    expect(server.asked.at(-1)?.headers['authorization']).toBe('Bearer granted');
    expect(pids()).toHaveLength(1);
  });

  test('makes a watch lag, which recovers once the plugin answers', async () => {
    const { user, file } = await plugin(WAITS);
    const cluster = await server.cluster({ unaryMs: 200, backoffMs: [5, 20] }, user);
    const signals: PodSignal[] = [];
    const before = server.asked.length;
    const watching = cluster
      .watchPods$({ namespace: 'ns', labelSelector: 'a=b' })
      .subscribe((one) => signals.push(one));
    await expect.poll(() => signals).toContainEqual({ kind: 'lagging', why: expect.stringMatching(/credentials/) });
    await writeFile(file('go'), '');
    await expect.poll(() => server.asked.length).toBeGreaterThan(before);
    expect(server.asked[before]?.query.get('sendInitialEvents')).toBe('true');
    watching.unsubscribe();
  });

  test('is not waited for by a reader of logs or a command whose caller has left', async () => {
    const { user } = await plugin(WAITS);
    const cluster = await server.cluster({}, user);
    const pod = { connection: 'scripted', namespace: 'ns', name: 'pod', uid: 'uid' };
    const leave = new AbortController();
    const reading = (async () => {
      for await (const line of cluster.logs(pod, 'base', { signal: leave.signal })) expect(line).toBeUndefined();
      return 'ended';
    })();
    const reason = new Error('the caller left');
    const run = cluster.exec(pod, { container: 'base', command: ['true'], signal: leave.signal });
    leave.abort(reason);
    await expect(run).rejects.toBe(reason);
    expect(await reading).toBe('ended');
    const late = cluster.exec(pod, { container: 'base', command: ['true'], timeoutMs: 50 });
    await expect(late).rejects.toMatchObject({ reason: 'NoCredentials' });
  });

  test('ends with the connection', async () => {
    const { user, pids } = await plugin(WAITS);
    const cluster = await server.cluster({}, user);
    const call = expect(cluster.getPod('ns', 'pod')).rejects.toMatchObject({
      fault: 'unavailable',
      reason: 'NoCredentials',
    });
    await expect.poll(() => left(pids())).toBe(1);
    await cluster[Symbol.asyncDispose]();
    await call;
    await expect.poll(() => left(pids())).toBe(0);
  });
});

describe('a credential plugin that fails', () => {
  test('reports how it failed, and is not transient', async () => {
    const { user } = await plugin('echo "log in first" >&2; exit 3');
    const cluster = await server.cluster({}, user);
    const call = cluster.getPod('ns', 'pod');
    await expect(call).rejects.toMatchObject({ fault: 'unauthorized', reason: 'NoCredentials' });
    await expect(call).rejects.toThrow(/ended with 3: log in first/);
  });
});
