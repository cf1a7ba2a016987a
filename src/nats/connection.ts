/** A connection with settings that survive broker restarts and rotated credentials. */
import { readFileSync } from 'node:fs';
import {
  DebugEvents,
  Events,
  connect,
  credsAuthenticator,
  tokenAuthenticator,
  usernamePasswordAuthenticator,
} from 'nats';
import type { Authenticator, ConnectionOptions, NatsConnection } from 'nats';
import { BehaviorSubject } from 'rxjs';
import type { Observable } from 'rxjs';
import { backOffMs } from '../core/back-off.ts';
import { messageOf, ReentryError } from '../errors.ts';
import type { Log } from '../ports/ambient.ts';
import { enc } from '../wire/tokens.ts';
import { faultOf } from './errors.ts';
import { refuseUnsafeSubjects } from './subject-guard.ts';

/** Pauses between tries to connect for the first time. */
const FIRST_CONNECT_PAUSE_MS = 250;
const MAX_CONNECT_PAUSE_MS = 5_000;
/** Longest wait for the server when a connection is closed, in milliseconds. */
const DRAIN_WITHIN_MS = 2_000;

/** What a connection is for. Decides its inbox prefix, and so its permissions. */
export type NatsRole = 'worker' | 'triggerer' | 'executor' | 'client' | 'setup';

/** Where to connect, and as which user. */
export interface ConnectOptions {
  /** `nats://[user:password@]host:port` or `nats://token@host`, several as a list or separated by commas. */
  readonly servers: string | readonly string[];
  /** A `.creds` file. Read at each reconnect, so that it may be rotated. */
  readonly credsFile?: string | undefined;
  readonly user?: string | undefined;
  readonly pass?: string | undefined;
  readonly token?: string | undefined;
  /** Files with the password of `user`, or the token. Read at each reconnect, so that they may be rotated. */
  readonly passFile?: string | undefined;
  readonly tokenFile?: string | undefined;
  /** Given, even empty: a server without TLS is refused. `tls://` in a URL means the same. */
  readonly tls?:
    | {
        readonly caFile?: string | undefined;
        readonly certFile?: string | undefined;
        readonly keyFile?: string | undefined;
        readonly handshakeFirst?: boolean | undefined;
      }
    | undefined;
  /** Shown in the server's connection list; unique per process. */
  readonly name: string;
  readonly role: NatsRole;
  /** The client's tenant, which its inbox prefix names: the generated permissions require it. */
  readonly tenant?: string | undefined;
  /** `true`: wait for a server that does not answer yet (processes). `false`: fail at once (command line). Default false. */
  readonly waitForServer?: boolean | undefined;
  /** Ends the wait. */
  readonly signal?: AbortSignal | undefined;
  readonly log?: Log | undefined;
}

/** An open connection and whether it is up. */
export interface Connection extends AsyncDisposable {
  readonly nc: NatsConnection;
  /** True while connected; the present state first. Completes when the connection is closed. */
  readonly connected$: Observable<boolean>;
  isConnected(): boolean;
}

/** Addresses, and the user and password in the URLs, which the library ignores. */
function parsedServers(servers: ConnectOptions['servers']) {
  const texts = (typeof servers === 'string' ? servers.split(',') : [...servers])
    .map((text) => text.trim())
    .filter(Boolean);
  if (texts.length === 0)
    throw new ReentryError(
      'CONFIG_INVALID',
      'no NATS server given; set REENTRY_NATS_URL, for example nats://127.0.0.1:4222',
      {
        transient: false,
      },
    );
  const urls = texts.map((text) => {
    const url = URL.parse(text.includes('://') ? text : `nats://${text}`);
    if (url === null || !['nats:', 'tls:'].includes(url.protocol) || url.hostname === '')
      throw new ReentryError(
        'CONFIG_INVALID',
        `not a NATS URL: ${redacted(text)}; expected nats://[user:password@]host:port`,
        {
          transient: false,
        },
      );
    return url;
  });
  const withUser = urls.find(({ username }) => username !== '');
  return {
    servers: urls.map(({ host, port }) => (port === '' ? `${host}:4222` : host)),
    tls: urls.some(({ protocol }) => protocol === 'tls:'),
    user: withUser === undefined ? undefined : percentDecoded(withUser.username),
    pass: withUser === undefined || withUser.password === '' ? undefined : percentDecoded(withUser.password),
  };
}

