import { DEFAULT_ASSET_PREFIX, layoutOf } from '../wire/streams.ts';
import type { Layout } from '../wire/streams.ts';
import { DEFAULT_SUBJECT_ROOT } from '../wire/subjects.ts';
import { enc } from '../wire/tokens.ts';
import type { Log } from '../ports/ambient.ts';

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

/** A connection and where the installation's subjects are. */
export interface BrokerOptions extends ConnectOptions {
  /** Root of all subjects. Default `reentry.v1`. */
  readonly root?: string | undefined;
  /** Prefix of all streams and buckets. Default `REENTRY_`. */
  readonly assetPrefix?: string | undefined;
}

/** The layout that options name. */
export function layoutFrom(options: Pick<BrokerOptions, 'root' | 'assetPrefix'>): Layout {
  return layoutOf(options.root ?? DEFAULT_SUBJECT_ROOT, options.assetPrefix ?? DEFAULT_ASSET_PREFIX);
}

/** Prefix of a role's reply subjects: `_INBOX_<role>`, for a client of one tenant `_INBOX_client_<tenant>`. */
export function inboxPrefixOf(role: NatsRole, tenant?: string): string {
  if (role !== 'client') return `_INBOX_${role}`;
  return tenant === undefined ? '_INBOX' : `_INBOX_client_${enc(tenant)}`;
}
