/** HTTP to one API server: connection pools by kind of traffic, a deadline for every call, one retry after 401. */
import { setTimeout as delay } from 'node:timers/promises';
import { type Dispatcher, request, WebSocket } from 'undici';
import { KubernetesError, ReentryError } from '../errors.ts';
import type { Log } from '../ports/ambient.ts';
import { type Agents, openAgent, openAgents, type Traffic } from './agents.ts';
import type { Auth, Credentials } from './auth.ts';
import { type Attempted, brokenConnection, noCredentials, refusal } from './errors.ts';
import { Liveness } from './liveness.ts';
import type { Tuning } from './settings.ts';
import { capturingRefusals, type UpgradeRefusal } from './upgrade.ts';

/** Identifies reentry in the server's audit log and flow schemas. */
const USER_AGENT = 'reentry';
const MAX_ERROR_BYTES = 65_536;

/** One call. `count`: verb under which it is counted. */
export interface Call {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>;
  readonly body?: unknown;
  readonly contentType?: string;
  /** For messages: `create pod a/b`. */
  readonly what: string;
  readonly count: string;
  readonly signal?: AbortSignal | undefined;
  /** Changes nothing, although its method suggests it. */
  readonly readOnly?: boolean;
  /** Called before each request, once there are credentials. Where it rejects, nothing is sent, and the call rejects with its error. */
  readonly before?: (() => Promise<void>) | undefined;
}

/** HTTP client of one cluster. All failures are `KubernetesError`; an abort by the caller's own signal rejects with its reason. */
export class Http {
  readonly connection: string;
  readonly #base: string;
  readonly #proxyUrl: string | undefined;
  readonly #auth: Auth;
  readonly #tuning: Tuning;
  readonly #counts = new Map<string, number>();
  readonly #liveness: Liveness;
  #agents: { readonly version: string; readonly agents: Agents } | undefined;
  readonly #closed = new AbortController();

  constructor(
    connection: string,
    server: { readonly base: string; readonly proxyUrl?: string | undefined },
    auth: Auth,
    tuning: Tuning,
    log?: Log,
  ) {
    if (server.proxyUrl !== undefined && !/^https?:\/\//.test(server.proxyUrl)) {
      throw new ReentryError('CONFIG_INVALID', `connection "${connection}": proxy-url must be http or https`, {
        transient: false,
      });
    }
    this.connection = connection;
    this.#base = server.base.replace(/\/+$/, '');
    this.#proxyUrl = server.proxyUrl;
    this.#auth = auth;
    this.#tuning = tuning;
    const { silentMs } = tuning;
    this.#liveness = new Liveness({ connection, log, silentMs, probe: () => this.#probe() });
  }

  /** Aborted when the cluster is closed. */
  get closed(): AbortSignal {
    return this.#closed.signal;
  }

  /** For how long the API server has not answered, in milliseconds; 0: it answered last, or was not asked. */
  get unansweredMs(): number {
    return this.#liveness.unansweredMs;
  }

  /** Number of requests so far, by verb. */
  counts(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#counts);
  }

  /** The JSON of a successful reply. A GET whose connection broke is retried once. */
  async json(call: Call): Promise<unknown> {
    try {
      return await this.#jsonOnce(call);
    } catch (error) {
      // The server may have closed this idle connection just then; only a new connection shows whether it is reachable.
      const mayRetry = call.method === 'GET' && error instanceof KubernetesError && isBroken(error.reason);
      if (!mayRetry || call.signal?.aborted === true) throw error;
      return await this.#jsonOnce(call);
    }
  }

  async #jsonOnce(call: Call): Promise<unknown> {
    // Not AbortSignal.timeout: its timer would outlive each call by up to 30 s, at a thousand calls per second.
    const deadline = new AbortController();
    const timer = setTimeout(() => {
      deadline.abort(new DOMException('no reply within the deadline', 'TimeoutError'));
    }, this.#tuning.unaryMs);
    const signal = call.signal === undefined ? deadline.signal : AbortSignal.any([deadline.signal, call.signal]);
    try {
      const reply = await this.#send(call, 'unary', signal, this.#tuning.unaryMs);
      return await reply.body.json();
    } catch (error) {
      if (error instanceof ReentryError || call.signal?.aborted === true) throw error;
      throw brokenConnection(this.attempted(call), signal.aborted ? signal.reason : error);
    } finally {
      clearTimeout(timer);
    }
  }

  /** The body of a successful reply as a stream, open until `signal` aborts it. `idleMs` 0: no limit on silence. */
  async stream(
    call: Call,
    traffic: 'watch' | 'logs',
    signal: AbortSignal,
    idleMs = 0,
  ): Promise<Dispatcher.ResponseData['body']> {
    const reply = await this.#send(call, traffic, signal, idleMs);
    return reply.body;
  }

