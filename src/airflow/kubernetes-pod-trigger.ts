import { defer, map, NEVER, type Observable, tap } from 'rxjs';
import type { PodPhase, PodProjection } from '../core/pod/projection.ts';
import type { PodSignal } from '../ports/cluster.ts';
import { firstEvent$ } from '../trigger/first-event.ts';
import { type KnownPods, WatchedPods, type WatchSignal, type WatchState } from '../trigger/watched-pods.ts';
import type { RunKey } from '../wire/subjects.ts';
import type { Subscription, TriggerEvent } from '../wire/triggers.ts';
import { type ContainerState, shouldWait } from './containers.ts';

/** The caller's signals are the only source; they count as always up to date. */
const upToDate = ({ scope, pods }: WatchState): WatchState => ({
  ...{ scope, pods, syncedAt: 0, lagging: undefined, laggingSince: undefined },
  ...{ receivedAt: Infinity, upSince: -Infinity },
});

/**
 * The wait for one pod, for programs that embed it: the triggerer's pipeline with one subscription. A deployment runs triggerers, which
 * serve any number of pods at once. Named after `airflow.providers.cncf.kubernetes.triggers.pod.KubernetesPodTrigger`.
 */
export class KubernetesPodTrigger {
  readonly run: RunKey;
  readonly subscription: Subscription;

  constructor(run: RunKey, subscription: Subscription) {
    this.run = run;
    this.subscription = subscription;
  }

  /** The data from which the same trigger can be made in another process. */
  serialize(): { readonly run: RunKey; readonly subscription: Subscription } {
    return { run: this.run, subscription: this.subscription };
  }

  /** The base container's state. A pod that has no status yet is `undefined`, not an error. */
  defineContainerState({ containers, baseContainer }: PodProjection): ContainerState {
    const base = containers.find(({ name, kind }) => kind === 'main' && name === baseContainer);
    switch (base?.state) {
      case undefined:
        return 'undefined';
      case 'waiting':
        return base.reason === undefined ? 'undefined' : 'waiting';
      case 'running':
        return 'running';
      case 'terminated':
        return base.exitCode === 0 ? 'terminated' : 'failed';
    }
  }

  /** Whether to keep waiting: the container waits or runs, or has no status while the pod is pending. */
  shouldWait(phase: PodPhase, state: ContainerState): boolean {
    return shouldWait(phase, state);
  }

  /**
   * One event, then it completes: the pod's end, a deadline, or `running` when the logging interval is over (defer again with the
   * next step to go on). Deadlines and the logging interval are exact to 100 ms.
   *
   * ```
   * signals$   ──pod(Pending)──pod(Running)──────────pod(Succeeded)
   * timers     ───────────────[startBy]╳ [logging interval]
   * out        ──────────────────────────(running|)
   * ```
   */
  events$(signals$: Observable<PodSignal>, now: () => number): Observable<TriggerEvent> {
    return defer(() => {
      const { run, subscription } = this;
      const scope = { connection: subscription.pod?.connection ?? '', namespace: subscription.pod?.namespace };
      const shown = new WatchedPods([scope]);
      const pods: KnownPods = {
        pod: (uid) => shown.pod(uid),
        departed: (uid) => shown.departed(uid),
        watchOf: (of) => {
          const watch = shown.watchOf(of);
          return watch && upToDate(watch);
        },
      };
      const pods$ = signals$.pipe(
        map((signal): WatchSignal => ({ scope, signal })),
        tap((signal) => {
          shown.apply(signal, now());
        }),
      );
      // Without access to the API, a pod counts as gone only when the signals confirm it.
      return firstEvent$(run, subscription, { pods$, pods, now, findPod$: () => NEVER });
    });
  }
}
