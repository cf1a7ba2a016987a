/** What the streams and the protocol need from outside, as interfaces. No code. */
import type { Observable } from 'rxjs';
import type { LogCursor } from './core/log-cursor.ts';
import type {
  CompletedData,
  CtlMessage,
  Diagnosis,
  LifecycleData,
  ResultRef,
  ResumeMessage,
  RunState,
  StartMessage,
  Subscription,
  Claim,
  QueueLoad,
  QueuePlace,
  QueueRecord,
  RolePresence,
  ServiceReply,
  Slots,
} from './wire/messages.ts';
import type { Heartbeat } from './wire/heartbeat.ts';
import type { ExecutorBeat } from './wire/executor-beat.ts';
import type { EventType, Lane, Question, RunKey, Verb } from './wire/subjects.ts';

// ---------------------------------------------------------------- broker

/** A stored value with the revision that a compare-and-set expects. */
export interface Versioned<T> {
  readonly value: T;
  readonly revision: number;
}

/** What a compare-and-set came to. `conflict` carries the leader's value (absent: no such key). */
export type CasOutcome<T> =
  | { readonly kind: 'written'; readonly revision: number }
  | { readonly kind: 'conflict'; readonly current: Versioned<T> | undefined };

/** One delivered message of a work queue. The adapter sends `working()` every 3 s until `handle` settles. */
export interface Delivery {
  readonly stream: string;
  readonly seq: number;
  /** 1 at first. */
  readonly deliveries: number;
  readonly subject: string;
  /** Raw tokens of tenant and run id (still encoded), as in the subject. */
  readonly tenantToken: string;
  readonly runIdToken: string;
  readonly data: Uint8Array;
  readonly publishedAt: number;
  /** Header `traceparent`, as it came. */
  readonly traceparent?: string | undefined;
  ack(): Promise<void>;
  nak(delayMs?: number): Promise<void>;
  /** Stops the heartbeat and neither acks nor naks: for a fenced holder. */
  abandon(): void;
}

/** How many messages may be held at a time: a number, or one that moves with the world. */
export type Credits =
  | number
  | {
      /** How many more may come, beyond the `held` ones. */
      room(held: number): number;
      /** Emits when `room` may answer more than before. */
      readonly changes$: Observable<unknown>;
      /** Never more than this at a time. */
      readonly max: number;
    };

/** Work queues. `handle` decides ack, nak or abandon itself; a rejection of it is a nak with back-off. */
export interface WorkQueues {
  /** Requests and steps of a queue that no process has been given yet. @throws ReentryError NOT_FOUND for a queue that was not set up */
  ungiven(queue: string): Promise<number>;
  /** Takes run requests of a queue, `credits` at a time; completes when `stop$` emitted and all begun is done. */
  intake$(
    queue: string,
    credits: number,
    handle: (delivery: Delivery) => Promise<void>,
    stop$: Observable<unknown>,
  ): Observable<never>;
  steps$(
    queue: string,
    lane: Lane,
    credits: Credits,
    handle: (delivery: Delivery) => Promise<void>,
    stop$: Observable<unknown>,
  ): Observable<never>;
}

/** Run states: compare-and-set with operation ids. */
export interface RunStore {
  /** Direct read; goes to the leader when `leader`, or when it sees less than `atLeastRevision`. */
  read(
    run: RunKey,
    options?: { readonly leader?: boolean; readonly atLeastRevision?: number },
  ): Promise<Versioned<RunState> | undefined>;
  /** `expectedRevision` 0: must not exist. An unknown outcome is settled by reading `op` from the leader. */
  write(run: RunKey, state: RunState, expectedRevision: number): Promise<CasOutcome<RunState>>;
  /**
   * Pages all states of a tenant (all tenants: undefined) in stream order. `maxBytes`: of the states as stored; a page that would be larger
   * ends earlier, but has one run at least.
   */
  list(options: {
    readonly tenant?: string;
    readonly after?: number;
    readonly limit: number;
    readonly maxBytes?: number;
  }): Promise<{ readonly runs: readonly (RunKey & Versioned<RunState>)[]; readonly next: number | undefined }>;
  delete(run: RunKey, revision: number): Promise<void>;
}

/** A place in the bucket of requests, without what stands there. */
export interface StoredRequest {
  readonly run: RunKey;
  readonly revision: number;
  /** When it was stored, epoch milliseconds, broker time. */
  readonly at: number;
  readonly bytes: number;
  /** A deletion marker. */
  readonly deleted: boolean;
}

