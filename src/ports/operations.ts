/** What running an installation needs of NATS, with the permissions of `setup`. */
import type { Lane, RunKey } from '../wire/subjects.ts';
import type { RoleQueries } from './broker.ts';
import type { RunStore, RequestStore, GateStore } from './stores.ts';

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
  readonly queries: Pick<RoleQueries, 'queues' | 'roles'>;
  /** Every queue that was set up, and how many messages its lanes hold: waiting for a worker, or in one's hands. */
  queues(): Promise<readonly QueueLanes[]>;
  readonly runs: Pick<RunStore, 'read'>;
  readonly requests: Pick<RequestStore, 'read'>;
  /** Publishes a run request under a message id; `duplicate`: the stream had it already. */
  publishRun(queue: string, run: RunKey, data: Uint8Array, id: string): Promise<{ readonly duplicate: boolean }>;
}
