/** Stored values: runs, requests, subscriptions, gates, logs, results. */
import type { LogCursor } from '../core/log/cursor.ts';
import type { ResultRef } from '../wire/outcome.ts';
import type { QueueRecord, ConcurrencySlots } from '../wire/queues.ts';
import type { RunState } from '../wire/run-state.ts';
import type { Subscription } from '../wire/triggers.ts';
import type { RunKey } from '../wire/subjects.ts';
import type { Observable } from 'rxjs';

/** A stored value with the revision that a compare-and-set expects. */
export interface Versioned<T> {
  readonly value: T;
  readonly revision: number;
}

/** What a compare-and-set came to. `conflict` carries the leader's value (absent: no such key). */
export type CasOutcome<T> =
  | { readonly kind: 'written'; readonly revision: number }
  | { readonly kind: 'conflict'; readonly current: Versioned<T> | undefined };

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
  concurrencySlots(tenant: string, concurrencyKey: string): Promise<Versioned<ConcurrencySlots> | undefined>;
  setConcurrencySlots(
    tenant: string,
    concurrencyKey: string,
    slots: ConcurrencySlots | undefined,
    expectedRevision: number,
  ): Promise<boolean>;
}

/** A gate changed; without value it is open. Told in one order with the subscriptions. */
export type GateChange =
  | { readonly kind: 'queue'; readonly queue: string; readonly record: QueueRecord | undefined }
  | {
      readonly kind: 'concurrencySlots';
      readonly tenant: string;
      readonly concurrencyKey: string;
      readonly slots: ConcurrencySlots | undefined;
    };

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

export type { LogCursor } from '../core/log/cursor.ts';

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

/** Result objects. */
export interface ResultStore {
  put(run: RunKey, attempt: number, name: string, data: Uint8Array): Promise<ResultRef>;
  get(run: RunKey, attempt: number, name: string): Promise<Uint8Array | undefined>;
}
