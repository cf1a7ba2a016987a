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
  retry,
  share,
  switchMap,
  takeWhile,
  timer,
} from 'rxjs';
import type { Observable } from 'rxjs';
import { judge, judgeAbsence, podVerdict } from '../../core/pod/judge.ts';
import type { PodProjection, PodRef } from '../../core/pod/projection.ts';
import type { StepContext } from '../../operator/operator.ts';
import type { Cluster, PodSignal } from '../../ports/cluster.ts';
import { WIRE_VERSION } from '../../core/wire-version.ts';
import type { Await, Subscription, TriggerEvent } from '../../wire/triggers.ts';
import type { RunKey } from '../../wire/subjects.ts';
import { installationSelector } from '../../core/pod/labels.ts';

/** A cancel reaches a held run by a nudge; should that be lost, by looking again this often. */
const LOOK_AGAIN_MS = 10_000;
const LONGEST_TIMER_MS = 86_400_000;

/** What a held run hears. */
export type BlockingEvent =
  | { readonly kind: 'event'; readonly event: TriggerEvent }
  | { readonly kind: 'cancelled' }
  /** The worker stops: a sibling goes on. */
  | { readonly kind: 'stopped' };

/** The pod at one moment. */
interface Look {
  readonly there: boolean;
  readonly pod: PodProjection | undefined;
}

/** The held runs of one worker. */
export class BlockingRuns {
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
  async next(context: StepContext<unknown>, pod: PodRef, wait: Await): Promise<BlockingEvent> {
    const { run } = context;
    const looks$ = merge(
      this.#nudges$.pipe(filter((nudged) => nudged.tenant === run.tenant && nudged.runId === run.runId)),
      interval(LOOK_AGAIN_MS),
    ).pipe(
      exhaustMap(() => from(context.checkOwner())),
      filter(({ cancelRequested }) => cancelRequested),
      map((): BlockingEvent => ({ kind: 'cancelled' })),
    );
    const stopped$ = this.#stop$.pipe(map((): BlockingEvent => ({ kind: 'stopped' })));
    const events$ = this.#event$(context, pod, wait).pipe(map((event): BlockingEvent => ({ kind: 'event', event })));
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
        : at$(context.now, context.now() + wait.loggingEveryMs).pipe(
            map((): TriggerEvent => ({ kind: 'running', at: context.now() })),
          );
    return merge(
      running$,
      this.#looks$(cluster, pod).pipe(
        // The newest look counts; a timer still running for an older one is stale.
        switchMap((look) => {
          const judged = ({ there, pod: seen }: Look) =>
            there ? judge(subscription, seen, context.now()) : judgeAbsence(subscription, seen, context.now());
          const judgement$ = (): Observable<TriggerEvent> => {
            const judgement = judged(look);
            if (judgement.kind === 'wait')
              return judgement.until === undefined
                ? EMPTY
                : at$(context.now, judgement.until).pipe(switchMap(judgement$));
            if (judgement.event.kind !== 'timeout') return of(judgement.event);
            // The watch may be behind: a deadline counts only for a pod that was seen after it.
            return lookNow$(cluster, pod).pipe(
              retry({ delay: () => timer(LOOK_AGAIN_MS) }),
              switchMap((fresh) => {
                const now = judged(fresh);
                if (now.kind === 'fire') return of(now.event);
                return now.until === undefined ? EMPTY : at$(context.now, now.until).pipe(switchMap(judgement$));
              }),
            );
          };
          return defer(judgement$);
        }),
      ),
    );
  }

  /** The pod as it is now (one GET), then each change. */
  #looks$(cluster: Cluster, pod: PodRef): Observable<Look> {
    const changes$ = this.#watch$(cluster, pod.namespace).pipe(
      mergeMap((signal) => {
        if ((signal.kind !== 'pod' && signal.kind !== 'gone') || signal.pod.uid !== pod.uid) return EMPTY;
        if (signal.kind === 'pod') return of({ there: true, pod: signal.pod });
        // Out of the selection, or nobody could be asked: the watch will not speak of it again.
        return signal.confirmed ? of({ there: false, pod: signal.pod }) : this.#looksAgain$(cluster, pod);
      }),
    );
    return merge(changes$, lookNow$(cluster, pod));
  }

  /** Asks for a pod that no watch shows any more until it has gone or ended. */
  #looksAgain$(cluster: Cluster, pod: PodRef): Observable<Look> {
    return timer(0, LOOK_AGAIN_MS).pipe(
      exhaustMap(() => lookNow$(cluster, pod).pipe(retry({ delay: () => timer(LOOK_AGAIN_MS) }))),
      takeWhile((look) => look.there && look.pod !== undefined && podVerdict(look.pod).kind === 'open', true),
    );
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

/** The pod as the API has it now. */
function lookNow$(cluster: Cluster, pod: PodRef): Observable<Look> {
  return defer(async () => {
    const found = await cluster.findPod(pod);
    return { there: found !== undefined, pod: found };
  });
}

/** Emits once at an instant, epoch milliseconds, however far it is: a timer of Node's holds 24.8 days. */
function at$(now: () => number, instant: number): Observable<unknown> {
  return defer(() => {
    const left = instant - now();
    return left > LONGEST_TIMER_MS
      ? timer(LONGEST_TIMER_MS).pipe(switchMap(() => at$(now, instant)))
      : timer(Math.max(1, left));
  });
}
