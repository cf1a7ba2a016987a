/** What every part of the adapter shares: one connection, its JetStream, the installation's layout. */
import type { JetStreamClient, JetStreamManager, NatsConnection } from 'nats';
import type { Observable } from 'rxjs';
import type { Log } from '../ports/ambient.ts';
import { DEFAULT_ASSET_PREFIX, layoutOf } from '../wire/streams.ts';
import type { Layout } from '../wire/streams.ts';
import { DEFAULT_SUBJECT_ROOT } from '../wire/subjects.ts';
import { inboxPrefixOf } from './connection.ts';
import type { ConnectOptions, Connection } from './connection.ts';

/** How long one call may take; in-flight calls are not failed by a disconnect, so this bounds recovery. */
export const CALL_TIMEOUT_MS = 2_000;

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

/** JetStream over a connection, without asking the account API: a role may lack the permission. */
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