/** Validated requests, written once. */
export interface RequestStore {
  /** Answers the stored request where one exists already. `revision`: where this call has certainly made it, and no other of the same content. */
  create(
    run: RunKey,
    request: unknown,
  ): Promise<
    | { readonly kind: 'created'; readonly revision: number | undefined }
    | { readonly kind: 'exists'; readonly request: unknown }
  >;
  /**
   * `create` for whoever makes a run of it: a request that exists is stored anew as it stands, so that whoever found its old revision without a
   * run cannot delete it any more.
   */
  claim(
    run: RunKey,
    request: unknown,
  ): Promise<{ readonly kind: 'created' } | { readonly kind: 'exists'; readonly request: unknown }>;
  read(run: RunKey): Promise<unknown>;
  /** The first place after that revision in stream order, which is the order of time; `undefined`: there is none. */
  next(after: number): Promise<StoredRequest | undefined>;
  /** With `revision`, only that one. Whether it was deleted by this call. */
  delete(run: RunKey, revision?: number): Promise<boolean>;
}

/** Trigger subscriptions: one key per run. */
export interface SubscriptionStore {
  read(run: RunKey): Promise<Versioned<Subscription> | undefined>;
  /** `expectedRevision` undefined: read the present one first; a zombie's stale expectation conflicts. */
  put(run: RunKey, subscription: Subscription, expectedRevision?: number): Promise<CasOutcome<Subscription>>;
  delete(run: RunKey): Promise<void>;
  /** All subscriptions, then each change, without end. `synced` after the first complete read and after each re-read. */
  changes$(replica: string): Observable<SubscriptionChange | GateChange>;
}
/** What lets runs start: queues that are paused, slots of concurrency keys. All writes are compare-and-set; `false`: somebody wrote first. */
export interface GateStore {
  /** From the leader; `undefined`: open. */
  queue(queue: string): Promise<Versioned<QueueRecord> | undefined>;
  /** `expectedRevision` 0: no record yet. */
  setQueue(queue: string, record: QueueRecord | undefined, expectedRevision: number): Promise<boolean>;
  /** From the leader; `undefined`: nobody holds one. */
  slots(tenant: string, concurrencyKey: string): Promise<Versioned<Slots> | undefined>;
  setSlots(
    tenant: string,
    concurrencyKey: string,
    slots: Slots | undefined,
    expectedRevision: number,
  ): Promise<boolean>;
}
/** A gate changed; without value it is open. Told in one order with the subscriptions. */
export type GateChange =
  | { readonly kind: 'queue'; readonly queue: string; readonly record: QueueRecord | undefined }
  | {
      readonly kind: 'slots';
      readonly tenant: string;
      readonly concurrencyKey: string;
      readonly slots: Slots | undefined;
    };

/** What roles ask each other. No answer within a second is `undefined`: a question never holds anybody up. */
export interface Questions {
  /** Where a run that waits for its turn stands; `undefined` too where it does not wait. */
  place(run: RunKey): Promise<QueuePlace | undefined>;
  queues(): Promise<readonly QueueLoad[] | undefined>;
  /** All roles that answer within that time. */
  roles(withinMs: number): Promise<readonly RolePresence[]>;
  /** `roles` is asked of everybody, the others of one of those who answer. */
  answer$(question: Question, handle: (data: unknown) => unknown): Observable<never>;
}
export type SubscriptionChange =
  | {
      readonly kind: 'put';
      readonly run: RunKey;
      readonly shard: string;
      readonly subscription: Subscription;
      readonly revision: number;
    }
  | { readonly kind: 'deleted'; readonly run: RunKey; readonly shard: string }
  | { readonly kind: 'synced' }
  /** About once a second: nothing that was written before is still on its way. */
  | { readonly kind: 'alive' };

/** What roles say to the world and to each other. All publishes retry for 15 s with the same id. */
export interface Publisher {
  /** `accepted` and `completed` with expected-last-subject-sequence 0 ("wrong sequence" = said already); others by message id. */
  event(run: RunKey, type: 'completed', step: number, data: CompletedData): Promise<void>;
  event(run: RunKey, type: Exclude<EventType, 'completed'>, step: number, data: LifecycleData): Promise<void>;
  /** A run request into `RUNS`, as a client would publish it (service `submit`). */
  run(run: RunKey, queue: string, data: Uint8Array, id: string, traceparent?: string): Promise<void>;
  start(run: RunKey, queue: string, message: StartMessage, id: string): Promise<void>;
  resume(run: RunKey, queue: string, message: ResumeMessage, id: string): Promise<void>;
  ctl(run: RunKey, queue: string, message: CtlMessage, id: string): Promise<void>;
  /** A copy of the message `of`; repeated within the window of message ids it is one letter. */
  deadLetter(
    kind: 'run' | 'step',
    run: RunKey,
    data: Uint8Array,
    why: Diagnosis,
    of: Pick<Delivery, 'stream' | 'seq'>,
  ): Promise<void>;
  /** To the worker that keeps a run's slot. */
  nudge(worker: string, run: RunKey): Promise<void>;
}

