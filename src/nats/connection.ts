/** A connection with settings that survive broker restarts. @see spec nats-notes §2.1, §2.2 for the measurements */
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
import { ReentryError } from '../errors.ts';
import type { Log } from '../ports/ambient.ts';
import { enc } from '../wire/tokens.ts';
import { faultOf } from './errors.ts';
import { refuseUnsafeSubjects } from './subject-guard.ts';

/** Longest pause between two tries to connect for the first time. */
const FIRST_CONNECT_PAUSE_MS = 5_000;
/** How long a connection that is closed waits for the server's last word, in milliseconds. */
const DRAIN_WITHIN_MS = 2_000;

/** What a connection is for: decides the inbox and, with the server's permissions, what it may do. */
export type NatsRole = 'worker' | 'triggerer' | 'executor' | 'client' | 'setup';

/** How to reach the broker and as whom. */
export interface ConnectOptions {
  /** One or more `nats://host:port`, comma-separated or as a list; user, password or token may stand in the URL. */
  readonly servers: string | readonly string[];
  /** A `.creds` file; read again at each reconnect, so rotation works. */
  readonly credsFile?: string | undefined;
  readonly user?: string | undefined;
  readonly pass?: string | undefined;
  readonly token?: string | undefined;
  /** Files that hold the password of `user`, or the token; read again at each reconnect, so rotation works. */
  readonly passFile?: string | undefined;
  readonly tokenFile?: string | undefined;
  /** Given (even empty): a server without TLS is refused. `tls://` in a URL means the same. */
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
  /** The client's tenant: its inbox is its own, as the generated permissions want. */
  readonly tenant?: string | undefined;
  /** Wait for a server that is not there yet (processes), or fail at once with what is wrong (command line). Default false. */
  readonly waitForServer?: boolean | undefined;
  /** Gives up waiting. */
  readonly signal?: AbortSignal | undefined;
  readonly log?: Log | undefined;
}

/** An open connection and whether it is up. */
export interface Connection extends AsyncDisposable {
  readonly nc: NatsConnection;
  /** The present state first; never completes before the connection is closed. */
  readonly connected$: Observable<boolean>;
  /** `true` while connected. */
  isConnected(): boolean;
}

/** The library ignores user and password inside a URL; so they are taken out here. */
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

/** What stands encoded in a URL. A `%` that encodes nothing is itself: passwords are pasted as they are. */
function percentDecoded(text: string): string {
  return text.replace(/(?:%[0-9A-Fa-f]{2})+/g, (encoded) => {
    try {
      return decodeURIComponent(encoded);
    } catch {
      return encoded;
    }
  });
}

/** Whatever stands before the last `@` may be a password. */
const redacted = (text: string) => text.replace(/^((?:[a-z]+:\/\/)?).*@/is, '$1…@');

function readable(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    const said = cause instanceof Error ? cause.message : String(cause);
    throw new ReentryError('CONFIG_INVALID', `cannot read a credentials file: ${said}`, { transient: false, cause });
  }
}

/** Credentials that stand in files. Called at each reconnect, so a rotated file is used; one that is just being replaced leaves the last good one. */
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
      // Gone for a moment: the server decides whether the last one still holds.
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
    // With `tls`, even empty, a server that offers none is refused instead of spoken to in the clear.
    ...(tls === undefined
      ? {}
      : { tls: Object.fromEntries(Object.entries(tls).filter(([, value]) => value !== undefined)) }),
    maxReconnectAttempts: -1, // the default of 10 closes the connection for good
    reconnectTimeWait: 250,
    reconnectJitter: 250,
    pingInterval: 5_000, // a silent peer is noticed in 10–15 s instead of minutes
    maxPingOut: 2,
    timeout: 5_000,
    waitOnFirstConnect: false, // our own loop below says what is wrong while it waits
    ignoreAuthErrorAbort: true, // two auth errors in a row are a rotation race, not the end
    noAsyncTraces: true,
  };
}

/** What could not be reached, and what the reader can do. */
function connectError(options: ConnectOptions, error: unknown): ReentryError {
  if (error instanceof ReentryError) return error;
  const { servers, tls } = parsedServers(options.servers);
  const where = servers.join(', ');
  const said = error instanceof Error ? error.message : String(error);
  if (faultOf(error) === 'unauthorized')
    return new ReentryError(
      'UNAUTHORIZED',
      `the NATS server at ${where} refused the credentials (${said}); check REENTRY_NATS_CREDS, REENTRY_NATS_USER with REENTRY_NATS_PASS_FILE, or user and password in REENTRY_NATS_URL`,
      { transient: false, cause: error },
    );
  if (typeof error === 'object' && error !== null && 'code' in error && error.code === 'ENOENT')
    return new ReentryError('CONFIG_INVALID', `cannot read a credentials or certificate file: ${said}`, {
      transient: false,
      cause: error,
    });
  const hint =
    options.tls === undefined && !tls
      ? `is it running${where === '127.0.0.1:4222' ? ' (`reentry dev` starts one for its directory)' : ''}, and is REENTRY_NATS_URL right?`
      : 'is it running with TLS, does its certificate fit the CA file, and does it ask for a client certificate?';
  return new ReentryError('UNREACHABLE', `no NATS server answers at ${where}: ${said}; ${hint}`, {
    transient: true,
    cause: error,
  });
}

/**
 * Connects; afterwards reconnects for ever. With `waitForServer` it also waits for the first connection, saying why in the log.
 * @throws ReentryError UNREACHABLE, UNAUTHORIZED or CONFIG_INVALID
 */
export async function connectNats(options: ConnectOptions): Promise<Connection> {
  const library = settings(options);
  for (let pauseMs = 250; ; pauseMs = Math.min(pauseMs * 2, FIRST_CONNECT_PAUSE_MS)) {
    try {
      return opened(await connect(library), options);
    } catch (error) {
      const failure = connectError(options, error);
      if (options.waitForServer !== true || options.signal?.aborted === true || failure.code === 'CONFIG_INVALID')
        throw failure;
      options.log?.warn({ code: failure.code }, `${failure.message}; trying again in ${pauseMs} ms`);
      await pause(pauseMs, options.signal);
    }
  }
}

/** Waits; ends early, without error, when `signal` aborts. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
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

/** A status' data: a text, or lists of servers. */
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
          log?.info({ server: statusText(data) }, 'connected to NATS again');
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
    if (!closing) log?.error({ error: error?.message }, 'connection to NATS closed for good');
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
        // Ended with the draining: a timer would keep the process.
        const drained = new AbortController();
        await Promise.race([nc.drain().catch(() => undefined), pause(DRAIN_WITHIN_MS, drained.signal)]);
        drained.abort();
      }
      if (!nc.isClosed()) await nc.close();
    },
  };
}
