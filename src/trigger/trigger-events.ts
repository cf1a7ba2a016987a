import {
  catchError,
  defer,
  EMPTY,
  expand,
  map,
  merge,
  mergeMap,
  type Observable,
  type ObservableInput,
  of,
} from 'rxjs';
import type { GateChange, SubscriptionChange } from '../ports/stores.ts';
import type { Action, Check, Checked } from './actions.ts';
import { dueBatches$ } from './due-batches.ts';
import type { Orphans } from './orphans.ts';
import type { PodBook, WatchSignal } from './pod-book.ts';
import type { WaitingRuns } from './waiting-runs.ts';

/** What the pipeline merges. None of them ends by itself. */
export interface TriggerInputs {
  readonly subscriptions$: Observable<SubscriptionChange | GateChange>;
  /** Already taken in by the book. */
  readonly pods$: Observable<WatchSignal>;
  /** Shards that this replica begins to act on. */
  readonly takenOver$: Observable<ReadonlySet<string>>;
}

/** The memories that the pipeline reads and writes; nobody else writes them. */
export interface TriggerMemory {
  readonly book: PodBook;
  readonly runs: WaitingRuns;
  readonly orphans: Orphans;
}

/**
 * The product's idea: who waits ⊕ what happens ⊕ what time it is → what to say to the workers.
 *
 * ```
 * subscriptions$   ──s1────s2───────────────────────────────
 * pods$            ─────p1─────────p2(ended)────────────────
 * takenOver$       o────────────────────────────────────────
 * due batches      ───────────────────────[s1]──────────────   deadlines, logging interval, repeats
 *                         judge(subscription, pod, now)
 * out              ────────────────f2──────f1───────────────   fire, check (GET, whose answer is judged again), orphan
 * ```
 *
 * One map look-up per pod change, whatever the number of waiting runs. It keeps no queue: what it gives is bounded by the
 * number of subscriptions between two repeats, and `published$` keeps one word per run.
 */
export function triggerEvents$(
  { subscriptions$, pods$, takenOver$ }: TriggerInputs,
  { book, runs, orphans }: TriggerMemory,
  { now, ask$ }: { readonly now: () => number; readonly ask$: (check: Check) => ObservableInput<Checked['answer']> },
): Observable<Action> {
  let isComplete = false;

  const subscription = (change: SubscriptionChange | GateChange): readonly Action[] => {
    if (change.kind === 'queue' || change.kind === 'concurrencySlots') return runs.gate(change, now());
    if (change.kind === 'synced') {
      isComplete = true;
      return runs.complete(now());
    }
    if (change.kind === 'alive') return [];
    const before = runs.podOf(change.run);
    const actions = runs.subscription(change, now());
    const released = before === undefined || runs.isWaitedFor(before) ? undefined : book.pod(before);
    if (released !== undefined) orphans.released(released, now());
    return actions;
  };
  const pod = (signal: WatchSignal): readonly Action[] => {
    orphans.pod(signal, now());
    return runs.pod(signal, now());
  };
  const checked$ = (check: Check): Observable<Action> =>
    defer(() => ask$(check)).pipe(
      // Nothing learnt: an API that does not answer never ends a run.
      catchError(() => of({ kind: 'failed' } as const)),
      mergeMap((answer) => runs.checked({ run: check.run, uid: check.pod.uid, answer }, now())),
    );

  return merge(
    subscriptions$.pipe(map(subscription)),
    pods$.pipe(map(pod)),
    takenOver$.pipe(map((shards) => runs.takenOver(shards, now()))),
    dueBatches$(runs.wheel, now).pipe(map((keys) => runs.due(keys, now()))),
    // Before all subscriptions are known, a pod without one says nothing.
    dueBatches$(orphans.wheel, now).pipe(
      map((uids) => (isComplete ? orphans.due(uids, now()) : orphans.later(uids, now()))),
    ),
  ).pipe(
    mergeMap((actions: readonly Action[]) => actions),
    // Without a limit here: WaitingRuns has at most 20 GETs under way, and a limit would hold the other actions back.
    expand((action) => (action.kind === 'check' ? checked$(action) : EMPTY)),
  );
}