export type { LogCursor } from './core/log-cursor.ts';

/** Stored logs; the last message of a subject is the cursor. @see spec protocol §9 */
export interface LogStore {
  /** Where the stored log of a container ends; `sequence` 0 where nothing is stored. */
  end(
    run: RunKey,
    attempt: number,
    container: string,
  ): Promise<{ readonly cursor: LogCursor | undefined; readonly sequence: number }>;
  /** `wrongSequence`: somebody stored meanwhile; read `end` again. */
  append(
    run: RunKey,
    attempt: number,
    container: string,
    /** `text`: whole lines; as bytes, UTF-8 that may be overwritten once this has answered. */
    chunk: { readonly text: string | Uint8Array; readonly to: LogCursor },
    expectedSequence: number,
  ): Promise<{ readonly kind: 'stored'; readonly sequence: number } | { readonly kind: 'wrongSequence' }>;
  /** History in stream order. `maxBytes`: of the page's texts as JSON; a page that would be larger ends earlier, but has one chunk at least. */
  read(
    run: RunKey,
    options: {
      readonly attempt?: number;
      readonly container?: string;
      readonly after?: number;
      readonly limit: number;
      readonly maxBytes?: number;
    },
  ): Promise<{ readonly chunks: readonly StoredLogChunk[]; readonly next: number | undefined }>;
}
export interface StoredLogChunk {
  readonly sequence: number;
  readonly attempt: number;
  readonly container: string;
  readonly text: string;
}

/** Live text of one container: never stored, may repeat what the history has, may be lost. */
export interface LiveChunk {
  readonly attempt: number;
  readonly container: string;
  /** Lines as in stored chunks. */
  readonly text: string;
  /** The place of the line before the first; absent at the log's beginning. A listener who has less has lost something. */
  readonly after: LogCursor | undefined;
}
/** What workers say to each other about a run that one of them follows: go on (`join`: from the stored end again), or that it is mine. */
export type FollowAsk =
  { readonly ask: 'renew'; readonly join: boolean } | { readonly ask: 'claim'; readonly by: string };

/** Live logs: core messages, never stored. @see spec protocol §9 */
export interface LiveLogs {
  /** Resolves when the broker has it. */
  publish(run: RunKey, chunk: LiveChunk): Promise<void>;
  /** Asks whoever follows the run; false: nobody does. */
  ask(run: RunKey, ask: FollowAsk): Promise<boolean>;
  /** Tells other followers of the run that there is one. */
  claim(run: RunKey, by: string): void;
  /** Answers what is asked about the run, and gives it to `heard`, until it is disposed. */
  answer(run: RunKey, heard: (ask: FollowAsk) => void): Disposable;
}

/** Result objects. */
export interface ResultStore {
  put(run: RunKey, attempt: number, name: string, data: Uint8Array): Promise<ResultRef>;
  get(run: RunKey, attempt: number, name: string): Promise<Uint8Array | undefined>;
}

/** What becomes of claims. */
export type ClaimChange =
  | { readonly kind: 'put'; readonly key: string; readonly claim: Claim; readonly revision: number }
  | { readonly kind: 'deleted'; readonly key: string }
  | { readonly kind: 'synced' };

/** Who is alive and who owns which shard. */
export interface Membership {
  beat(heartbeat: Heartbeat): void;
  heartbeats$: Observable<Heartbeat>;
  /** All claims, then each change. `deleted`: there is no claim on this key any more, or none of a bucket that was made anew. */
  claims$(): Observable<ClaimChange>;
  /** Claims `s.<shard>` or `janitor`; the new revision, or undefined where somebody was first. */
  claim(key: string, claim: Claim, expectedRevision: number): Promise<number | undefined>;
  readClaim(key: string): Promise<Versioned<Claim> | undefined>;
  /** Takes a claim away; false where somebody changed it since `expectedRevision`. */
  dropClaim(key: string, expectedRevision: number): Promise<boolean>;
}

/** Which executors are there. */
export interface ExecutorMembers {
  /** An executor says that it is there. Lost while disconnected. */
  beat(beat: ExecutorBeat): void;
  /** What executors say of themselves, their own words included. */
  readonly beats$: Observable<ExecutorBeat>;
}

/** Request/reply services. */
export interface ServiceHost {
  /** Answers `verb` for every tenant; the tenant comes from the subject only. `more` sends further replies of a stream before the last. */
  serve$(verb: Verb, handle: (tenant: string, data: Uint8Array) => Promise<ServiceReply>): Observable<never>;
}

