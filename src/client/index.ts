/** The entry `reentry/client`. Loads no Kubernetes library. */
import { openClientBroker } from '../nats/client-broker.ts';
import { DEFAULT_NATS_URL, DEFAULT_SUBJECT_ROOT } from '../wire/subjects.ts';
import { DEFAULT_TENANT } from '../wire/tokens.ts';
import { clientOver } from './client.ts';
import type { Client } from './client.ts';

/** Where to connect, and as which user. */
export interface ClientOptions {
  /** `nats://[user:password@]host:port`, several separated by commas. Default `nats://127.0.0.1:4222`. */
  readonly servers?: string | readonly string[];
  /** Default `default`. */
  readonly tenant?: string;
  /** Path of a NATS credentials file. */
  readonly credsFile?: string;
  readonly token?: string;
  readonly user?: string;
  readonly pass?: string;
  /** Given, even empty: a server without TLS is refused. */
  readonly tls?: { readonly caFile?: string; readonly certFile?: string; readonly keyFile?: string };
  /** Shown in the server's connection list. */
  readonly name?: string;
  /** Root of all subjects. Default `reentry.v1`. */
  readonly root?: string;
  /** Prefix of all streams and buckets. Default `REENTRY_`. */
  readonly assetPrefix?: string;
}

/**
 * Connects a client.
 * @throws ReentryError UNREACHABLE, UNAUTHORIZED or CONFIG_INVALID, with the server and what to do
 */
export async function connect(options: ClientOptions = {}): Promise<Client> {
  const {
    servers = DEFAULT_NATS_URL,
    tenant = DEFAULT_TENANT,
    name = `reentry-client-${String(process.pid)}`,
    ...rest
  } = options;
  const broker = await openClientBroker({ root: DEFAULT_SUBJECT_ROOT, ...rest, servers, tenant, name, role: 'client' });
  return clientOver(broker, tenant);
}

export type { Client, LogOptions } from './client.ts';
export type { Receipt, RunSubmission, SubmissionResult, SubmitAllOptions, SubmitOptions } from './submission.ts';
export type { LogText } from './log-lines.ts';
export type { Explanation, RunPage, RunStatus } from './replies.ts';
export type { Triggerers } from './triggerers.ts';
export type { StoredEvent } from '../ports/client.ts';
export type { CompletedData, LifecycleData } from '../wire/events.ts';
export type { Diagnosis, FinalState } from '../wire/outcome.ts';
export type { RunRequestInput } from '../wire/run-request.ts';
export type { Phase } from '../wire/run-state.ts';
export { ReentryError } from '../errors.ts';
export type { ErrorCode, Problem } from '../errors.ts';
