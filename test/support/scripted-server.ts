import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openClusters, type Tuning } from '../../src/kubernetes/clusters.ts';
import type { Cluster, Manifest } from '../../src/ports/cluster.ts';

/** A request as the server received it. */
export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: unknown;
  /** Number of requests before it. */
  readonly index: number;
}

/** An HTTP server scripted by the test, for what no real API server does on demand. */
export interface ScriptedServer extends AsyncDisposable {
  readonly url: string;
  readonly asked: readonly Asked[];
  readonly directory: string;
  /** Writes a kubeconfig for it with this user entry. */
  kubeconfig(user?: Manifest): Promise<string>;
  /** The adapter, connected to it. */
  cluster(tuning?: Partial<Tuning>, user?: Manifest): Promise<Cluster>;
}

/** Starts a server that gives each request to `answer`. */
export async function scriptedServer(
  answer: (asked: Asked, response: ServerResponse) => void,
): Promise<ScriptedServer> {
  const directory = await mkdtemp(join(tmpdir(), 'reentry-scripted-'));
  const asked: Asked[] = [];
  const opened: AsyncDisposable[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { pathname, searchParams } = new URL(request.url ?? '/', 'http://scripted');
      const text = Buffer.concat(chunks).toString();
      const body: unknown = text === '' ? undefined : JSON.parse(text);
      const one = {
        method: request.method ?? '',
        path: pathname,
        query: searchParams,
        headers: request.headers,
        body,
        index: asked.length,
      };
      asked.push(one);
      answer(one, response);
    });
  });
  const port = await new Promise<number>((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : 0);
    });
  });
  const url = `http://127.0.0.1:${port}`;
  let files = 0;
  const kubeconfig = async (user: Manifest = {}): Promise<string> => {
    files += 1;
    const path = join(directory, `kubeconfig-${files}`);
    await writeFile(
      path,
      JSON.stringify({
        'current-context': 'scripted',
        clusters: [{ name: 'scripted', cluster: { server: url } }],
        users: [{ name: 'user', user }],
        contexts: [{ name: 'scripted', context: { cluster: 'scripted', user: 'user', namespace: 'ns' } }],
      }),
    );
    return path;
  };
  return {
    url,
    asked,
    directory,
    kubeconfig,
    async cluster(tuning = {}, user = {}) {
      const clusters = openClusters({ connections: { scripted: { kubeconfig: await kubeconfig(user) } }, tuning });
      opened.push(clusters);
      return clusters.get('scripted');
    },
    async [Symbol.asyncDispose]() {
      for (const one of opened) await one[Symbol.asyncDispose]();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** Answers with JSON. */
export function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

/** A `Status` as the API server writes it. */
export function sendStatus(
  response: ServerResponse,
  code: number,
  reason: string,
  message: string,
  details?: Manifest,
): void {
  sendJson(response, code, { kind: 'Status', apiVersion: 'v1', status: 'Failure', code, reason, message, details });
}

/** A pod object with what a projection needs. */
export function podObject(name: string, uid: string, resourceVersion: string, more: Manifest = {}): Manifest {
  return {
    kind: 'Pod',
    apiVersion: 'v1',
    metadata: { name, namespace: 'ns', uid, resourceVersion, creationTimestamp: '2026-01-01T00:00:00Z' },
    spec: { containers: [{ name: 'base', image: 'busybox' }] },
    status: { phase: 'Running', containerStatuses: [{ name: 'base', state: { running: {} } }] },
    ...more,
  };
}