/** All that a role needs of NATS. */
export interface Broker extends AsyncDisposable {
  readonly queues: WorkQueues;
  readonly runs: RunStore;
  readonly requests: RequestStore;
  readonly subscriptions: SubscriptionStore;
  readonly gates: GateStore;
  readonly questions: Questions;
  readonly publish: Publisher;
  readonly logs: LogStore;
  readonly live: LiveLogs;
  readonly results: ResultStore;
  readonly membership: Membership;
  readonly executors: ExecutorMembers;
  readonly services: ServiceHost;
  /** Broker time, epoch milliseconds. */
  now(): number;
  /** Emits true while connected. */
  readonly connected$: Observable<boolean>;
  /** Nudges addressed to this worker. */
  nudges$(worker: string): Observable<RunKey>;
  /** Fill of the fullest bucket, 0 to 1; intake stops at 0.8. Measured at most every 5 s. */
  fill(): Promise<number>;
  /** What `now` adds to the local clock, in milliseconds. */
  clockOffsetMs(): number;
  /**
   * Removes deletion markers older than `olderThanMs` (10 min or more: watches must have seen them), and beacons that nobody renews, looking at
   * up to `limit` entries of each bucket and going on there next time. The number removed. For the janitor.
   */
  sweep(options: { readonly olderThanMs: number; readonly limit: number }): Promise<number>;
}

// ---------------------------------------------------------------- broker, seen by a client

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

// ---------------------------------------------------------------- broker, seen by who runs the installation

/** A message that was given up, with what was said of it. */
export interface DeadLetter {
  /** Its place in the stream: its name for `dlq show` and `dlq replay`. */
  readonly sequence: number;
  /** `run` (a request) or `step`. */
  readonly kind: string;
  readonly run: RunKey;
  /** When it was given up, epoch milliseconds. */
  readonly at: number;
  readonly why: { readonly code: string; readonly category: string; readonly summary: string };
  readonly data: Uint8Array;
  /** The message was larger than what could be kept of it. */
  readonly truncatedFromBytes?: number;
}
/** The dead-letter stream. */
export interface DeadLetters {
  /** A page in stream order, of one tenant or of all; `next` goes on after it. */
  list(options: {
    readonly tenant?: string;
    readonly after?: number;
    readonly limit: number;
  }): Promise<{ readonly letters: readonly DeadLetter[]; readonly next: number | undefined }>;
  read(sequence: number): Promise<DeadLetter | undefined>;
}

/** What stands in a queue's consumers. */
export interface QueueLanes {
  readonly queue: string;
  readonly kind: 'worker' | 'executor';
  /** Requests that nobody has taken in yet. */
  readonly requests: number;
  /** Step messages by lane. */
  readonly steps: Readonly<Record<Lane, number>>;
}

/** All that running an installation needs of NATS, with the permissions of `setup`. */
export interface Operations extends AsyncDisposable {
  readonly deadLetters: DeadLetters;
  readonly gates: Pick<GateStore, 'queue' | 'setQueue'>;
  readonly questions: Pick<Questions, 'queues' | 'roles'>;
  /** Every queue that was set up, and how many messages its lanes hold: waiting for a worker, or in one's hands. */
  queues(): Promise<readonly QueueLanes[]>;
  readonly runs: Pick<RunStore, 'read'>;
  readonly requests: Pick<RequestStore, 'read'>;
  /** Publishes a run request under a message id; `duplicate`: the stream had it already. */
  publishRun(queue: string, run: RunKey, data: Uint8Array, id: string): Promise<{ readonly duplicate: boolean }>;
}

// ---------------------------------------------------------------- Kubernetes

export type * from './cluster-port.ts';

// ---------------------------------------------------------------- ambient

/** Structured log; the shape of pino's. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  child(fields: object): Log;
}

/** One piece of work in a trace. */
export interface Span {
  /** W3C trace context of this span, for what follows; of its parent where nothing is recorded. */
  readonly traceparent: string | undefined;
  end(how?: {
    readonly error?: string;
    readonly endedAtMs?: number;
    readonly attributes?: Readonly<Record<string, string | number>>;
  }): void;
}
/** Spans of this process. Never waits, never fails. Times are epoch milliseconds. */
export interface Tracer {
  start(
    name: string,
    options: {
      readonly parent: string | undefined;
      readonly attributes: Readonly<Record<string, string | number>>;
      readonly startedAtMs?: number;
    },
  ): Span;
}

/** Counters and gauges by name; names and labels are declared once in `telemetry.ts`. */
export interface Meter {
  count(name: string, labels?: Readonly<Record<string, string>>, by?: number): void;
  /** `undefined`: not known now; nothing is told of it until it is again. */
  gauge(name: string, value: number | undefined, labels?: Readonly<Record<string, string>>): void;
  observeMs(name: string, ms: number, labels?: Readonly<Record<string, string>>): void;
}
