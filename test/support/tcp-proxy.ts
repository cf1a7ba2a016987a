import { readFile, writeFile } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { z } from 'zod';

/** A TCP proxy on 127.0.0.1 with network faults. */
export interface TcpProxy extends AsyncDisposable {
  readonly port: number;
  /** Connections accepted so far. */
  accepted(): number;
  /** Connections that are open now. */
  open(): number;
  /** All present connections stay open and transfer nothing; new ones work. As after a load balancer dropped its flows. */
  silence(): void;
  /** No connection transfers anything until `release`; then all continue where they stopped. */
  hold(): void;
  release(): void;
  /** All present connections are reset; new ones work. */
  reset(): void;
}

/** Starts a proxy to a port of 127.0.0.1. */
export async function startTcpProxy(targetPort: number): Promise<TcpProxy> {
  const pairs = new Set<Pair>();
  let accepted = 0;
  let isHolding = false;
  const server = createServer((near) => {
    accepted += 1;
    const pair = new Pair(near, connect(targetPort, '127.0.0.1'));
    pairs.add(pair);
    pair.onClosed(() => pairs.delete(pair));
    if (isHolding) pair.pause();
  });
  const port = await new Promise<number>((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : 0);
    });
  });
  return {
    port,
    accepted: () => accepted,
    open: () => pairs.size,
    silence() {
      for (const pair of pairs) pair.silence();
    },
    hold() {
      isHolding = true;
      for (const pair of pairs) pair.pause();
    },
    release() {
      isHolding = false;
      for (const pair of pairs) pair.resume();
    },
    reset() {
      for (const pair of pairs) pair.reset();
    },
    async [Symbol.asyncDispose]() {
      for (const pair of pairs) pair.reset();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** One connection through the proxy. */
class Pair {
  readonly #near: Socket;
  readonly #far: Socket;
  #isSilent = false;

  constructor(near: Socket, far: Socket) {
    this.#near = near;
    this.#far = far;
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('data', (chunk: Buffer) => {
        if (!this.#isSilent) to.write(chunk);
      });
      // Of a silent connection the other side must not even see the end.
      from.on('end', () => {
        if (!this.#isSilent) to.end();
      });
      from.on('error', () => {
        if (!this.#isSilent) to.destroy();
      });
    }
  }

  onClosed(listener: () => void): void {
    this.#near.once('close', listener);
  }

  silence(): void {
    this.#isSilent = true;
  }

  pause(): void {
    this.#near.pause();
    this.#far.pause();
  }

  resume(): void {
    this.#near.resume();
    this.#far.resume();
  }

  reset(): void {
    this.#near.resetAndDestroy();
    this.#far.resetAndDestroy();
  }
}

const kubeconfigSchema = z.looseObject({
  clusters: z.array(z.looseObject({ cluster: z.looseObject({ server: z.string() }) })).length(1),
});

/** Starts a proxy to the API server of a kubeconfig, and writes a kubeconfig for it to `path`. */
export async function startApiProxy(kubeconfig: string, path: string): Promise<TcpProxy> {
  const config = kubeconfigSchema.parse(JSON.parse(await readFile(kubeconfig, 'utf8')));
  const [entry] = config.clusters;
  if (entry === undefined) throw new Error('a kubeconfig of one cluster has it');
  const server = new URL(entry.cluster.server);
  const proxy = await startTcpProxy(Number(server.port));
  server.port = String(proxy.port);
  await writeFile(
    path,
    JSON.stringify({ ...config, clusters: [{ ...entry, cluster: { ...entry.cluster, server: server.origin } }] }),
  );
  return proxy;
}