/** Decodes `%HH`. Any other `%` is itself, since passwords are often pasted unencoded. */
function percentDecoded(text: string): string {
  return text.replace(/(?:%[0-9A-Fa-f]{2})+/g, (encoded) => {
    try {
      return decodeURIComponent(encoded);
    } catch {
      return encoded;
    }
  });
}

/** Without what may be a password: everything before the last `@`. */
const redacted = (text: string) => text.replace(/^((?:[a-z]+:\/\/)?).*@/is, '$1…@');

function readable(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    const message = messageOf(cause);
    throw new ReentryError('CONFIG_INVALID', `cannot read a credentials file: ${message}`, { transient: false, cause });
  }
}

/** Credentials in files. Called at each reconnect, so that a rotated file is used; while a file is being replaced its last content is used. */
function fromFiles(options: ConnectOptions, user: string | undefined): Authenticator | undefined {
  const { credsFile, passFile, tokenFile } = options;
  const file = credsFile ?? passFile ?? tokenFile;
  if (file === undefined) return undefined;
  let last = readable(file);
  return (nonce?: string) => {
    try {
      const content = readFileSync(file);
      if (content.length > 0) last = content;
    } catch {
      // Absent while it is replaced: the server decides whether the last content is still valid.
    }
    if (credsFile !== undefined) return credsAuthenticator(last)(nonce);
    const secret = last.toString('utf8').trim();
    return passFile === undefined
      ? tokenAuthenticator(secret)(nonce)
      : usernamePasswordAuthenticator(user ?? '', secret)(nonce);
  };
}

/** Prefix of a role's reply subjects: `_INBOX_<role>`, for a client of one tenant `_INBOX_client_<tenant>`. */
export function inboxPrefixOf(role: NatsRole, tenant?: string): string {
  if (role !== 'client') return `_INBOX_${role}`;
  return tenant === undefined ? '_INBOX' : `_INBOX_client_${enc(tenant)}`;
}

function settings(options: ConnectOptions): ConnectionOptions {
  const from = parsedServers(options.servers);
  const user = options.user ?? from.user;
  const pass = options.pass ?? from.pass;
  // `nats://token@host`: a user without a password is a token, as in all other NATS clients.
  const token = options.token ?? (options.user === undefined && pass === undefined ? from.user : undefined);
  const tls = options.tls ?? (from.tls ? {} : undefined);
  const authenticator = fromFiles(options, user);
  return {
    servers: from.servers,
    name: options.name,
    inboxPrefix: inboxPrefixOf(options.role, options.tenant),
    ...(authenticator !== undefined
      ? {}
      : token !== undefined
        ? { token }
        : user !== undefined
          ? { user, ...(pass === undefined ? {} : { pass }) }
          : {}),
    ...(authenticator === undefined ? {} : { authenticator }),
    // With `tls`, even empty, a server that offers none is refused.
    ...(tls === undefined
      ? {}
      : { tls: Object.fromEntries(Object.entries(tls).filter(([, value]) => value !== undefined)) }),
    maxReconnectAttempts: -1, // the default of 10 closes the connection for good
    reconnectTimeWait: 250,
    reconnectJitter: 250,
    pingInterval: 1_000, // a silent server is left within 4 s: a cluster elects other leaders 4 to 9 s after it stops
    maxPingOut: 3,
    timeout: 2_000, // of one connection: after a loss the library tries the same server first, which may stand still
    waitOnFirstConnect: false, // the loop in connectNats logs why it waits
    ignoreAuthErrorAbort: true, // two auth errors in a row may be a rotation in progress
    noAsyncTraces: true,
  };
}

