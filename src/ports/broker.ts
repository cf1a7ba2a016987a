/** What roles need of NATS: work queues, stores, publishing, queries, live logs, membership. Each role's needs are an interface at the end. */
import type { Observable } from 'rxjs';
import type { CompletedData, LifecycleData } from '../wire/events.ts';
import type { Diagnosis } from '../wire/outcome.ts';
import type { Claim, ExecutorHeartbeat, Heartbeat, RolePresence } from '../wire/presence.ts';
import type { QueueLoad, QueuePosition } from '../wire/queues.ts';
import type { ServiceReply } from '../wire/services.ts';
import type { CtlMessage, ResumeMessage, StartMessage } from '../wire/steps.ts';
import type { EventType, Lane, RoleQuery, RunKey, Verb } from '../wire/subjects.ts';
import type {
  GateStore,
  LogCursor,
  LogStore,
  RequestStore,
  ResultStore,
  RunStore,
  SlotStore,
  SubscriptionStore,
  Versioned,
} from './stores.ts';

/** One delivered message of a work queue. The adapter extends its ack deadline every 3 s until `handle` settles. */
export interface Delivery {
  readonly stream: string;
  /** The message's sequence in its stream. */
  readonly seq: number;
  /** How often it was delivered, this time included; 1 at first. */
  readonly deliveries: number;
  readonly subject: string;
  /** Raw tokens of tenant and run id (still encoded), as in the subject. */
  readonly tenantToken: string;
  readonly runIdToken: string;
  readonly data: Uint8Array;
  /** When the broker stored it, epoch milliseconds. */
  readonly publishedAt: number;
  /** Header `traceparent`, unchecked. */
  readonly traceparent?: string | undefined;
  ack(): Promise<void>;
  /** Asks for redelivery after `delayMs`; at once where absent. */
  nak(delayMs?: number): Promise<void>;
  /** Stops extending the ack deadline, without ack or nak: for a holder that lost its fence. */
  abandon(): void;
}

/** How many messages may be held at a time: a fixed number, or one that changes with the load. */
export type Credits =
  | number
  | {
      /** How many more may come, beyond the `held` ones. */
      room(held: number): number;
      /** Emits when `room` may have grown. */
      readonly changes$: Observable<unknown>;
      /** Never more than this at a time. */
      readonly max: number;
    };

/** Handles one delivery and settles it: ack, nak or abandon. A rejection is a nak with back-off. */
export type DeliveryHandler = (delivery: Delivery) => Promise<void>;

/** A run request in its stream, not yet taken in. */
export interface WaitingRequest {
  readonly queue: string;
  /** The message's sequence in its stream. */
  readonly seq: number;
  readonly data: Uint8Array;
}

/** Work queues. Both streams complete when `stop$` has emitted and every message already begun is settled. */
export interface WorkQueues {
  /** Messages of a queue that no process has received yet, requests and steps. @throws ReentryError NOT_FOUND for a queue that was not set up */
  undelivered(queue: string): Promise<number>;
  /**
   * The earliest message in the stream of requests under this run id, whatever its queue; `undefined` where the stream's leader has none. The
   * leader's view is never ahead of the stream: where it shows one message, every earlier one was there and has been taken in.
   */
  firstRequest(run: RunKey): Promise<WaitingRequest | undefined>;
  /** Takes the run requests of a queue, `credits` at a time. */
  intake$(queue: string, credits: number, handle: DeliveryHandler, stop$: Observable<unknown>): Observable<never>;
  /** Takes the step messages of one lane of a queue. */
  steps$(
    queue: string,
    lane: Lane,
    credits: Credits,
    handle: DeliveryHandler,
    stop$: Observable<unknown>,
  ): Observable<never>;
}

/** Queries between roles. Each resolves to `undefined` after 1 s without an answer. */
export interface RoleQueries {
  /** Position of a run that waits for its turn; also `undefined` where it does not wait. */
  queuePosition(run: RunKey): Promise<QueuePosition | undefined>;
  /** Load of every queue, as a triggerer sees it. */
  queues(): Promise<readonly QueueLoad[] | undefined>;
  /** Every process that answers within `withinMs`. */
  roles(withinMs: number): Promise<readonly RolePresence[]>;
  /** Answers a query until it is unsubscribed. Every subscriber gets `roles`; one of them gets each of the others. */
  answer$(query: RoleQuery, handle: (data: unknown) => unknown): Observable<never>;
}

/** A run request in its stream. `duplicate`: a message with the same id was there already, and `seq` is that one's. */
export interface PublishedRequest {
  readonly seq: number;
  readonly duplicate: boolean;
}

/** What roles publish. Every call but `nudge` is repeated for 15 s with the same message id. */
export interface Publisher {
  /** Publishes a lifecycle event. `accepted` and `completed` are stored at most once per run, the others once per message id. */
  event(run: RunKey, type: 'completed', step: number, data: CompletedData): Promise<void>;
  event(run: RunKey, type: Exclude<EventType, 'completed'>, step: number, data: LifecycleData): Promise<void>;
  /** Publishes a run request as a client would (services `submit` and `retry`). */
  run(run: RunKey, queue: string, data: Uint8Array, id: string, traceparent?: string): Promise<PublishedRequest>;
  /** Publishes to lane `start`, and below to `resume` and `ctl`. `id`: message id. */
  start(run: RunKey, queue: string, message: StartMessage, id: string): Promise<void>;
  resume(run: RunKey, queue: string, message: ResumeMessage, id: string): Promise<void>;
  ctl(run: RunKey, queue: string, message: CtlMessage, id: string): Promise<void>;
  /** Stores a copy of the message `of` as a dead letter; once per window of message ids. */
  deadLetter(
    kind: 'run' | 'step',
    run: RunKey,
    data: Uint8Array,
    why: Diagnosis,
    of: Pick<Delivery, 'stream' | 'seq'>,
  ): Promise<void>;
  /** Asks the worker that holds a blocking run to look at it again. May be lost. */
  nudge(worker: string, run: RunKey): Promise<void>;
}

