/** The slots of all queues that one executor serves: held in NATS, freed as its watches show pods to end. */
import {
  catchError,
  defer,
  distinctUntilChanged,
  EMPTY,
  exhaustMap,
  from,
  ignoreElements,
  merge,
  type Observable,
  tap,
  timer,
} from 'rxjs';
import { HEARTBEAT_MS } from '../core/ownership.ts';
import type { PodRef } from '../core/pod/projection.ts';
import type { Log, Meter } from '../ports/ambient.ts';
import type { ExecutorMembers } from '../ports/broker.ts';
import type { Clusters, PodSignal } from '../ports/cluster.ts';
import type { RunStore, SlotStore } from '../ports/stores.ts';
import { isOver } from './over.ts';
import type { RunAttempt } from './slots.ts';
import { SlotPermits } from './start-permits.ts';

/** How often left-over slots are searched for, in milliseconds. */
const REPAIR_EVERY_MS = 500;

/** How long starts wait for a watch that fails, in milliseconds. */
const FIRST_LIST_WITHIN_MS = 15_000;

/** Settings of an executor's slots. */
export interface ExecutorSlotsOptions {
  /** This executor, unique among the live ones. */
  readonly id: string;
  readonly queues: readonly string[];
  /** Live pods of each queue, over all executors that serve it. */
  readonly parallelism: number;
  /** Start messages of a queue held here at a time. */
  readonly startCredits: number;
  readonly broker: { readonly slots: SlotStore; readonly runs: Pick<RunStore, 'read'> };
  readonly clusters: Pick<Clusters, 'get'>;
  readonly log: Log;
  readonly meter: Meter;
  /** Monotonic milliseconds. Default `performance.now`. */
  readonly now?: () => number;
}

/** What the slots need of NATS. */
export interface SlotsBroker {
  readonly connected$: Observable<boolean>;
  readonly executors: ExecutorMembers;
}

/** The slots of one executor process. */
export class ExecutorSlots {
  readonly #options: ExecutorSlotsOptions;
  readonly #permits: ReadonlyMap<string, SlotPermits>;

  constructor(options: ExecutorSlotsOptions) {
    const { queues, broker, now = () => performance.now() } = options;
    const shared = { ...options, now, store: broker.slots, isOver: isOver(options) };
    this.#options = options;
    this.#permits = new Map(queues.map((queue) => [queue, new SlotPermits({ ...shared, queue })]));
  }

  /** Permits of one queue; `undefined` for a queue of workers. */
  permitsOf(queue: string): SlotPermits | undefined {
    return this.#permits.get(queue);
  }

  /** To be called with each pod that the operator has created or adopted. */
  podCreated(queue: string, attempt: RunAttempt, pod: Pick<PodRef, 'uid'>): void {
    this.#permits.get(queue)?.created(attempt, pod);
  }

  /** To be called where the operator cannot know whether it created the attempt's pod. */
  creationUncertain(queue: string, attempt: RunAttempt): void {
    this.#permits.get(queue)?.uncertain(attempt);
  }

  /** Why nothing can start; empty: it can. */
  get problems(): readonly string[] {
    return this.#all.flatMap(({ problems }) => problems);
  }

  /**
   * Counts the live pods that `watches` show. Nothing starts before each of them has delivered its first list; one that only fails is not waited for
   * longer than `FIRST_LIST_WITHIN_MS`, as long as another works: its pods are counted when it does. Never completes.
   */
  count$(watches: readonly Observable<PodSignal>[]): Observable<never> {
    return defer(() => {
      const unsynced = new Set(watches);
      const failing = new Set<Observable<PodSignal>>();
      let isLate = false;
      const isSynced = () =>
        unsynced.size === 0 || (isLate && unsynced.size < watches.length && unsynced.isSubsetOf(failing));
      const counted = watches.map((watch$) =>
        watch$.pipe(
          tap((signal) => {
            if (signal.kind === 'synced') unsynced.delete(watch$);
            if (signal.kind === 'lagging') failing.add(watch$);
            else failing.delete(watch$);
            for (const permits of this.#all) permits.observe(signal, isSynced());
          }),
        ),
      );
      const late$ = timer(FIRST_LIST_WITHIN_MS).pipe(
        tap(() => {
          isLate = true;
          for (const permits of this.#all) permits.synced(isSynced());
        }),
      );
      return merge(...counted, late$).pipe(ignoreElements());
    });
  }

  /** Follows the slots in NATS, and repairs what crashes leave over. Never completes. */
  hold$(): Observable<never> {
    const { id, broker, log } = this.#options;
    const changes$ = broker.slots.changes$(id).pipe(
      tap((change) => {
        if (change.kind !== 'synced') this.#permits.get(change.queue)?.change(change);
        else for (const permits of this.#all) permits.change(change);
      }),
    );
    const repairs$ = this.#all.map((permits) =>
      timer(0, REPAIR_EVERY_MS).pipe(
        // A repair may take longer than the interval between two.
        exhaustMap(() =>
          from(permits.repair()).pipe(
            catchError((error: unknown) => {
              log.warn({ queue: permits.queue, error: String(error) }, 'repairing slots failed; trying again');
              return EMPTY;
            }),
          ),
        ),
      ),
    );
    return merge(changes$, ...repairs$).pipe(ignoreElements());
  }

  /** Publishes this executor's heartbeats and receives the others'. Never completes. */
  exchange$({ connected$, executors }: SlotsBroker): Observable<never> {
    const connection$ = connected$.pipe(
      distinctUntilChanged(),
      tap((isConnected) => {
        for (const permits of this.#all) permits.connected(isConnected);
      }),
    );
    const received$ = executors.heartbeats$.pipe(
      tap((heartbeat) => {
        this.#permits.get(heartbeat.queue)?.receive(heartbeat);
      }),
    );
    const regular$ = timer(0, HEARTBEAT_MS).pipe(
      tap(() => {
        for (const permits of this.#all) executors.publishHeartbeat(permits.tick());
      }),
    );
    return merge(connection$, received$, regular$).pipe(ignoreElements());
  }

  /** Starts nothing any more, and announces it: the other executors need not wait until this one counts as dead. */
  leave(executors: ExecutorMembers): void {
    for (const permits of this.#all) {
      permits.stop();
      executors.publishHeartbeat(permits.tick());
    }
  }

  get #all(): readonly SlotPermits[] {
    return [...this.#permits.values()];
  }
}
