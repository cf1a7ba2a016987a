/** Runs that keep their worker's slot (`deferrable: false`): the same judge, on one shared watch per namespace. @see spec protocol §8 */
import {
  EMPTY,
  defer,
  exhaustMap,
  filter,
  firstValueFrom,
  from,
  interval,
  map,
  merge,
  mergeMap,
  of,
  race,
  share,
  switchMap,
  timer,
} from 'rxjs';
import type { Observable } from 'rxjs';
import { judge, judgeAbsence } from '../core/judge.ts';
import type { PodProjection, PodRef } from '../core/pod.ts';
import type { StepContext } from '../operator/operator.ts';
import type { Cluster, PodSignal } from '../ports.ts';
import { WIRE_VERSION } from '../wire/messages.ts';
import type { Await, Subscription, TriggerEvent } from '../wire/messages.ts';
import type { RunKey } from '../wire/subjects.ts';
import { installationSelector } from '../core/labels.ts';

/** A cancel reaches a held run by a nudge; should that be lost, by looking again this often. */
const LOOK_AGAIN_MS = 10_000;

/** What a held run hears. */
export type Heard =
  | { readonly kind: 'event'; readonly event: TriggerEvent }
  | { readonly kind: 'cancelled' }
  /** The worker stops: a sibling goes on. */
  | { readonly kind: 'stopped' };

/** The held runs of one worker. */
export class HeldPods {
  readonly #installation: string;
  readonly #nudges$: Observable<RunKey>;
  readonly #stop$: Observable<unknown>;
  /** One watch per cluster and namespace, for as long as a run there is held. */
  readonly #watches = new Map<string, Observable<PodSignal>>();

  /** `stop$` must tell late subscribers, too: a run may come to its hold after the stop. */
  constructor(installation: string, nudges$: Observable<RunKey>, stop$: Observable<unknown>) {
    this.#installation = installation;
    this.#nudges$ = nudges$;
    this.#stop$ = stop$;
  }

  /** The next thing that happens to a held run. @throws ReentryError FENCED when another worker took it over */
  async next(context: StepContext<unknown>, pod: PodRef, wait: Await): Promise<Heard> {
    const { run } = context;
    const looks$ = merge(
      this.#nudges$.pipe(filter((nudged) => nudged.tenant === run.tenant && nudged.runId === run.runId)),
      interval(LOOK_AGAIN_MS),
    ).pipe(
      exhaustMap(() => from(context.checkOwner())),
      filter(({ cancelRequested }) => cancelRequested),
      map((): Heard => ({ kind: 'cancelled' })),
    );
    const stopped$ = this.#stop$.pipe(map((): Heard => ({ kind: 'stopped' })));
    const events$ = this.#event$(context, pod, wait).pipe(map((event): Heard => ({ kind: 'event', event })));
    return firstValueFrom(race(events$, looks$, stopped$), { defaultValue: { kind: 'stopped' } });
  }

  #event$(context: StepContext<unknown>, pod: PodRef, wait: Await): Observable<TriggerEvent> {
    const { state, queue } = context;
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
    const cluster = context.cluster(pod.connection);
    const running$ =
      wait.loggingEveryMs === undefined
        ? EMPTY
        : timer(wait.loggingEveryMs).pipe(map((): TriggerEvent => ({ kind: 'running', at: context.now() })));
    return merge(
      running$,
      this.#looks$(cluster, pod).pipe(
        // The newest look counts; a timer still running for an older one is stale.
        switchMap((look) => {
          const judgement$: Observable<TriggerEvent> = defer(() => {
            const now = context.now();
            const judgement = look.there
              ? judge(subscription, look.pod, now)
              : judgeAbsence(subscription, look.pod, now);
            if (judgement.kind === 'fire') return of(judgement.event);
            if (judgement.until === undefined) return EMPTY;
            // A timer of Node's holds 24.8 days; it is asked again after one.
            return timer(Math.min(Math.max(1, judgement.until - now), 86_400_000)).pipe(switchMap(() => judgement$));
          });
          return judgement$;
        }),
      ),
    );
  }

  /** The pod as it is now (one GET), then each change. */
  #looks$(
    cluster: Cluster,
    pod: PodRef,
  ): Observable<{ readonly there: boolean; readonly pod: PodProjection | undefined }> {
    const changes$ = this.#watch$(cluster, pod.namespace).pipe(
      mergeMap((signal) => {
        if (signal.kind !== 'pod' && (signal.kind !== 'gone' || !signal.confirmed)) return EMPTY;
        return signal.pod.uid === pod.uid ? of({ there: signal.kind === 'pod', pod: signal.pod }) : EMPTY;
      }),
    );
    const first$ = defer(async () => {
      const found = await cluster.getPod(pod.namespace, pod.name);
      const projection = found === undefined ? undefined : cluster.project(found);
      return projection?.uid === pod.uid ? { there: true, pod: projection } : { there: false, pod: undefined };
    });
    return merge(changes$, first$);
  }

  #watch$(cluster: Cluster, namespace: string): Observable<PodSignal> {
    const key = `${cluster.connection}/${namespace}`;
    const known$ = this.#watches.get(key);
    if (known$ !== undefined) return known$;
    const labelSelector = installationSelector(this.#installation);
    const shared$ = cluster.watchPods$({ namespace, labelSelector }).pipe(share());
    this.#watches.set(key, shared$);
    return shared$;
  }
}
