import { mkdtemp, rm } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { findNatsServer, startNatsServer } from '../../src/local/nats-server.ts';
import type { NatsServer, NatsServerOptions } from '../../src/local/nats-server.ts';
import { openBroker } from '../../src/nats/broker.ts';
import { openClientBroker } from '../../src/nats/client-broker.ts';
import { connectNats } from '../../src/nats/connection.ts';
import { layoutFrom } from '../../src/nats/link.ts';
import type { NatsRole } from '../../src/nats/connection.ts';
import type { BrokerOptions } from '../../src/nats/link.ts';
import { setup } from '../../src/nats/setup.ts';
import type { Broker } from '../../src/ports/broker.ts';
import type { ClientBroker } from '../../src/ports/client.ts';
import type { StreamSettings } from '../../src/wire/streams.ts';
import { DEFAULTS } from './defaults.ts';

/** Path of the nats-server program, found as `reentry dev` finds it; downloaded into the user's cache once. */
export async function natsServerProgram(): Promise<string> {
  const found = await findNatsServer({
    explicitPath: process.env['REENTRY_NATS_SERVER'],
    path: process.env['PATH'],
    cacheDirectory: join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'reentry'),
    progress: (message) => {
      process.stderr.write(`${message}\n`);
    },
  });
  return found.program;
}

/** A server that a test can kill and start again on the same port, with the same streams. */
export interface TestServer extends AsyncDisposable {
  readonly url: string;
  /** The process that runs now. */
  current(): NatsServer;
  /** `kill -9`, then a new process on the same port and store. */
  crash(): Promise<void>;
  kill(): Promise<void>;
  start(): Promise<void>;
}

/** A nats-server with its own directory; both are removed when it is disposed. */
export async function aNatsServer(options: Partial<NatsServerOptions> = {}): Promise<TestServer> {
  const directory = await mkdtemp(join(tmpdir(), 'reentry-nats-'));
  const program = await natsServerProgram();
  let server = await startNatsServer({ program, directory, ...options });
  const { url, port } = server;
  const start = async () => {
    server = await startNatsServer({ program, directory, ...options, port });
  };
  return {
    url,
    current: () => server,
    kill: () => server.kill(),
    start,
    async crash() {
      await server.kill();
      await start();
    },
    async [Symbol.asyncDispose]() {
      await server.kill();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** One server for the tests of a file. */
export function sharedNatsServer(options: Partial<NatsServerOptions> = {}): {
  readonly url: () => string;
  readonly server: () => TestServer;
} {
  let server: TestServer | undefined;
  beforeAll(async () => {
    server = await aNatsServer(options);
  });
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
  });
  const running = () => {
    if (server === undefined) throw new Error('the server starts in beforeAll');
    return server;
  };
  return { url: () => running().url, server: running };
}

let installations = 0;

/** An installation on a shared server: subjects, streams and buckets under its own prefix. */
export interface Installation extends AsyncDisposable {
  readonly options: Pick<BrokerOptions, 'servers' | 'root' | 'assetPrefix'>;
  broker(role?: Exclude<NatsRole, 'client' | 'setup'>, name?: string): Promise<Broker>;
  client(tenant?: string): Promise<ClientBroker>;
}

/** Sets up a new installation. Its connections are closed when it is disposed. */
export async function anInstallation(servers: string, settings: Partial<StreamSettings> = {}): Promise<Installation> {
  installations += 1;
  const id = `t${process.pid}x${installations}`;
  const options = { servers, root: `${id}.v1`, assetPrefix: `${id}_` };
  await setUp(options, settings);
  const opened: AsyncDisposable[] = [];
  return {
    options,
    async broker(role = 'worker', name = `${role}-${opened.length}`) {
      const broker = await openBroker({ ...options, role, name });
      opened.push(broker);
      return broker;
    },
    async client(tenant) {
      const client = await openClientBroker({ ...options, role: 'client', name: 'client', tenant });
      opened.push(client);
      return client;
    },
    async [Symbol.asyncDispose]() {
      for (const one of opened.reverse()) await one[Symbol.asyncDispose]();
    },
  };
}

/** Runs `setup` once, on its own connection. Small limits, so that many installations fit on one server. */
export async function setUp(
  options: Pick<BrokerOptions, 'servers' | 'root' | 'assetPrefix'>,
  settings: Partial<StreamSettings> = {},
) {
  await using connection = await connectNats({ ...options, role: 'setup', name: 'setup' });
  return await setup(connection.nc, layoutFrom(options), {
    ...DEFAULTS.streams,
    storageBytes: 512 * 1024 ** 2,
    ...settings,
  });
}

/** A broker of a new installation. */
export async function aBroker(
  servers: string,
  settings: Partial<StreamSettings> = {},
): Promise<{ readonly broker: Broker; readonly installation: Installation }> {
  const installation = await anInstallation(servers, settings);
  return { broker: await installation.broker(), installation };
}
