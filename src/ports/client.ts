/** What a client needs of NATS. */
import type { Observable } from 'rxjs';
import type { CompletedData, LifecycleData } from '../wire/events.ts';
import type { Heartbeat } from '../wire/presence.ts';
import type { ServiceReply } from '../wire/services.ts';
import type { EventType, RunKey, Verb } from '../wire/subjects.ts';
import type { LiveChunk } from './broker.ts';
import type { StoredLogChunk } from './stores.ts';

/** A lifecycle event: the parts of the CloudEvent that callers use. */
export interface StoredEvent {
  readonly run: RunKey;
  readonly type: EventType;
  readonly step: number;
  /** CloudEvents `id`; the same when the event is delivered twice. */
  readonly id: string;
  readonly at: string;
  readonly data: CompletedData | LifecycleData;
}

/** All that a client needs of NATS, within a client's permissions: no consumers, no stored state. */
export interface ClientBroker extends AsyncDisposable {
  /**
   * Publishes a run request and waits for JetStream's ack. Repeated for 15 s with the same `msgID`.
   * @throws ReentryError NOT_FOUND for a queue that was not set up, TOO_LARGE, STREAM_FULL, FORBIDDEN, NATS_UNAVAILABLE
   */
  publishRun(queue: string, run: RunKey, data: Uint8Array, msgID?: string): Promise<{ readonly duplicate: boolean }>;
  /** Calls a service. @throws ReentryError UNREACHABLE when no worker serves it, TIMEOUT after `timeoutMs` (default 15,000) */
  request(tenant: string, verb: Verb, payload: unknown, timeoutMs?: number): Promise<ServiceReply>;
  /** Lifecycle events from now on, through reconnects. Events published while disconnected are missed: call `lastEvent` whenever `connected$` emits true. */
  events$(of: RunKey | { readonly tenant: string }): Observable<StoredEvent>;
  /** The newest stored event of a type. */
  lastEvent(run: RunKey, type: EventType): Promise<StoredEvent | undefined>;
  /** Live log text of a run; never stored. */
  live$(run: RunKey): Observable<LiveChunk>;
  /** Log chunks of a run as they are stored, from now on. History: `request(tenant, 'logs', …)`. */
  logChunks$(run: RunKey): Observable<StoredLogChunk>;
  /** Heartbeats of triggerers, from now on. Errors without permission: only the installation's operator may see them, not a tenant. */
  readonly heartbeats$: Observable<Heartbeat>;
  /** True while connected; the present state first. Completes when the connection is closed, not when it breaks. */
  readonly connected$: Observable<boolean>;
  /** Largest message the broker accepts, headers included, in bytes. */
  readonly maxPayloadBytes: number;
}