/** Why connecting failed, and what to do about it. */
function connectError(options: ConnectOptions, error: unknown): ReentryError {
  if (error instanceof ReentryError) return error;
  const { servers, tls } = parsedServers(options.servers);
  const where = servers.join(', ');
  const message = messageOf(error);
  if (faultOf(error) === 'unauthorized')
    return new ReentryError(
      'UNAUTHORIZED',
      `the NATS server at ${where} refused the credentials (${message}); check REENTRY_NATS_CREDS, REENTRY_NATS_USER with REENTRY_NATS_PASS_FILE, or user and password in REENTRY_NATS_URL`,
      { transient: false, cause: error },
    );
  if (typeof error === 'object' && error !== null && 'code' in error && error.code === 'ENOENT')
    return new ReentryError('CONFIG_INVALID', `cannot read a credentials or certificate file: ${message}`, {
      transient: false,
      cause: error,
    });
  const hint =
    options.tls === undefined && !tls
      ? `is it running${where === '127.0.0.1:4222' ? ' (`reentry dev` starts one for its directory)' : ''}, and is REENTRY_NATS_URL right?`
      : 'is it running with TLS, does its certificate fit the CA file, and does it ask for a client certificate?';
  return new ReentryError('UNREACHABLE', `no NATS server answers at ${where}: ${message}; ${hint}`, {
    transient: true,
    cause: error,
  });
}

/**
 * Connects, and then reconnects for ever. With `waitForServer` it also waits for the first connection, and logs why.
 * @throws ReentryError UNREACHABLE, UNAUTHORIZED or CONFIG_INVALID
 */
export async function connectNats(options: ConnectOptions): Promise<Connection> {
  const library = settings(options);
  for (let failures = 1; ; failures += 1) {
    try {
      return opened(await connect(library), options);
    } catch (error) {
      const failure = connectError(options, error);
      if (options.waitForServer !== true || options.signal?.aborted === true || failure.code === 'CONFIG_INVALID')
        throw failure;
      const pauseMs = backOffMs(failures, FIRST_CONNECT_PAUSE_MS, MAX_CONNECT_PAUSE_MS);
      options.log?.warn({ code: failure.code }, `${failure.message}; retrying in ${pauseMs} ms`);
      await sleep(pauseMs, options.signal);
    }
  }
}

/** Resolves after `ms`, or when `signal` aborts. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done);
    if (signal?.aborted === true) done();
  });
}

/** Data of a status event: a text, or lists of servers. */
const statusText = (data: unknown) => (typeof data === 'string' ? data : JSON.stringify(data));

function opened(nc: NatsConnection, { log }: ConnectOptions): Connection {
  refuseUnsafeSubjects(nc);
  const up$ = new BehaviorSubject(true);
  let closing = false;
  const follow = async () => {
    for await (const { type, data } of nc.status()) {
      switch (type) {
        case Events.Disconnect:
          up$.next(false);
          log?.warn({ server: statusText(data) }, 'connection to NATS lost; reconnecting');
          break;
        case Events.Reconnect:
          up$.next(true);
          log?.info({ server: statusText(data) }, 'reconnected to NATS');
          break;
        case Events.Error:
          log?.warn({ error: statusText(data) }, 'NATS reported an error');
          break;
        case Events.LDM:
        case Events.Update:
        case DebugEvents.Reconnecting:
        case DebugEvents.PingTimer:
        case DebugEvents.StaleConnection:
        case DebugEvents.ClientInitiatedReconnect:
          break; // a disconnect follows where it matters
      }
    }
  };
  void follow();
  void nc.closed().then((error) => {
    if (!closing) log?.error({ error: error?.message }, 'connection to NATS was closed');
    up$.next(false);
    up$.complete();
  });
  return {
    nc,
    connected$: up$.asObservable(),
    isConnected: () => up$.value,
    async [Symbol.asyncDispose]() {
      closing = true;
      if (nc.isClosed()) return;
      // Draining waits for the server; while it is away there is nothing to wait for.
      if (up$.value) {
        // The timer must end with the draining, or it would keep the process alive.
        const drained = new AbortController();
        await Promise.race([nc.drain().catch(() => undefined), sleep(DRAIN_WITHIN_MS, drained.signal)]);
        drained.abort();
      }
      if (!nc.isClosed()) await nc.close();
    },
  };
}
