/** What running an installation needs of NATS, with the permissions of `setup`. */
import type { Lane, RunKey } from '../wire/subjects.ts';
import type { RoleQueries } from './broker.ts';
import type { RunStore, RequestStore, GateStore } from './stores.ts';

/** A copy of a message that workers gave up on, with the reason. */
export interface DeadLetter {
  /** Sequence in the stream; names it for `dlq show` and `dlq replay`. */
  readonly sequence: number;
  /** `run` (a request) or `step`. */
  readonly kind: string;
  readonly run: RunKey;
  /** When it was stored, epoch milliseconds. */
  readonly at: number;
  readonly why: { readonly code: string; readonly category: string; readonly summary: string };
  readonly data: Uint8Array;
  /** Size of the original, where it was larger than one message may be and was cut. */
  readonly truncatedFromBytes?: number;
}

/** The dead-letter stream. */
export interface DeadLetters {
  /** One page in stream order, of one tenant or of all. `after`, `next`: sequences. */
  list(options: {
    readonly tenant?: string;
    readonly after?: number;
    readonly limit: number;
  }): Promise<{ readonly letters: readonly DeadLetter[]; readonly next: number | undefined }>;
  read(sequence: number): Promise<DeadLetter | undefined>;
}

/** Messages in a queue's consumers. */
export interface QueueLanes {
  readonly queue: string;
  readonly kind: 'worker' | 'executor';
  /** Run requests not yet taken in. */
  readonly requests: number;
  /** Step messages by lane. */
  readonly steps: Readonly<Record<Lane, number>>;
}

/** All that the commands of an installation's operator need of NATS. */
export interface Operations extends AsyncDisposable {
  readonly deadLetters: DeadLetters;
  readonly gates: Pick<GateStore, 'queue' | 'setQueue'>;
  readonly queries: Pick<RoleQueries, 'queues' | 'roles'>;
  /** Every queue that was set up, with the messages of its lanes: those that wait, and those delivered but not yet acked. */
  queues(): Promise<readonly QueueLanes[]>;
  readonly runs: Pick<RunStore, 'read'>;
  readonly requests: Pick<RequestStore, 'read'>;
  /** Publishes a run request. `duplicate`: the stream has a message with this id already. */
  publishRun(queue: string, run: RunKey, data: Uint8Array, id: string): Promise<{ readonly duplicate: boolean }>;
}
