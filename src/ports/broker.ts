/** What roles need of NATS beside its stores: work queues, publishing, questions, live logs, membership. */
import type { ExecutorHeartbeat, Heartbeat, Claim, RolePresence } from '../wire/presence.ts';
import type { CompletedData, LifecycleData } from '../wire/events.ts';
import type { Diagnosis } from '../wire/outcome.ts';
import type { QueueLoad, QueuePosition } from '../wire/queues.ts';
import type { ServiceReply } from '../wire/services.ts';
import type { CtlMessage, ResumeMessage, StartMessage } from '../wire/steps.ts';
import type { EventType, Lane, RoleQuery, RunKey, Verb } from '../wire/subjects.ts';
import type {
  Versioned,
  RunStore,
  RequestStore,
  SubscriptionStore,
  GateStore,
  LogCursor,
  LogStore,
  ResultStore,
} from './stores.ts';
import type { Observable } from 'rxjs';

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
  undelivered(queue: string): Promise<number>;
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

/** What roles ask each other. No answer within a second is `undefined`: a question never holds anybody up. */
export interface RoleQueries {
  /** Where a run that waits for its turn stands; `undefined` too where it does not wait. */
  queuePosition(run: RunKey): Promise<QueuePosition | undefined>;
  queues(): Promise<readonly QueueLoad[] | undefined>;
  /** All roles that answer within that time. */
  roles(withinMs: number): Promise<readonly RolePresence[]>;
  /** `roles` is asked of everybody, the others of one of those who answer. */
  answer$(question: RoleQuery, handle: (data: unknown) => unknown): Observable<never>;
}

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
export type FollowRequest =
  { readonly kind: 'renew'; readonly join: boolean } | { readonly kind: 'claim'; readonly by: string };

/** Live logs: core messages, never stored. @see spec protocol §9 */
export interface LiveLogs {
  /** Resolves when the broker has it. */
  publish(run: RunKey, chunk: LiveChunk): Promise<void>;
  /** Asks whoever follows the run; false: nobody does. */
  requestFollow(run: RunKey, ask: FollowRequest): Promise<boolean>;
  /** Tells other followers of the run that there is one. */
  claimFollow(run: RunKey, by: string): void;
  /** Answers what is asked about the run, and gives it to `heard`, until it is disposed. */
  onFollowRequest(run: RunKey, heard: (ask: FollowRequest) => void): Disposable;
}

/** What becomes of claims. */
export type ClaimChange =
  | { readonly kind: 'put'; readonly key: string; readonly claim: Claim; readonly revision: number }
  | { readonly kind: 'deleted'; readonly key: string }
  | { readonly kind: 'synced' };

/** Who is alive and who owns which shard. */
export interface Membership {
  publishHeartbeat(heartbeat: Heartbeat): void;
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
  publishHeartbeat(beat: ExecutorHeartbeat): void;
  /** What executors say of themselves, their own words included. */
  readonly heartbeats$: Observable<ExecutorHeartbeat>;
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
  readonly queries: RoleQueries;
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
