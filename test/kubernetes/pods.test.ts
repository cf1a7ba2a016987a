import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { KubernetesError } from '../../src/errors.ts';
import { openClusters } from '../../src/kubernetes/clusters.ts';
import { podObject, scriptedServer, sendJson, sendStatus } from '../support/scripted-server.ts';

const manifest = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'one' }, spec: {} };
const ref = { connection: 'scripted', namespace: 'ns', name: 'one', uid: 'u1' };
const errorOf = async (asked: Promise<unknown>): Promise<unknown> =>
  await asked.then(
    () => undefined,
    (error: unknown) => error,
  );

describe('createPod', () => {
  test('finds the pod whose creation was done and never answered', async () => {
    await using server = await scriptedServer((asked, response) => {
      if (asked.method === 'POST') response.socket?.destroy();
      else sendJson(response, 200, podObject('one', 'u1', '5'));
    });
    const cluster = await server.cluster();
    expect(await cluster.createPod('ns', manifest)).toMatchObject({ kind: 'exists', pod: { metadata: { uid: 'u1' } } });
    expect(cluster.requestCounts()).toEqual({ create: 1, get: 1 });
  });

  test('asks once more where the lost creation was not done', async () => {
    await using server = await scriptedServer((asked, response) => {
      if (asked.index === 0) response.socket?.destroy();
      else if (asked.method === 'GET') sendStatus(response, 404, 'NotFound', 'pods "one" not found');
      else sendJson(response, 201, podObject('one', 'u1', '5'));
    });
    expect(await (await server.cluster()).createPod('ns', manifest)).toMatchObject({ kind: 'created' });
  });

  test('has an unknown outcome when there is no reply', async () => {
    await using server = await scriptedServer(() => undefined);
    const error = await errorOf((await server.cluster({ unaryMs: 50 })).createPod('ns', manifest));
    expect(error).toMatchObject({ code: 'KUBERNETES', fault: 'unknownOutcome', transient: true, status: 0 });
    expect(String(error)).toContain('create pod ns/one on cluster "scripted" failed: no reply within the deadline');
  });

  test('outlasts races for the quota object', async () => {
    await using server = await scriptedServer((asked, response) => {
      if (asked.index < 3) {
        const message = 'Operation cannot be fulfilled on resourcequotas "q": the object has been modified';
        sendStatus(response, 409, 'Conflict', message, { name: 'q', kind: 'resourcequotas' });
      } else sendJson(response, 201, podObject('one', 'u1', '5'));
    });
    expect(await (await server.cluster()).createPod('ns', manifest)).toMatchObject({ kind: 'created' });
  });

  test('sends the manifest as it is, under strict validation', async () => {
    await using server = await scriptedServer((_, response) => {
      sendJson(response, 201, podObject('one', 'u1', '5'));
    });
    const odd = { ...manifest, spec: { futureField: { a: [1, null] } } };
    await (await server.cluster()).createPod('ns', odd, { dryRun: true });
    expect(server.asked[0]!.body).toEqual(odd);
    expect(Object.fromEntries(server.asked[0]!.query)).toEqual({ fieldValidation: 'Strict', dryRun: 'All' });
    expect(server.asked[0]!.headers['user-agent']).toMatch(/^reentry/);
  });
});

describe('getPod', () => {
  test('believes an absence of the API server only, not of a proxy that knows no such page', async () => {
    await using server = await scriptedServer((asked, response) => {
      if (asked.index > 0) sendStatus(response, 404, 'NotFound', 'pods "one" not found');
      else response.writeHead(404, { 'content-type': 'text/html' }).end('<h1>404 page not found</h1>');
    });
    const cluster = await server.cluster();
    expect(await errorOf(cluster.getPod('ns', 'one'))).toMatchObject({ fault: 'unavailable', transient: true });
    expect(await cluster.getPod('ns', 'one')).toBeUndefined();
  });
});

