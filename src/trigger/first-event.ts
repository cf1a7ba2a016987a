import { concat, defer, filter, map, NEVER, type Observable, of, take } from 'rxjs';
import type { PodProjection } from '../core/pod/projection.ts';
import { shardOf } from '../core/identity.ts';
import type { Subscription, TriggerEvent } from '../wire/triggers.ts';
import type { RunKey } from '../wire/subjects.ts';
import { type TriggerDeps, triggerEvents$ } from './trigger-events.ts';
import { type TriggerSettings, TriggerState } from './trigger-state.ts';
import type { KnownPods, WatchSignal } from './watched-pods.ts';

/** Everything a single wait needs of a triggerer's inputs. */
export interface FirstEventInputs extends TriggerDeps {
  readonly pods$: Observable<WatchSignal>;
  /** What `pods$` has shown. */
  readonly pods: KnownPods;
  /** The caller's own GET, sent `at` (epoch milliseconds) before this began: the pod, or `undefined` where it is gone. */
  readonly found?: { readonly pod: PodProjection | undefined; readonly at: number };
  readonly settings?: Omit<TriggerSettings, 'minLoggingEveryMs'>;
}

/** Every shard is this process's own. */
const ACTING = { mayAct: () => true, actingSince: 0 };

/**
 * The triggerer's pipeline with one subscription, for a process that waits for one run itself: its first event, then it completes.
 *
 * ```
 * pods$            ──pod(Pending)──pod(Running)──────────
 * deadlines        ───────────────[startBy]╳
 * logging interval ───────────────────────────────[due]──
 * out              ───────────────────────────────(running|)
 * ```
 */
export function firstEvent$(
  run: RunKey,
  subscription: Subscription,
  inputs: FirstEventInputs,
): Observable<TriggerEvent> {
  const { pods$, pods, now, findPod$, found, settings } = inputs;
  return defer(() => {
    const state = new TriggerState(pods, ACTING, now(), { ...settings, minLoggingEveryMs: 1 });
    const put = { kind: 'put', run, shard: shardOf(run), subscription, revision: 0 } as const;
    state.subscriptionChanged(put, now());
    if (found !== undefined) state.asked(run, found.pod, found.at);
    const subscriptions$ = concat(of(put, { kind: 'synced' } as const), NEVER);
    return triggerEvents$({ subscriptions$, pods$, shardsTakenOver$: NEVER }, state, { now, findPod$ }).pipe(
      filter((effect) => effect.kind === 'fire'),
      map(({ event }) => event),
      take(1),
    );
  });
}
