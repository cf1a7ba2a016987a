/** What a worker is given, and the engine that its parts share. */
import { share } from 'rxjs';
import type { Observable } from 'rxjs';
import { RETRY_POLICY } from '../core/run/retry.ts';
import type { RetryPolicy } from '../core/run/retry.ts';
import type { Operator } from '../operator/operator.ts';
import type { Log, Meter, Tracer } from '../ports/ambient.ts';
import type { WorkerBroker } from '../ports/broker.ts';
import type { Availability, Clusters } from '../ports/cluster.ts';
import type { ConcurrencyLimits } from '../queue/concurrency.ts';
import { LiveFollows } from './live-logs.ts';
import { Progress } from './progress.ts';
import { BlockingRuns } from './protocol/blocking.ts';
import type { QueueCredits, StartPermits } from './protocol/deliveries.ts';
import type { Engine } from './protocol/engine.ts';
import { KnownRequests } from './protocol/known-requests.ts';
import { operatorStep } from './protocol/operator-step.ts';
import { NO_TRACER } from './protocol/tracing.ts';

/** What a worker is given. */
export interface WorkerDeps {
  readonly broker: WorkerBroker;
  readonly clusters: Clusters;
  /** Which connections and namespaces can be used now. Default: taken to be all. */
  readonly availability?: Availability | undefined;
  /** What is wrong with this process, for `doctor`. Default: nothing. */
  readonly problems?: () => readonly string[];
  /** What `/healthz` is judged by. Default: one that is not read. */
  readonly progress?: Progress;
  readonly operators: readonly Operator<unknown>[];
  /** Operators of the other kind of queue, for services and repairs. Default: none. */
  readonly foreign?: readonly Operator<unknown>[];
  /** Rations launches, by queue. Default: only the credits do. */
  readonly permitsOf?: (queue: string) => StartPermits | undefined;
  readonly settings: WorkerSettings;
  readonly log: Log;
  readonly meter: Meter;
  /** Default: no spans. */
  readonly tracer?: Tracer | undefined;
}

/** How a worker is set up. */
export interface WorkerSettings {
  /** The role that it reports to `doctor`. Default `worker`. */
  readonly role?: 'worker' | 'executor' | undefined;
  /** Version of the program, for `doctor`. */
  readonly version?: string | undefined;
  /** Unique among the live workers. */
  readonly id: string;
  readonly queues: readonly string[];
  /** Queues of the other kind, so that `submit` can reject a wrong one at once. Default: none. */
  readonly foreignQueues?: readonly string[] | undefined;
  /** Messages held at a time, per queue: a worker full of starts still serves `ctl` and `resume`. */
  readonly credits: QueueCredits;
  /** How often the gauge of waiting runs is updated. Default 15 s. */
  readonly queueGaugesEveryMs?: number | undefined;
  readonly installation: string;
  /** Namespaces that the installation watches; absent: all. */
  readonly namespaces?: readonly string[] | undefined;
  /** How long ended runs are kept. */
  readonly retentionMs: number;
  /** How long retained pods stay after their end. */
  readonly keepPodMs: number;
  /** Default `RETRY_POLICY`. */
  readonly retryPolicy?: RetryPolicy | undefined;
  /** Concurrency slots by `tenant/key`, `key` or `*`; a key without a limit has one. */
  readonly concurrencyLimits: ConcurrencyLimits;
}

/** The engine of one worker. `stopped$` must replay: a blocking run may begin to wait after the stop. */
export function workerEngine(deps: WorkerDeps, stopped$: Observable<unknown>): Engine {
  const {
    broker,
    clusters,
    availability,
    operators,
    foreign = [],
    progress = new Progress(),
    settings,
    log,
    meter,
    tracer = NO_TRACER,
  } = deps;
  const { id, queues, foreignQueues = [], installation, namespaces, concurrencyLimits } = settings;
  const byName = (ones: readonly Operator<unknown>[]) => new Map(ones.map((operator) => [operator.name, operator]));
  const engine: Engine = {
    ...{
      broker,
      clusters,
      availability,
      queues,
      foreignQueues,
      id,
      installation,
      namespaces,
      concurrencyLimits,
      log,
      meter,
      tracer,
    },
    operators: byName(operators),
    foreign: byName(foreign),
    progress,
    policy: settings.retryPolicy ?? RETRY_POLICY,
    known: new KnownRequests(),
    blocking: new BlockingRuns(installation, broker.nudges$(id).pipe(share()), stopped$),
    follows: new LiveFollows({
      ...{ live: broker.live, runs: broker.runs, id, log, meter },
      follow: async (run, state, publish, signal) => {
        const { operator, context } = await operatorStep(engine, run, state);
        await operator.followLogs?.(context, publish, signal);
      },
    }),
  };
  return engine;
}
