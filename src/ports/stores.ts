/** Stored values: runs, requests, subscriptions, gates, logs, results. */
import type { Observable } from 'rxjs';
import type { LogCursor } from '../core/log/cursor.ts';
import type { ResultRef } from '../wire/outcome.ts';
import type { ConcurrencySlots, QueueRecord } from '../wire/queues.ts';
import type { SlotHolder } from '../wire/presence.ts';
import type { RunState } from '../wire/run-state.ts';
import type { RunKey } from '../wire/subjects.ts';
import type { Subscription } from '../wire/triggers.ts';

/** A stored value with the revision that a compare-and-set expects. */
export interface Versioned<T> {
  readonly value: T;
  readonly revision: number;
}

/** Outcome of a compare-and-set. `conflict` carries the leader's present value; `undefined` where the key does not exist. */
export type CasOutcome<T> =
  | { readonly kind: 'written'; readonly revision: number }
  | { readonly kind: 'conflict'; readonly current: Versioned<T> | undefined };

/** Run states, written by compare-and-set. Each write carries an operation id (`op`). */
export interface RunStore {
  /** Reads from any replica; from the leader with `leader`, or where the replica is behind `atLeastRevision`. */
  read(
    run: RunKey,
    options?: { readonly leader?: boolean; readonly atLeastRevision?: number },
  ): Promise<Versioned<RunState> | undefined>;
  /** `expectedRevision` 0: must not exist. After a lost acknowledgement, the leader's `op` shows whether the write was applied. */
  write(run: RunKey, state: RunState, expectedRevision: number): Promise<CasOutcome<RunState>>;
  /**
   * One page of the states of a tenant (of all tenants where absent), in stream order. `after`, `next`: revisions. `maxBytes`: of the states
   * as stored; the page ends before it would be larger, but has one run at least.
   */
  list(options: {
    readonly tenant?: string;
    readonly after?: number;
    readonly limit: number;
    readonly maxBytes?: number;
  }): Promise<{ readonly runs: readonly (RunKey & Versioned<RunState>)[]; readonly next: number | undefined }>;
  delete(run: RunKey, revision: number): Promise<void>;
}

/** An entry of the bucket of requests, without its content. */
export interface StoredRequest {
  readonly run: RunKey;
  readonly revision: number;
  /** When it was stored, epoch milliseconds, broker time. */
  readonly at: number;
  readonly bytes: number;
  /** The entry is a deletion marker. */
  readonly deleted: boolean;
}

/** Validated requests. Their content never changes once written. */
export interface RequestStore {
  /**
   * Stores the request of a run that is about to be made, or returns the one that exists. The same content twice is `created` both times. An
   * existing request is written again, unchanged, under a new revision: a janitor that found the old revision without a run can then no longer
   * delete it.
   */
  claim(
    run: RunKey,
    request: unknown,
  ): Promise<{ readonly kind: 'created' } | { readonly kind: 'exists'; readonly request: unknown }>;
  read(run: RunKey): Promise<unknown>;
  /** The first entry after revision `after`, in stream order, which is the order of time. */
  next(after: number): Promise<StoredRequest | undefined>;
  /** Deletes it; with `revision`, only that one. Whether this call deleted it. */
  delete(run: RunKey, revision?: number): Promise<boolean>;
}

/** Trigger subscriptions: one key per run. */
export interface SubscriptionStore {
  read(run: RunKey): Promise<Versioned<Subscription> | undefined>;
  /** Without `expectedRevision` it reads the present revision first. A stale expectation is a conflict. */
  put(run: RunKey, subscription: Subscription, expectedRevision?: number): Promise<CasOutcome<Subscription>>;
  delete(run: RunKey): Promise<void>;
  /** All subscriptions and gates, then each change, in one order; never completes. `synced` after each complete read. `replica`: unique per watch. */
  changes$(replica: string): Observable<SubscriptionChange | GateChange>;
}

/** Gates that hold runs back: paused queues, slots of concurrency keys. Writes return `false` where another process wrote first. */
export interface GateStore {
  /** From the leader; `undefined`: the queue is open. */
  queue(queue: string): Promise<Versioned<QueueRecord> | undefined>;
  /** Without `record` the queue is opened. `expectedRevision` 0: no record yet. */
  setQueue(queue: string, record: QueueRecord | undefined, expectedRevision: number): Promise<boolean>;
  /** From the leader; `undefined`: no slot is taken. */
  concurrencySlots(tenant: string, concurrencyKey: string): Promise<Versioned<ConcurrencySlots> | undefined>;
  setConcurrencySlots(
    tenant: string,
    concurrencyKey: string,
    slots: ConcurrencySlots | undefined,
    expectedRevision: number,
  ): Promise<boolean>;
}

/** Slots of executor queues, one key each: a slot has one holder, whichever executor asks for it. */
export interface SlotStore {
  /** All slots of all queues that were ever held, then each change; never completes. `synced` after each complete read. `replica`: unique per watch. */
  changes$(replica: string): Observable<SlotChange>;
  /**
   * Writes a slot's holder, or none, over `expectedRevision` (0: never held). The new revision; `undefined` where another process wrote first.
   * @throws ReentryError transient, after 15 s without an answer: whether it was written is unknown
   */
  write(
    queue: string,
    slot: number,
    holder: SlotHolder | undefined,
    expectedRevision: number,
  ): Promise<number | undefined>;
}

/** A slot changed. `lost`: its bucket was created anew, without it. */
export type SlotChange =
  | {
      readonly kind: 'slot';
      readonly queue: string;
      readonly slot: number;
      readonly holder: SlotHolder | undefined;
      readonly revision: number;
    }
  | { readonly kind: 'lost'; readonly queue: string; readonly slot: number }
  | { readonly kind: 'synced' };

/** A gate changed. Without a value it is open. */
export type GateChange =
  | { readonly kind: 'queue'; readonly queue: string; readonly record: QueueRecord | undefined }
  | {
      readonly kind: 'concurrencySlots';
      readonly tenant: string;
      readonly concurrencyKey: string;
      readonly slots: ConcurrencySlots | undefined;
    };

/** A subscription changed. */
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
  /** About once a second: everything written before this has been emitted. */
  | { readonly kind: 'alive' };

export type { LogCursor } from '../core/log/cursor.ts';

/** Stored logs. The last chunk of a container carries the cursor where its stored log ends. */
export interface LogStore {
  /** Where the stored log of a container ends. `sequence` 0: nothing is stored. */
  end(
    run: RunKey,
    attempt: number,
    container: string,
  ): Promise<{ readonly cursor: LogCursor | undefined; readonly sequence: number }>;
  /** `wrongSequence`: another writer stored a chunk meanwhile; read `end` again. */
  append(
    run: RunKey,
    attempt: number,
    container: string,
    /** `text`: whole lines, as text or UTF-8. The bytes may be overwritten once the promise has settled. */
    chunk: { readonly text: string | Uint8Array; readonly to: LogCursor },
    expectedSequence: number,
  ): Promise<{ readonly kind: 'stored'; readonly sequence: number } | { readonly kind: 'wrongSequence' }>;
  /**
   * One page of the history, in stream order. `after`, `next`: sequences. `maxBytes`: of the page's texts as JSON; the page ends before it
   * would be larger, but has one chunk at least.
   */
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

/** One stored chunk: whole lines, each `<RFC 3339 time with nanoseconds> <text>`. */
export interface StoredLogChunk {
  /** Sequence in the log stream; 0 for a chunk received as a core message. */
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
