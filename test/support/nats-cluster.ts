import { aNatsServer, type TestServer } from './nats-server.ts';
import { freePorts } from './ports.ts';

/** A cluster of nats-servers with replicated streams. */
export interface TestNatsCluster extends AsyncDisposable {
  /** All servers' addresses, separated by commas. */
  readonly url: string;
  readonly servers: readonly TestServer[];
}

/** A cluster of `size` servers on loopback; each can be killed and started again on its port. */
export async function aNatsCluster(size = 3): Promise<TestNatsCluster> {
  const routes = await freePorts(size);
  const urls = routes.map((port) => `nats://127.0.0.1:${String(port)}`);
  const servers = await Promise.all(
    routes.map((port, n) =>
      aNatsServer({
        config: [
          `server_name: "n${String(n)}"`,
          `cluster { name: "test", listen: "127.0.0.1:${String(port)}", routes: ${JSON.stringify(urls)} }`,
        ].join('\n'),
      }),
    ),
  );
  return {
    url: servers.map(({ url }) => url).join(','),
    servers,
    async [Symbol.asyncDispose]() {
      await Promise.all(servers.map((server) => server[Symbol.asyncDispose]()));
    },
  };
}
