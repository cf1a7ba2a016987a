import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type WebSocket, WebSocketServer } from 'ws';
import { openClusters } from '../../src/kubernetes/clusters.ts';
import type { Clusters } from '../../src/ports/cluster.ts';

/** A pod of the scripted server. */
export const POD = { connection: 'scripted', namespace: 'ns', name: 'pod', uid: 'uid' };
/** The message on the status channel for exit code 0. */
export const SUCCESS = JSON.stringify({ metadata: {}, status: 'Success' });
/** A message on a channel. */
export const frame = (channel: number, text: string): Buffer => Buffer.concat([Buffer.of(channel), Buffer.from(text)]);

/** An exec server scripted by the test, for what no real one does on demand. */
export async function scriptedExec(
  speak: (client: WebSocket) => void,
): Promise<{ readonly clusters: Clusters; readonly asked: string[] } & AsyncDisposable> {
  const directory = await mkdtemp(join(tmpdir(), 'reentry-exec-'));
  const asked: string[] = [];
  const http = createServer();
  const server = new WebSocketServer({ server: http, handleProtocols: ([first]) => first ?? false });
  server.on('connection', (client, request) => {
    asked.push(`${request.headers.authorization ?? ''} ${client.protocol} ${request.url ?? ''}`);
    speak(client);
  });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  const address = http.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const kubeconfig = join(directory, 'kubeconfig');
  const config = {
    'current-context': 'c',
    clusters: [{ name: 'c', cluster: { server: `http://127.0.0.1:${port}/under/a/path` } }],
    users: [{ name: 'u', user: { token: 'secret' } }],
    contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
  };
  await writeFile(kubeconfig, JSON.stringify(config));
  const clusters = openClusters({ connections: { scripted: { kubeconfig } } });
  return {
    clusters,
    asked,
    async [Symbol.asyncDispose]() {
      await clusters[Symbol.asyncDispose]();
      server.close();
      http.closeAllConnections();
      await new Promise((resolve) => http.close(resolve));
      await rm(directory, { recursive: true, force: true });
    },
  };
}