describe('deletePod', () => {
  test('repeats a deletion whose answer was lost', async () => {
    await using server = await scriptedServer((asked, response) => {
      if (asked.index === 0) response.socket?.destroy();
      else sendStatus(response, 404, 'NotFound', 'pods "one" not found');
    });
    expect(await (await server.cluster()).deletePod(ref)).toBe('gone');
    expect(server.asked[1]!.body).toMatchObject({ preconditions: { uid: 'u1' } });
  });

  test('does not take a conflict over the same pod for its end', async () => {
    await using server = await scriptedServer((asked, response) => {
      if (asked.method === 'GET') sendJson(response, 200, podObject('one', 'u1', '5'));
      else sendStatus(response, 409, 'Conflict', 'the object has been modified');
    });
    expect(await errorOf((await server.cluster()).deletePod(ref))).toMatchObject({
      fault: 'conflict',
      transient: true,
    });
  });
});

describe('a refusal', () => {
  test.each([
    [400, 'BadRequest', 'bad', 'invalid', false],
    [401, 'Unauthorized', 'Unauthorized', 'unauthorized', false],
    [403, 'Forbidden', 'pods "one" is forbidden: exceeded quota: q, requested: pods=1', 'quota', true],
    [403, 'Forbidden', 'pods "one" is forbidden: violates PodSecurity "restricted:latest"', 'forbidden', false],
    [403, 'Forbidden', 'pods is forbidden: User "x" cannot create resource "pods"', 'forbidden', false],
    [403, 'Forbidden', 'admission webhook "w" denied the request: no', 'invalid', false],
    [409, 'Conflict', 'object was modified', 'conflict', true],
    [410, 'Expired', 'too old', 'expired', true],
    [413, 'RequestEntityTooLarge', 'Request entity too large: limit is 3145728', 'invalid', false],
    [422, 'Invalid', 'Pod "one" is invalid', 'invalid', false],
    [429, 'TooManyRequests', 'slow down', 'throttled', true],
    [500, 'InternalError', 'failed calling webhook "w"', 'unavailable', true],
    [500, 'Unknown', 'etcdserver: request is too large', 'invalid', false],
    [503, 'ServiceUnavailable', 'apiserver is shutting down', 'unavailable', true],
  ])('%i %s "%s" is %s', async (status, reason, message, fault, transient) => {
    await using server = await scriptedServer((_, response) => {
      sendStatus(response, status, reason, message);
    });
    const error = await errorOf((await server.cluster()).createPod('ns', manifest));
    expect(error).toMatchObject({ fault, transient, status });
    expect(String(error)).toContain(message);
  });

  test.each([
    [504, 'Timeout', 'Timeout: request did not complete within requested timeout'],
    [502, 'Unknown', 'Bad Gateway'],
    [500, 'Unknown', 'etcdserver: request timed out'],
  ])('%i %s of a write leaves its outcome unknown, of a read it does not', async (status, reason, message) => {
    await using server = await scriptedServer((_, response) => {
      sendStatus(response, status, reason, message);
    });
    const cluster = await server.cluster();
    expect(await errorOf(cluster.patchPod(ref, {}))).toMatchObject({ fault: 'unknownOutcome' });
    expect(await errorOf(cluster.getPod('ns', 'one'))).toMatchObject({ fault: 'unavailable' });
  });

  test('carries how long to wait', async () => {
    await using server = await scriptedServer((_, response) => {
      response.writeHead(429, { 'retry-after': '7' }).end('Too many requests');
    });
    expect(await errorOf((await server.cluster()).getPod('ns', 'one'))).toMatchObject({
      fault: 'throttled',
      retryAfterMs: 7000,
    });
  });

  test('of a refused connection is unavailable, for writes too', async () => {
    const server = await scriptedServer(() => undefined);
    const kubeconfig = await readFile(await server.kubeconfig(), 'utf8');
    await server[Symbol.asyncDispose]();
    await using other = await scriptedServer(() => undefined);
    const path = join(other.directory, 'closed');
    await writeFile(path, kubeconfig);
    await using clusters = openClusters({ connections: { closed: { kubeconfig: path } } });
    const error = await errorOf(clusters.get('closed').createPod('ns', manifest));
    expect(error).toBeInstanceOf(KubernetesError);
    expect(error).toMatchObject({ fault: 'unavailable', transient: true });
  });

  test('of a read on an idle connection that was closed is retried once', async () => {
    await using server = await scriptedServer((asked, response) => {
      if (asked.index === 0) response.socket?.destroy();
      else sendJson(response, 200, podObject('one', 'u1', '5'));
    });
    expect(await (await server.cluster()).getPod('ns', 'one')).toMatchObject({ metadata: { uid: 'u1' } });
  });
});