  /**
   * An open WebSocket with one of `protocols`. The caller closes it; `signal` ends the wait for it. A refusal carries the server's reply,
   * which WebSocket itself hides.
   */
  async webSocket(call: Call, protocols: readonly string[], signal: AbortSignal): Promise<WebSocket> {
    const attempted = this.attempted(call);
    for (let attempt = 1; ; attempt += 1) {
      const credentials = await this.#credentials(call, attempted, signal);
      const refused: UpgradeRefusal = {};
      const dispatcher = capturingRefusals(this.#agentsFor(credentials).exec, credentials.headers, refused);
      this.#counted(call.count);
      const socket = new WebSocket(this.#url(call).replace(/^http/, 'ws'), {
        protocols: [...protocols],
        dispatcher,
        headers: { 'user-agent': USER_AGENT },
      });
      socket.binaryType = 'arraybuffer';
      const replied = this.#liveness.asked();
      const cause = await opened(socket, signal);
      replied(
        cause === undefined || refused.status !== undefined ? 'answered' : signal.aborted ? 'abandoned' : 'failed',
      );
      if (cause === undefined) return socket;
      if (refused.status === undefined)
        throw brokenConnection(attempted, signal.aborted ? signal.reason : (refused.error ?? cause));
      const answer = { status: refused.status, body: refused.body ?? '', retryAfter: refused.retryAfter };
      const error = refusal(attempted, answer, Date.now());
      if (error.fault !== 'unauthorized' || attempt > 1) throw error;
      this.#auth.drop(credentials);
    }
  }

  /** How error messages name this call. */
  attempted(call: Call): Attempted {
    return { what: call.what, connection: this.connection, writes: call.method !== 'GET' && call.readOnly !== true };
  }

