/** Connection pools to one API server, one for each kind of traffic. */
import type { Socket } from 'node:net';
import { Agent, buildConnector, type Dispatcher, Pool, ProxyAgent } from 'undici';
import type { Credentials, TlsMaterial } from './auth.ts';

/** Calls, watches, logs and commands use separate connections, so that no stream blocks a call. */
export type Traffic = 'unary' | 'watch' | 'logs' | 'exec';

/** One pool for each kind of traffic. */
export type Agents = Readonly<Record<Traffic, Dispatcher>>;

/** How pools connect. */
export interface ConnectOptions {
  /** URL of an HTTP proxy; undefined: none. */
  readonly proxyUrl: string | undefined;
  /** Milliseconds between two PING frames on each HTTP/2 connection. */
  readonly pingMs: number;
  /** Called with each new connection. */
  readonly onConnected: (socket: Socket) => void;
}

interface Limits {
  readonly allowH2?: false;
  readonly connections?: number;
}

const CONNECT_MS = 5_000;
const HEADERS_MS = 30_000;
const HTTP1_ONLY = { allowH2: false } as const;

/** Opens the pools for these credentials. They connect when they are used. */
export function openAgents({ tls, headers }: Credentials, options: ConnectOptions): Agents {
  // undici's HTTP/2 joins several headers of one name into one, which the server would read as one group. The impersonated user never
  // changes.
  const protocols = Object.values(headers).some((value) => Array.isArray(value)) ? HTTP1_ONLY : {};
  return {
    unary: openAgent(tls, options, { ...protocols, connections: 8 }),
    watch: openAgent(tls, options, protocols),
    logs: openAgent(tls, options, protocols),
    // API servers do not accept WebSocket over HTTP/2.
    exec: openAgent(tls, options, HTTP1_ONLY),
  };
}

/** Opens one pool. */
export function openAgent(tls: TlsMaterial, options: ConnectOptions, limits: Limits): Dispatcher {
  const { proxyUrl, pingMs, onConnected } = options;
  const { ca, cert, key, servername, rejectUnauthorized } = tls;
  const secure = {
    ...(limits.allowH2 === undefined ? {} : HTTP1_ONLY),
    rejectUnauthorized,
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(servername === undefined ? {} : { servername }),
    timeout: CONNECT_MS,
  };
  const common = { ...limits, bodyTimeout: 0, headersTimeout: HEADERS_MS, h2Options: { pingInterval: pingMs } };
  if (proxyUrl === undefined) {
    const connect = buildConnector({ ...secure, keepAlive: true, keepAliveInitialDelay: 15_000 });
    return new Agent({ ...common, connect: reporting(connect, onConnected) });
  }
  return new ProxyAgent({
    ...common,
    uri: proxyUrl,
    requestTls: secure,
    // The tunnel's own `connect` is known only here.
    factory: (origin, made: Pool.Options) =>
      new Pool(origin, {
        ...made,
        ...(typeof made.connect === 'function' ? { connect: reporting(made.connect, onConnected) } : {}),
      }),
  });
}

/** `connect`, which also calls `onConnected` with each connection. */
function reporting(connect: buildConnector.connector, onConnected: (socket: Socket) => void): buildConnector.connector {
  return (options, callback) => {
    connect(options, (...result) => {
      if (result[1] !== null) onConnected(result[1]);
      callback(...result);
    });
  };
}
