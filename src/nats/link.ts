/** What every part of the adapter shares: one connection, its JetStream, the installation's layout. */
import type { JetStreamClient, JetStreamManager, NatsConnection } from 'nats';
import type { Observable } from 'rxjs';
import type { Log } from '../ports/ambient.ts';
import type { Layout } from '../wire/streams.ts';
import type { Connection } from './connection.ts';
import { inboxPrefixOf, layoutFrom } from './options.ts';
import type { BrokerOptions } from './options.ts';

/** How long one call may take; in-flight calls are not failed by a disconnect, so this bounds recovery. */
export const CALL_TIMEOUT_MS = 2_000;

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
