/** What a client needs of NATS. */
import type { Heartbeat } from '../wire/presence.ts';
import type { CompletedData, LifecycleData } from '../wire/events.ts';
import type { ServiceReply } from '../wire/services.ts';
import type { EventType, RunKey, Verb } from '../wire/subjects.ts';
import type { LiveChunk } from './broker.ts';
import type { StoredLogChunk } from './stores.ts';
import type { Observable } from 'rxjs';

/** A lifecycle event as stored: the CloudEvent's parts that callers use, and where it stands in the stream. */
export interface StoredEvent {
  readonly run: RunKey;
  readonly type: EventType;
  readonly step: number;
  /** CloudEvents `id`, stable over redelivery. */
  readonly id: string;
  readonly at: string;
  readonly data: CompletedData | LifecycleData;
}

/** All that a client may do of NATS: with a client's permissions only, so no consumers and no state. */
export interface ClientBroker extends AsyncDisposable {
  /**
   * Publishes a run request and waits for JetStream's ack (retried 15 s with the same `msgID`).
   * @throws ReentryError NOT_FOUND for a queue nobody set up, TOO_LARGE, STREAM_FULL, FORBIDDEN, NATS_UNAVAILABLE
   */
  publishRun(queue: string, run: RunKey, data: Uint8Array, msgID?: string): Promise<{ readonly duplicate: boolean }>;
  /** Asks a service verb. @throws ReentryError UNREACHABLE when no worker answers, TIMEOUT after `timeoutMs` (default 5,000) */
  request(tenant: string, verb: Verb, payload: unknown, timeoutMs?: number): Promise<ServiceReply>;
  /** Lifecycle events from now on; goes on over reconnects, but what is said while disconnected is missed: ask `lastEvent` whenever `connected$` says true. */
  events$(of: RunKey | { readonly tenant: string }): Observable<StoredEvent>;
  /** The newest stored event of a type, by direct get. */
  lastEvent(run: RunKey, type: EventType): Promise<StoredEvent | undefined>;
  /** Live log text of a run; never stored. */
  live$(run: RunKey): Observable<LiveChunk>;
  /** Log chunks of a run as they are stored, from now on. History: `request(tenant, 'logs', …)`. */
  logChunks$(run: RunKey): Observable<StoredLogChunk>;
  /** What the triggerers say of themselves, from now on; errors where the permissions do not allow it (they are the operator's, not a tenant's). */
  readonly heartbeats$: Observable<Heartbeat>;
  /** True while connected; the present state first. Completes when the connection is closed for good, not when it breaks. */
  readonly connected$: Observable<boolean>;
  /** Broker's largest message, headers included. */
  readonly maxPayloadBytes: number;
}
