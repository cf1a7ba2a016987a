/** What the rooms of a worker share. A handler takes only the parts it names: `Pick<Engine, …>`, and of the broker `BrokerParts<…>`. */
import type { RetryPolicy } from '../../core/run/retry.ts';
import type { Operator } from '../../operator/operator.ts';
import type { Log, Meter, Tracer } from '../../ports/ambient.ts';
import type { WorkerBroker } from '../../ports/broker.ts';
import type { Availability, Clusters } from '../../ports/cluster.ts';
import type { ConcurrencyLimits } from '../../queue/concurrency.ts';
import type { LiveFollows } from '../live-logs.ts';
import type { Progress } from '../progress.ts';
import type { BlockingRuns } from './blocking.ts';
import type { KnownRequests } from './known-requests.ts';

/** Everything a worker process works with. */
export interface Engine {
  readonly broker: WorkerBroker;
  readonly clusters: Clusters;
  /** Which connections and namespaces can be used now; absent: taken to be all. */
  readonly availability?: Availability | undefined;
  /** By name: operators of the queues that this process serves. */
  readonly operators: ReadonlyMap<string, Operator<unknown>>;
  /** By name: operators of the other kind of queue, for services and repairs only. */
  readonly foreign: ReadonlyMap<string, Operator<unknown>>;
  /** Queues that this process serves. */
  readonly queues: readonly string[];
  /** Queues of the other kind, as far as this process knows them. */
  readonly foreignQueues: readonly string[];
  /** This worker's id, unique among the live ones. */
  readonly id: string;
  readonly installation: string;
  /** Namespaces that the installation watches; `undefined`: all. */
  readonly namespaces: readonly string[] | undefined;
  readonly policy: RetryPolicy;
  /** Concurrency slots by key. */
  readonly concurrencyLimits: ConcurrencyLimits;
  /** Cache of requests. */
  readonly known: KnownRequests;
  /** Pods of blocking runs. */
  readonly blocking: BlockingRuns;
  /** Runs whose log is streamed live. */
  readonly follows: LiveFollows;
  /** What `/healthz` is judged by. */
  readonly progress: Progress;
  readonly log: Log;
  readonly meter: Meter;
  readonly tracer: Tracer;
}

/** The named members of the broker. */
export interface BrokerParts<K extends keyof WorkerBroker> {
  readonly broker: Pick<WorkerBroker, K>;
}
