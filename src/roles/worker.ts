import {
  EMPTY,
  catchError,
  concatMap,
  distinctUntilChanged,
  exhaustMap,
  filter,
  from,
  ignoreElements,
  map,
  merge,
  share,
  shareReplay,
  take,
  takeUntil,
  tap,
  timer,
} from 'rxjs';
import type { Observable } from 'rxjs';
import type { ConcurrencyLimits } from '../queue/concurrency.ts';
import { RETRY_POLICY } from '../core/run/retry.ts';
import type { RetryPolicy } from '../core/run/retry.ts';
import type { Operator } from '../operator/operator.ts';
import type { Log, Meter, Tracer } from '../ports/ambient.ts';
import type { Delivery, WorkerBroker } from '../ports/broker.ts';
import type { Clusters } from '../ports/cluster.ts';
import type { Work } from '../run.ts';
import { LANES, VERBS } from '../wire/subjects.ts';
import type { Lane } from '../wire/subjects.ts';
import { dec } from '../wire/tokens.ts';
import { countedLogs } from '../worker/protocol/counted-logs.ts';
import type { Engine } from '../worker/protocol/engine.ts';
import { intakeHandler } from '../worker/protocol/intake.ts';
import { operatorStep } from '../worker/protocol/operator-step.ts';
import { Follows } from '../worker/live-logs.ts';
import { BlockingRuns } from '../worker/protocol/blocking.ts';
import { KnownRequests } from '../worker/protocol/known-requests.ts';
import { Janitor, LEASE_EVERY_MS } from '../worker/upkeep/janitor.ts';
import { laneHandler } from '../worker/protocol/step.ts';
import { NO_TRACER } from '../worker/protocol/tracing.ts';
import { answer } from '../worker/services/services.ts';
import { FULL_AT } from '../worker/services/submit.ts';
import { queueWaiting$ } from '../worker/upkeep/queue-waiting.ts';
import type { StartPermits } from '../worker/protocol/start-permits.ts';

/** What a worker is given. */
export interface WorkerDeps {
  readonly broker: WorkerBroker;
  readonly clusters: Clusters;
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
  /** As whom it answers `doctor`. Default `worker`. */
  readonly role?: 'worker' | 'executor' | undefined;
  /** Version of the program, for `doctor`. */
  readonly version?: string | undefined;
  /** Unique among the live workers. */
  readonly id: string;
  readonly queues: readonly string[];
  /** Queues of the other kind, so that `submit` can name a wrong one at once. Default: none. */
  readonly foreignQueues?: readonly string[] | undefined;
  /** Messages held at a time, per queue: a worker full of starts still serves `ctl` and `resume`. */
  readonly credits: Readonly<Record<Lane | 'intake', number>>;
  /** How often it tells what waits in its queues. Default 15 s. */
  readonly lookAtQueuesMs?: number | undefined;
  readonly installation: string;
  /** Namespaces the installation watches; absent: all. */
  readonly namespaces?: readonly string[] | undefined;
  /** How long ended runs are kept. */
  readonly retentionMs: number;
  /** How long retained pods stay after their end. */
  readonly keepPodMs: number;
  readonly retryPolicy?: RetryPolicy | undefined;
  /** Concurrency slots by `tenant/key`, `key` or `*`; a key without a limit has one. */
  readonly concurrencyLimits: ConcurrencyLimits;
}

const LOOK_AT_FILL_MS = 5_000;

/** A worker's work, and why it cannot do it now (empty: it can). */
export type Worker = Work & { readonly problems: () => readonly string[] };

