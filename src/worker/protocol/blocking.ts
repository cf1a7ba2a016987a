/**
 * Blocking runs (`deferrable: false`): the worker keeps the run's message and executor slot while the pod runs, and waits for its events itself,
 * with the triggerer's pipeline for one subscription, on one watch per cluster and namespace.
 */
import {
  defer,
  exhaustMap,
  filter,
  finalize,
  firstValueFrom,
  from,
  interval,
  map,
  merge,
  race,
  share,
  switchMap,
  tap,
} from 'rxjs';
import type { Observable } from 'rxjs';
import { installationSelector } from '../../core/pod/labels.ts';
import type { PodRef } from '../../core/pod/projection.ts';
import type { StepContext } from '../../operator/operator.ts';
import type { Cluster } from '../../ports/cluster.ts';
import { firstEvent$ } from '../../trigger/first-event.ts';
import { WatchedPods, type WatchSignal } from '../../trigger/watched-pods.ts';
import { WIRE_VERSION } from '../../core/wire-version.ts';
import type { Await, Subscription, TriggerEvent } from '../../wire/triggers.ts';
import type { RunKey } from '../../wire/subjects.ts';

/** A worker is nudged when its blocking run is cancelled; in case that message is lost, it checks the run's owner this often. */
const CHECK_OWNER_EVERY_MS = 10_000;
/** A pod that the watch does not show is asked for this often. */
const CHECK_POD_EVERY_MS = 10_000;

/** What happened to a blocking run. */
export type BlockingEvent =
  | { readonly kind: 'event'; readonly event: TriggerEvent }
  | { readonly kind: 'cancelled' }
  /** The worker stops: another worker goes on. */
  | { readonly kind: 'stopped' };

/** A shared watch and what it has shown. */
interface SharedWatch {
  readonly pods: WatchedPods;
  readonly signals$: Observable<WatchSignal>;
}

/** The blocking runs of one worker. */
export class BlockingRuns {
  readonly #installation: string;
  readonly #nudges$: Observable<RunKey>;
  readonly #stop$: Observable<unknown>;
  /** By cluster and namespace; each for as long as a run there waits. */
  readonly #watches = new Map<string, SharedWatch>();

  /** `stop$` must emit to late subscribers, too: a run may begin to wait after the stop. */
  constructor(installation: string, nudges$: Observable<RunKey>, stop$: Observable<unknown>) {
    this.#installation = installation;
    this.#nudges$ = nudges$;
    this.#stop$ = stop$;
  }

  /** The next thing that happens to a blocking run. @throws ReentryError FENCED when another worker took it over */
  async next(context: StepContext<unknown>, pod: PodRef, wait: Await): Promise<BlockingEvent> {
    const { run } = context;
    const cancelled$ = merge(
      this.#nudges$.pipe(filter((nudged) => nudged.tenant === run.tenant && nudged.runId === run.runId)),
      interval(CHECK_OWNER_EVERY_MS),
    ).pipe(
      exhaustMap(() => from(context.checkOwner())),
      filter(({ cancelRequested }) => cancelRequested),
      map((): BlockingEvent => ({ kind: 'cancelled' })),
    );
    const stopped$ = this.#stop$.pipe(map((): BlockingEvent => ({ kind: 'stopped' })));
    const events$ = this.#event$(context, pod, wait).pipe(map((event): BlockingEvent => ({ kind: 'event', event })));
    return firstValueFrom(race(events$, cancelled$, stopped$), { defaultValue: { kind: 'stopped' } });
  }

  /** The first event of the pod: its state by one GET, since a watch that others began shows changes only, then the pipeline. */
  #event$(
    { run, queue, state, cluster: clusterOf, now }: StepContext<unknown>,
    pod: PodRef,
    wait: Await,
  ): Observable<TriggerEvent> {
    const subscription: Subscription = {
      v: WIRE_VERSION,
      queue,
      attempt: state.attempt,
      step: state.step,
      stateRev: 0,
      pod: { ...pod },
      await: wait,
      then: 'resume',
    };
    const settings = { absentAfterMs: CHECK_POD_EVERY_MS, maxCheckIntervalMs: CHECK_POD_EVERY_MS };
    return defer(() => {
      const cluster = clusterOf(pod.connection);
      const at = now();
      return from(cluster.findPod(pod)).pipe(
        switchMap((found) => {
          const { pods, signals$: pods$ } = this.#watch(cluster, pod, now);
          const findPod$ = (ref: PodRef) => from(cluster.findPod(ref));
          return firstEvent$(run, subscription, { pods$, pods, now, findPod$, found: { pod: found, at }, settings });
        }),
      );
    });
  }

  #watch(cluster: Cluster, { connection, namespace }: PodRef, now: () => number): SharedWatch {
    const key = `${connection}/${namespace}`;
    const known = this.#watches.get(key);
    if (known !== undefined) return known;
    const scope = { connection, namespace };
    const pods = new WatchedPods([scope]);
    const labelSelector = installationSelector(this.#installation);
    const signals$ = cluster.watchPods$({ namespace, labelSelector }).pipe(
      map((signal): WatchSignal => ({ scope, signal })),
      tap((signal) => {
        pods.apply(signal, now());
      }),
      // What a watch has shown is worth nothing once it has ended.
      finalize(() => this.#watches.delete(key)),
      share(),
    );
    const watch = { pods, signals$ };
    this.#watches.set(key, watch);
    return watch;
  }
}