describe('credentials', () => {
  test('are read again once when they are refused', async () => {
    await using server = await scriptedServer((asked, response) => {
      if (asked.headers['authorization'] === 'Bearer new') sendJson(response, 200, podObject('one', 'u1', '5'));
      else sendStatus(response, 401, 'Unauthorized', 'Unauthorized');
    });
    const tokenFile = join(server.directory, 'token');
    await writeFile(tokenFile, 'old\n');
    const cluster = await server.cluster({}, { tokenFile });
    expect(await errorOf(cluster.getPod('ns', 'one'))).toMatchObject({ fault: 'unauthorized' });
    expect(server.asked).toHaveLength(2);
    await writeFile(tokenFile, 'new\n');
    expect(await cluster.getPod('ns', 'one')).toBeDefined();
    expect(await cluster.getPod('ns', 'one')).toBeDefined();
    expect(server.asked.slice(2).map(({ headers }) => headers['authorization'])).toEqual([
      'Bearer old',
      'Bearer new',
      'Bearer new',
    ]);
  });

  test('come from a plugin that is run once for many calls, and again when they are refused', async () => {
    await using server = await scriptedServer((asked, response) => {
      if (asked.headers['authorization'] === 'Bearer stale') sendStatus(response, 401, 'Unauthorized', 'Unauthorized');
      else sendJson(response, 200, podObject('one', String(asked.headers['authorization']), '5'));
    });
    const runs = join(server.directory, 'runs');
    const token = join(server.directory, 'token');
    const plugin = join(server.directory, 'plugin');
    await writeFile(token, 'fresh');
    await writeFile(
      plugin,
      `#!/bin/sh\necho "$WHO $1" >> ${runs}\nprintf '{"kind":"ExecCredential","status":{"token":"%s"}}' "$(cat ${token})"\n`,
    );
    await chmod(plugin, 0o755);
    const exec = {
      apiVersion: 'client.authentication.k8s.io/v1',
      command: plugin,
      args: ['login'],
      env: [{ name: 'WHO', value: 'me' }],
    };
    const cluster = await server.cluster({}, { exec });
    const pods = await Promise.all([1, 2, 3, 4].map(() => cluster.getPod('ns', 'one')));
    expect(pods.every((pod) => JSON.stringify(pod).includes('Bearer fresh'))).toBe(true);
    expect(await readFile(runs, 'utf8')).toBe('me login\n');
  });

  test('that cannot be obtained are an error with the reason, and nothing is sent', async () => {
    await using server = await scriptedServer(() => undefined);
    const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: '/nowhere/plugin' };
    const error = await errorOf((await server.cluster({}, { exec })).getPod('ns', 'one'));
    expect(error).toMatchObject({ fault: 'unauthorized' });
    expect(String(error)).toContain('/nowhere/plugin');
    expect(server.asked).toEqual([]);
  });
});

describe('openClusters', () => {
  test('names the known connections when asked for an unknown one', async () => {
    await using server = await scriptedServer(() => undefined);
    const kubeconfig = await server.kubeconfig();
    await using clusters = openClusters({ connections: { a: { kubeconfig }, b: { kubeconfig, namespace: 'own' } } });
    expect(clusters.names).toEqual(['a', 'b']);
    expect([clusters.get('a').namespace, clusters.get('b').namespace]).toEqual(['ns', 'own']);
    expect(() => clusters.get('c')).toThrow('no connection "c" is configured; known: a, b');
  });

  test('names the missing kubeconfig or context', async () => {
    await using server = await scriptedServer(() => undefined);
    const kubeconfig = await server.kubeconfig();
    expect(() => openClusters({ connections: { a: { kubeconfig: '/nowhere/config' } } })).toThrow(
      /"a".*\/nowhere\/config/,
    );
    expect(() => openClusters({ connections: { a: { kubeconfig, context: 'other' } } })).toThrow('it has: scripted');
    expect(() => openClusters({ connections: { a: { inCluster: true } }, env: {} })).toThrow('does not run in a pod');
  });
});