/** Live text of one container. Never stored; may repeat what the history has, may be lost. */
export interface LiveChunk {
  readonly attempt: number;
  readonly container: string;
  /** Lines as in stored chunks. */
  readonly text: string;
  /** Cursor of the line before the first; absent at the log's beginning. A reader whose cursor is behind it has missed lines. */
  readonly after: LogCursor | undefined;
}

/**
 * Requests between workers about following a run's log. `renew`: keep following; with `join`, send again from the end of the stored log.
 * `claim`: worker `by` follows the run now.
 */
export type FollowRequest =
  { readonly kind: 'renew'; readonly join: boolean } | { readonly kind: 'claim'; readonly by: string };

/** Live logs as core messages; nothing is stored. */
export interface LiveLogs {
  /** Resolves when the broker has received it. */
  publish(run: RunKey, chunk: LiveChunk): Promise<void>;
  /** Asks the worker that follows the run; `false` where none answers within 1 s. */
  requestFollow(run: RunKey, request: FollowRequest): Promise<boolean>;
  /** Announces to other followers of the run that `by` follows it. */
  claimFollow(run: RunKey, by: string): void;
  /** Acknowledges requests about the run and gives them to `handle`, until it is disposed. */
  onFollowRequest(run: RunKey, handle: (request: FollowRequest) => void): Disposable;
}

/** A change of a claim. `synced`: all claims that existed at the start have been emitted. */
export type ClaimChange =
  | { readonly kind: 'put'; readonly key: string; readonly claim: Claim; readonly revision: number }
  | { readonly kind: 'deleted'; readonly key: string }
  | { readonly kind: 'synced' };

/** Which triggerers are alive and which owns each shard. */
export interface Membership {
  /** Publishes this replica's heartbeat. Dropped while disconnected. */
  publishHeartbeat(heartbeat: Heartbeat): void;
  /** Heartbeats of all triggerers, this one's included. */
  heartbeats$: Observable<Heartbeat>;
  /** All claims, then each change. `deleted` also for claims of a bucket that was recreated. */
  claims$(): Observable<ClaimChange>;
  /** Claims `s.<shard>` or `janitor`. The new revision; `undefined` where another process was first. */
  claim(key: string, claim: Claim, expectedRevision: number): Promise<number | undefined>;
  readClaim(key: string): Promise<Versioned<Claim> | undefined>;
  /** Removes a claim; `false` where it changed since `expectedRevision`. */
  dropClaim(key: string, expectedRevision: number): Promise<boolean>;
}

/** Which executors are alive. */
export interface ExecutorMembers {
  /** Publishes this executor's heartbeat. Dropped while disconnected. */
  publishHeartbeat(heartbeat: ExecutorHeartbeat): void;
  /** Heartbeats of all executors, this one's included. */
  readonly heartbeats$: Observable<ExecutorHeartbeat>;
}

/** Request/reply services. */
export interface ServiceHost {
  /** Answers `verb` for every tenant; one worker answers each request. The tenant comes from the subject only. */
  serve$(verb: Verb, handle: (tenant: string, data: Uint8Array) => Promise<ServiceReply>): Observable<never>;
}

/** The connection and the broker's clock. */
export interface BrokerConnection {
  /** Broker time, epoch milliseconds. */
  now(): number;
  /** Broker time less local time, in milliseconds. */
  clockOffsetMs(): number;
  /** True while connected; the present state first. */
  readonly connected$: Observable<boolean>;
}

/** Upkeep of the buckets. */
export interface BucketUpkeep {
  /** Fill of the fullest bucket, 0 to 1; workers stop intake at 0.8. Measured at most every 5 s. */
  fill(): Promise<number>;
  /**
   * Removes deletion markers older than `olderThanMs`, and heartbeat keys of watches that ended. Looks at up to `limit` entries of each
   * bucket and continues there next time. The number removed. `olderThanMs`: 10 min or more, so that every watch has seen the marker.
   */
  sweep(options: { readonly olderThanMs: number; readonly limit: number }): Promise<number>;
}

/** All that a worker needs of NATS. */
export interface WorkerBroker extends BrokerConnection, BucketUpkeep {
  readonly queues: WorkQueues;
  readonly requests: RequestStore;
  readonly runs: RunStore;
  readonly subscriptions: SubscriptionStore;
  readonly gates: GateStore;
  readonly logs: LogStore;
  readonly results: ResultStore;
  readonly publish: Publisher;
  readonly live: LiveLogs;
  readonly services: ServiceHost;
  readonly queries: RoleQueries;
  /** For the janitor's lease. */
  readonly membership: Membership;
  /** Nudges addressed to this worker. */
  nudges$(worker: string): Observable<RunKey>;
}

/** All that an executor needs of NATS. */
export interface ExecutorBroker extends WorkerBroker {
  readonly executors: ExecutorMembers;
  readonly slots: SlotStore;
}

/** All that a triggerer needs of NATS. */
export interface TriggererBroker extends BrokerConnection {
  readonly subscriptions: SubscriptionStore;
  readonly publish: Pick<Publisher, 'start' | 'resume' | 'ctl'>;
  readonly queries: RoleQueries;
  readonly membership: Membership;
}

/** One connection for every role. */
export type Broker = ExecutorBroker & TriggererBroker & AsyncDisposable;