  async #send(
    call: Call,
    traffic: Traffic,
    signal: AbortSignal,
    bodyTimeoutMs: number,
  ): Promise<Dispatcher.ResponseData> {
    const attempted = this.attempted(call);
    for (let attempt = 1; ; attempt += 1) {
      const credentials = await this.#credentials(call, attempted, signal);
      await call.before?.();
      const replied = this.#liveness.asked();
      let reply: Dispatcher.ResponseData;
      try {
        this.#counted(call.count);
        reply = await request(this.#url(call), {
          dispatcher: this.#agentsFor(credentials)[traffic],
          method: call.method,
          headers: {
            ...credentials.headers,
            accept: 'application/json',
            'user-agent': USER_AGENT,
            ...(call.body === undefined ? {} : { 'content-type': call.contentType ?? 'application/json' }),
          },
          body: call.body === undefined ? null : JSON.stringify(call.body),
          signal,
          bodyTimeout: bodyTimeoutMs,
          // Logs are read at the reader's pace; what is buffered here takes memory for each stream.
          ...(traffic === 'logs' ? { highWaterMark: 16_384 } : {}),
        });
        replied('answered');
      } catch (error) {
        const isAbandoned = call.signal?.aborted === true;
        replied(isAbandoned ? 'abandoned' : 'failed');
        if (isAbandoned) throw error;
        throw brokenConnection(attempted, signal.aborted ? signal.reason : error);
      }
      if (reply.statusCode >= 200 && reply.statusCode < 300) return reply;
      const answer = {
        status: reply.statusCode,
        body: await errorText(reply),
        retryAfter: headerText(reply.headers['retry-after']),
      };
      const error = refusal(attempted, answer, Date.now());
      if (error.fault !== 'unauthorized' || attempt > 1) throw error;
      // The token may have been rotated: retry once with what the file or the plugin returns now.
      this.#auth.drop(credentials);
    }
  }

  #counted(verb: string): void {
    this.#counts.set(verb, (this.#counts.get(verb) ?? 0) + 1);
  }

  #url(call: Call): string {
    const query = new URLSearchParams();
    for (const [key, value] of Object.entries(call.query ?? {})) {
      if (value === undefined) continue;
      for (const one of isList(value) ? value : [String(value)]) query.append(key, one);
    }
    const text = query.toString();
    return `${this.#base}${call.path}${text === '' ? '' : `?${text}`}`;
  }

  /** A renewal is shared by all callers and can hang (a plugin, a file on a dead disk); each waits no longer than its own deadline. */
  async #credentials(call: Call, attempted: Attempted, signal: AbortSignal): Promise<Credentials> {
    const { present } = this.#auth;
    if (present !== undefined) return present;
    const late = new AbortController();
    const timer = setTimeout(() => {
      late.abort(new DOMException(`no credentials within ${this.#tuning.unaryMs} ms`, 'TimeoutError'));
    }, this.#tuning.unaryMs);
    const enough = AbortSignal.any([signal, this.closed, late.signal]);
    try {
      return await unless(enough, this.#auth.credentials());
    } catch (error) {
      if (call.signal?.aborted === true) throw call.signal.reason;
      throw noCredentials(attempted, error, enough.aborted);
    } finally {
      clearTimeout(timer);
    }
  }

  #agentsFor(credentials: Credentials): Agents {
    const { tls } = credentials;
    if (this.#closed.signal.aborted) throw new Error('the cluster connection has been closed');
    if (this.#agents?.version === tls.version) return this.#agents.agents;
    const before = this.#agents?.agents;
    const agents = openAgents(credentials, {
      proxyUrl: this.#proxyUrl,
      pingMs: this.#tuning.pingMs,
      onConnected: this.#liveness.connected,
    });
    this.#agents = { version: tls.version, agents };
    // Requests in progress finish on the old connections; new ones do not use them.
    if (before !== undefined) void Promise.allSettled(Object.values(before).map((agent) => agent.close()));
    return agents;
  }

  /** One request over a new connection. Resolves when it is answered, whatever the status. */
  async #probe(): Promise<void> {
    const { probeMs, pingMs } = this.#tuning;
    const signal = AbortSignal.any([this.closed, AbortSignal.timeout(probeMs)]);
    const { headers, tls } = await unless(signal, this.#auth.credentials());
    const agent = openAgent(tls, { proxyUrl: this.#proxyUrl, pingMs, onConnected: () => undefined }, {});
    this.#counted('probe');
    try {
      const reply = await request(`${this.#base}/version`, {
        ...{ dispatcher: agent, signal },
        headers: { ...headers, 'user-agent': USER_AGENT },
      });
      await reply.body.dump();
    } finally {
      // Not awaited: it waits for a connection that is still being made.
      void agent.destroy();
    }
  }

  /** Closes all connections; requests in progress are rejected. */
  async close(): Promise<void> {
    this.#closed.abort();
    this.#liveness.close();
    this.#auth.close();
    const agents = this.#agents?.agents;
    if (agents === undefined) return;
    await Promise.allSettled(Object.values(agents).map((agent) => agent.destroy()));
  }
}

function isList(value: string | number | boolean | readonly string[]): value is readonly string[] {
  return Array.isArray(value);
}

/** `promise`, or a rejection with the reason of `signal` if that comes first. */
async function unless<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  const end = Promise.withResolvers<never>();
  const aborted = (): void => {
    end.reject(signal.reason);
  };
  signal.addEventListener('abort', aborted, { once: true });
  if (signal.aborted) aborted();
  try {
    return await Promise.race([promise, end.promise]);
  } finally {
    signal.removeEventListener('abort', aborted);
  }
}

/** Whether an established connection broke (not: could not be made, or was too slow). */
function isBroken(code: string): boolean {
  return ['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE', 'UND_ERR_INFO'].includes(code) || code.startsWith('ERR_HTTP2');
}

/** Resolves to `undefined` when the socket is open, else to what prevented it. */
async function opened(socket: WebSocket, signal: AbortSignal): Promise<unknown> {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  const aborted = (): void => {
    resolve(signal.reason ?? new Error('aborted'));
  };
  socket.addEventListener('open', () => {
    resolve(undefined);
  });
  socket.addEventListener('error', ({ error, message }) => {
    resolve(
      error instanceof Error && error.message !== ''
        ? error
        : new Error(message === '' ? 'the WebSocket could not be opened' : message),
    );
  });
  signal.addEventListener('abort', aborted);
  if (signal.aborted) aborted();
  const cause = await promise;
  // A signal combined of others lives as long as it has a listener, which keeps socket and reply in memory.
  signal.removeEventListener('abort', aborted);
  if (cause !== undefined) socket.close();
  return cause;
}

function headerText(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}

/** The body of a refusal, at most 64 KiB. */
async function errorText(reply: Dispatcher.ResponseData): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const part of chunksOf(reply.body)) {
      chunks.push(part);
      bytes += part.length;
      if (bytes > MAX_ERROR_BYTES) break;
    }
  } catch {
    // The status is enough; a body that breaks off only loses text.
  }
  return Buffer.concat(chunks).subarray(0, MAX_ERROR_BYTES).toString('utf8');
}

/** The chunks of a body. (The stream library types them `any`.) */
export async function* chunksOf(body: AsyncIterable<unknown>): AsyncGenerator<Buffer, void, undefined> {
  for await (const chunk of body)
    if (chunk instanceof Uint8Array) yield Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
}

/** Waits for `ms` or until `signal` aborts. Never rejects. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch(() => undefined);
}