/** A worker: intake and three lanes per queue, services, janitor. Ends, after `stop$`, when the last step it had begun is settled. */
export function worker(deps: WorkerDeps): Worker {
  const { broker, clusters, operators, foreign = [], permitsOf, settings, log, meter } = deps;
  const engineUntil = (stop$: Observable<unknown>): Engine => {
    const engine: Engine = {
      broker: { ...broker, logs: countedLogs(broker.logs, meter) },
      clusters,
      operators: new Map(operators.map((operator) => [operator.name, operator])),
      foreign: new Map(foreign.map((operator) => [operator.name, operator])),
      queues: settings.queues,
      foreignQueues: settings.foreignQueues ?? [],
      id: settings.id,
      installation: settings.installation,
      namespaces: settings.namespaces,
      policy: settings.retryPolicy ?? RETRY_POLICY,
      concurrencyLimits: settings.concurrencyLimits,
      known: new KnownRequests(),
      held: new BlockingRuns(settings.installation, broker.nudges$(settings.id).pipe(share()), stop$),
      follows: new Follows({
        ...{ live: broker.live, runs: broker.runs, id: settings.id, log, meter },
        follow: async (run, state, publish, signal) => {
          const { operator, context } = await operatorStep(engine, run, state, undefined);
          await operator.followLogs?.(context, publish, signal);
        },
      }),
      log,
      meter,
      tracer: deps.tracer ?? NO_TRACER,
    };
    return engine;
  };
  const { credits } = settings;
  let isConnected = false;
  const work$ = (stop$: Observable<unknown>): Observable<never> => {
    const stopped$ = stop$.pipe(take(1), shareReplay({ bufferSize: 1, refCount: false }));
    const engine = engineUntil(stopped$);
    const queues = settings.queues.map((queue) => {
      const permits = permitsOf?.(queue);
      return merge(
        whileRoom$(engine, stop$, (full$) =>
          broker.queues.intake$(queue, credits.intake, intakeHandler(engine, queue), full$),
        ),
        ...LANES.map((lane) => {
          const handle = laneHandler(engine, lane);
          return permits === undefined || lane !== 'start'
            ? broker.queues.steps$(queue, lane, credits[lane], handle, stop$)
            : broker.queues.steps$(queue, lane, permits.credits, withPermit(permits, handle, stopped$), stop$);
        }),
      );
    });
    // Questions are answered until the stop; what is asked after it, a sibling hears.
    const services = VERBS.map((verb) =>
      broker.services.serve$(verb, (tenant, data) => answer(engine, verb, tenant, data)).pipe(takeUntil(stop$)),
    );
    return merge(
      // Heard from the beginning, so that a run which comes to its hold after the stop is told of it.
      stopped$.pipe(
        tap(() => {
          engine.follows.stop();
        }),
        ignoreElements(),
      ),
      ...queues,
      ...services,
      broker.connected$.pipe(
        tap((up) => {
          isConnected = up;
          meter.gauge('broker_connected', up ? 1 : 0);
        }),
        ignoreElements(),
        takeUntil(stop$),
      ),
      broker.queries
        .answer$('roles', () => {
          const { id, queues: served, version = '', role = 'worker' } = settings;
          return { role, id, version, queues: served, clockOffsetMs: broker.clockOffsetMs() };
        })
        .pipe(takeUntil(stop$)),
      janitor$(engine, settings).pipe(takeUntil(stop$)),
      queueWaiting$(engine, settings.queues, settings.lookAtQueuesMs).pipe(takeUntil(stop$)),
    );
  };
  return Object.assign(work$, { problems: () => (isConnected ? [] : ['is not connected to NATS']) });
}

/** Start messages in the order of their slots: what has none waits here, under way, or goes back when this process stops. */
function withPermit(
  permits: StartPermits,
  handle: (delivery: Delivery) => Promise<void>,
  stopped$: Observable<unknown>,
): (delivery: Delivery) => Promise<void> {
  return async (delivery) => {
    const { tenantToken, runIdToken } = delivery;
    const run = { tenant: dec(tenantToken) ?? tenantToken, runId: dec(runIdToken) ?? runIdToken };
    const release = await permits.acquire(run, stopped$);
    if (release === undefined) return delivery.nak();
    try {
      await handle(delivery);
    } finally {
      release();
    }
  };
}

/** Takes requests in while there is room; what has begun goes on regardless, so that finishing always has room. @see spec protocol §2 */
function whileRoom$(
  { broker, meter, log }: Engine,
  stop$: Observable<unknown>,
  intake$: (stop$: Observable<unknown>) => Observable<never>,
): Observable<never> {
  const room$ = timer(0, LOOK_AT_FILL_MS).pipe(
    exhaustMap(() =>
      from(broker.fill()).pipe(
        catchError((error: unknown) => {
          log.debug({ error: String(error) }, 'fill of the buckets not known; as before');
          return EMPTY;
        }),
      ),
    ),
    tap((fill) => {
      meter.gauge('bucket_fill_ratio', fill);
    }),
    map((fill) => fill < FULL_AT),
    distinctUntilChanged(),
    takeUntil(stop$),
    shareReplay({ bufferSize: 1, refCount: true }),
  );
  return room$.pipe(
    // An intake ends by itself when the room does; the next begins after it.
    concatMap((room) => (room ? intake$(merge(stop$, room$.pipe(filter((still) => !still)))) : EMPTY)),
  );
}

function janitor$(engine: Engine, { retentionMs, keepPodMs }: WorkerSettings) {
  const janitor = new Janitor(engine, { retentionMs, keepPodMs });
  return timer(0, LEASE_EVERY_MS).pipe(
    // A sweep may take longer than the interval between two.
    exhaustMap(() =>
      from(janitor.tick(performance.now())).pipe(
        catchError((error: unknown) => {
          engine.log.warn({ error: String(error) }, 'the janitor could not work; tried again');
          return EMPTY;
        }),
      ),
    ),
    ignoreElements(),
  );
}
