import { catchError, defer, EMPTY, expand, filter, interval, map, merge, mergeMap, of, share } from 'rxjs';
import type { Observable, ObservableInput } from 'rxjs';
import type { PodProjection, PodRef } from '../core/pod/projection.ts';
import { SLOT_MS } from '../core/timing-wheel.ts';
import type { GateChange, SubscriptionChange } from '../ports/stores.ts';
import type { Check, CheckAnswer } from './absence-checks.ts';
import type { Effect } from './look.ts';
import type { TriggerState } from './trigger-state.ts';
import type { WatchSignal } from './watched-pods.ts';

/** What the pipeline merges. None of them ends by itself. */
export interface TriggerInputs {
  readonly subscriptions$: Observable<SubscriptionChange | GateChange>;
  readonly pods$: Observable<WatchSignal>;
  /** Shards that this replica begins to act on. */
  readonly shardsTakenOver$: Observable<ReadonlySet<string>>;
}

/** The pipeline's clock (epoch milliseconds), and its one way to ask the API: the pod as it is now, `undefined` where it is gone. */
export interface TriggerDeps {
  readonly now: () => number;
  readonly findPod$: (pod: PodRef) => ObservableInput<PodProjection | undefined>;
}

/**
 * The idea of this program: who waits ⊕ what happens to their pods ⊕ what time it is → trigger events.
 *
 * ```
 * subscriptions$     ──s1────s2──────────────────────────────────────
 * pods$              ─────p1─────────p2(ended)───────────────────────
 * shardsTakenOver$   o───────────────────────────────────────────────
 * deadlines          ────────────────────────[s1]────────────────────   startBy, timeoutAt, expireAt, repeats
 * logging interval   ──────────────────────────────────[s3]──────────
 *                          look(wait, pod and watch, now)
 * out                ────────────────f2──────c1──f1────f3────────────   fire; check (a GET, whose answer is looked at, too)
 * ```
 *
 * One map look-up per pod change, whatever the number of waiting runs. It keeps no queue: what it gives is bounded by the
 * number of subscriptions between two repeats. Never ends and never errors.
 */
export function triggerEvents$(
  { subscriptions$, pods$, shardsTakenOver$ }: TriggerInputs,
  state: TriggerState,
  { now, findPod$ }: TriggerDeps,
): Observable<Effect> {
  const ticks$ = interval(SLOT_MS).pipe(map(now), share());
  const looked$ = (runs$: Observable<readonly string[]>): Observable<Effect> =>
    runs$.pipe(
      map((runs) => state.look(runs, now())),
      filter(({ length }) => length > 0),
      mergeMap((effects) => effects),
    );
  const checked$ = (check: Check): Observable<readonly string[]> =>
    defer(() => findPod$(check.pod)).pipe(
      map((pod): CheckAnswer => (pod === undefined ? { kind: 'absent' } : { kind: 'present', pod })),
      // An API that does not answer never ends a run.
      catchError(() => of<CheckAnswer>({ kind: 'failed' })),
      map((answer) => state.checked(check, answer, now())),
    );

  return merge(
    subscriptions$.pipe(map((change) => state.subscriptionChanged(change, now()))),
    pods$.pipe(map((signal) => state.podChanged(signal))),
    shardsTakenOver$.pipe(map((shards) => state.waits.ofShards(shards))),
    ticks$.pipe(map((at) => state.queues.due(at))),
    ticks$.pipe(map((at) => state.deadlines.turn(at))),
    ticks$.pipe(map((at) => state.logging.turn(at))),
  ).pipe(
    looked$,
    // No limit here: at most 20 GETs are under way, and a limit would hold the other effects back.
    expand((effect) => (effect.kind === 'check' ? looked$(checked$(effect)) : EMPTY)),
  );
}
