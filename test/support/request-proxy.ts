import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { connect } from 'node:tls';
import { z } from 'zod';
import { portOf } from './ports.ts';

/** A proxy to an API server that takes HTTP/1.1 in the clear, so that faults can be aimed at single requests. */
export interface RequestProxy extends AsyncDisposable {
  /** A kubeconfig for requests through the proxy. */
  readonly kubeconfig: string;
  /** Cuts all connections and refuses new ones until `heal`. */
  cut(): void;
  /** Cuts each connection that sends bytes matching `pattern` until `heal`, before they reach the server. */
  cutAt(pattern: RegExp): void;
  /** Keeps bytes that match `pattern`, and all that follow them on their connection, until `heal`. */
  holdAt(pattern: RegExp): void;
  /** Connections whose bytes are held. */
  readonly held: number;
  /** Connections that were cut by `cutAt`. */
  readonly cuts: number;
  /** All bytes pass again; held ones go to the server, even if the client is gone. */
  heal(): void;
}

const kubeconfigSchema = z.looseObject({
  clusters: z.array(z.looseObject({ cluster: z.looseObject({ server: z.string() }) })).length(1),
});

/**
 * Starts a proxy to the API server of a kubeconfig (JSON, on the loopback), and writes a kubeconfig beside it. Patterns are tried on each chunk that a client
 * sends: requests are small, and come in one.
 */
export async function requestProxy(path: string): Promise<RequestProxy> {
  const config = kubeconfigSchema.parse(JSON.parse(await readFile(path, 'utf8')));
  const { hostname, port } = new URL(config.clusters[0]?.cluster.server ?? '');
  const dial = (): Socket =>
    connect({ host: hostname, port: Number(port), rejectUnauthorized: false, ALPNProtocols: ['http/1.1'] });
  let refuses = false;
  let cutting: RegExp | undefined;
  let holding: RegExp | undefined;
  let cuts = 0;
  const sockets = new Set<Socket>();
  const held = new Map<Socket, Buffer[]>();
  const server = createServer((client) => {
    if (refuses) {
      client.resetAndDestroy();
      return;
    }
    const upstream = dial();
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
    }
    upstream.pipe(client);
    upstream.on('close', () => client.destroy());
    client.on('data', (chunk: Buffer) => {
      const text = chunk.toString('latin1');
      const kept = held.get(upstream);
      if (kept !== undefined) kept.push(chunk);
      else if (cutting?.test(text) === true) {
        cuts += 1;
        client.resetAndDestroy();
      } else if (holding?.test(text) === true) held.set(upstream, [chunk]);
      else upstream.write(chunk);
    });
    // The network still delivers what a client sent before it disconnected.
    client.on('close', () => {
      if (!held.has(upstream)) upstream.destroy();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${String(portOf(server))}`;
  const kubeconfig = `${path}.${String(portOf(server))}`;
  const clusters = config.clusters.map((one) => ({ ...one, cluster: { server: url } }));
  await writeFile(kubeconfig, JSON.stringify({ ...config, clusters }));
  return {
    kubeconfig,
    cut() {
      refuses = true;
      for (const socket of sockets) socket.destroy();
    },
    cutAt(pattern) {
      cutting = pattern;
    },
    holdAt(pattern) {
      holding = pattern;
    },
    get held() {
      return held.size;
    },
    get cuts() {
      return cuts;
    },
    heal() {
      refuses = false;
      cutting = undefined;
      holding = undefined;
      for (const [upstream, chunks] of held) for (const chunk of chunks) upstream.write(chunk);
      held.clear();
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
