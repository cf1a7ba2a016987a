/** What all parts of the adapter share: a connection, its JetStream API, the installation's subjects and assets. */
import type { JetStreamClient, JetStreamManager, NatsConnection } from 'nats';
import type { Observable } from 'rxjs';
import type { Log } from '../ports/ambient.ts';
import { DEFAULT_ASSET_PREFIX, layoutOf } from '../wire/streams.ts';
import type { Layout } from '../wire/streams.ts';
import { DEFAULT_SUBJECT_ROOT } from '../wire/subjects.ts';
import { inboxPrefixOf } from './connection.ts';
import type { ConnectOptions, Connection } from './connection.ts';

/** Time-out of one call, in milliseconds. A disconnect does not fail calls in flight, so this bounds recovery. */
export const CALL_TIMEOUT_MS = 2_000;

/** Options of a connection to an installation. */
export interface BrokerOptions extends ConnectOptions {
  /** Root of all subjects. Default `reentry.v1`. */
  readonly root?: string | undefined;
  /** Prefix of all streams and buckets. Default `REENTRY_`. */
  readonly assetPrefix?: string | undefined;
}

/** Subjects and assets of an installation. */
export function layoutFrom(options: Pick<BrokerOptions, 'root' | 'assetPrefix'>): Layout {
  return layoutOf(options.root ?? DEFAULT_SUBJECT_ROOT, options.assetPrefix ?? DEFAULT_ASSET_PREFIX);
}

/** A connection to an installation. */
export interface Link extends Layout {
  readonly nc: NatsConnection;
  readonly js: JetStreamClient;
  readonly jsm: JetStreamManager;
  readonly connected$: Observable<boolean>;
  isConnected(): boolean;
  readonly inboxPrefix: string;
  /** Unique per process. */
  readonly name: string;
  readonly log: Log | undefined;
}

/** JetStream over a connection. Without the account API, for which a role may lack the permission. */
export async function linkOf(connection: Connection, options: BrokerOptions): Promise<Link> {
  const { nc } = connection;
  return {
    ...layoutFrom(options),
    nc,
    js: nc.jetstream({ checkAPI: false, timeout: CALL_TIMEOUT_MS }),
    jsm: await nc.jetstreamManager({ checkAPI: false, timeout: CALL_TIMEOUT_MS }),
    connected$: connection.connected$,
    isConnected: connection.isConnected,
    inboxPrefix: inboxPrefixOf(options.role, options.tenant),
    name: options.name,
    log: options.log,
  };
}
