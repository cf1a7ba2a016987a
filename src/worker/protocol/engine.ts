import type { ConcurrencyLimits } from '../../queue/concurrency.ts';
import type { RetryPolicy } from '../../core/run/retry.ts';
import type { Operator } from '../../operator/operator.ts';
import type { Log, Meter, Tracer } from '../../ports/ambient.ts';
import type { WorkerBroker } from '../../ports/broker.ts';
import type { Clusters } from '../../ports/cluster.ts';
import type { Follows } from '../live-logs.ts';
import type { BlockingRuns } from './blocking.ts';
import type { KnownRequests } from './known-requests.ts';

/** All that the run protocol needs of the outside, and who carries it out. */
export interface Engine {
  readonly broker: WorkerBroker;
  readonly clusters: Clusters;
  /** By name: what the queues of this process run. */
  readonly operators: ReadonlyMap<string, Operator<unknown>>;
  /** By name: what queues of the other kind run. Known here for services and repairs only. */
  readonly foreign: ReadonlyMap<string, Operator<unknown>>;
  /** The queues this process serves. */
  readonly queues: readonly string[];
  /** Queues of the other kind, as far as this process knows. */
  readonly foreignQueues: readonly string[];
  /** This worker, unique among the live ones. */
  readonly id: string;
  readonly installation: string;
  /** Namespaces the installation watches; `undefined`: all. */
  readonly namespaces: readonly string[] | undefined;
  readonly policy: RetryPolicy;
  /** How many runs of a concurrency key run at once. */
  readonly concurrencyLimits: ConcurrencyLimits;
  /** Requests lately read. */
  readonly known: KnownRequests;
  /** Runs that keep their slot while their pod runs. */
  readonly held: BlockingRuns;
  /** Runs whose log is sent live to whoever listens. */
  readonly follows: Follows;
  readonly log: Log;
  readonly meter: Meter;
  readonly tracer: Tracer;
}

/** What becomes of a delivered message. */
export type Settled = { readonly kind: 'ack' } | { readonly kind: 'nak'; readonly delayMs: number };

/** Done with this message. */
export const ACK: Settled = { kind: 'ack' };
