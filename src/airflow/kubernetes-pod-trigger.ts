import { defer, EMPTY, expand, filter, map, type Observable, of, scan, startWith, switchMap, take, timer } from 'rxjs';
import { judge, judgeAbsence, type Judgement } from '../core/pod/judge.ts';
import type { PodPhase, PodProjection } from '../core/pod/projection.ts';
import { shardOf } from '../core/shard.ts';
import type { PodSignal } from '../ports/cluster.ts';
import type { Subscription, TriggerEvent } from '../wire/triggers.ts';
import type { RunKey } from '../wire/subjects.ts';
import { nextLoggingAt } from '../trigger/logging-interval.ts';

/** State of the base container, in the seed's words; `terminated` is an end with exit code 0. */
export type ContainerState = 'undefined' | 'waiting' | 'running' | 'terminated' | 'failed';

/** Longest single timer of Node is 24.8 days; a longer wait is looked at daily. */
const LONGEST_TIMER_MS = 86_400_000;

/** What is known of the one pod. */
interface Known {
  readonly pod: PodProjection | undefined;
  readonly isGone: boolean;
}

/**
 * The wait for one pod, for those who embed it: the same judgement as the triggerer's, which serves any number of pods at
 * once and is what a deployment runs. Named as the seed names it.
 */
export class KubernetesPodTrigger {
  readonly run: RunKey;
  readonly subscription: Subscription;

  constructor(run: RunKey, subscription: Subscription) {
    this.run = run;
    this.subscription = subscription;
  }

  /** What has to be stored to make the same trigger again, anywhere. */
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

  /** Whether there is more to come: the container waits or runs, or nothing is known of it while the pod is Pending. */
  shouldWait(phase: PodPhase, state: ContainerState): boolean {
    return state === 'waiting' || state === 'running' || (state === 'undefined' && phase === 'Pending');
  }

  /**
   * One event, then it completes: the pod's end, a deadline, or `running` when the logging interval is over (defer again with the
   * next step to go on). Judged when subscribed, on each word about the pod, and when a deadline comes.
   *
   * ```
   * signals$   ──pod(Pending)──pod(Running)──────────pod(Succeeded)
   * timer      ───────────────[startBy]╳ [logging interval]
   * out        ──────────────────────────(running|)
   * ```
   */
  events$(signals$: Observable<PodSignal>, now: () => number): Observable<TriggerEvent> {
    return defer(() => {
      const startedAt = now();
      const unknown: Known = { pod: undefined, isGone: false };
      return signals$.pipe(
        scan((known: Known, signal) => this.#learn(known, signal), unknown),
        startWith(unknown),
        // A timer of an older look is stale.
        switchMap((known) => {
          const look$ = (): Observable<Judgement> => defer(() => of(this.#look(known, startedAt, now())));
          return look$().pipe(
            expand((judgement) => {
              if (judgement.kind === 'fire' || judgement.until === undefined) return EMPTY;
              const aheadMs = Math.min(Math.max(1, judgement.until - now()), LONGEST_TIMER_MS);
              return timer(aheadMs).pipe(switchMap(look$));
            }),
          );
        }),
        map((judgement) => (judgement.kind === 'fire' ? judgement.event : undefined)),
        filter((event) => event !== undefined),
        take(1),
      );
    });
  }

  #learn(known: Known, signal: PodSignal): Known {
    if (signal.kind !== 'pod' && signal.kind !== 'gone') return known;
    if (signal.pod.uid !== this.subscription.pod?.uid) return known;
    return { pod: signal.pod, isGone: signal.kind === 'gone' && signal.confirmed };
  }

  #look({ pod, isGone }: Known, startedAt: number, now: number): Judgement {
    const { subscription } = this;
    const judgement = isGone ? judgeAbsence(subscription, pod, now) : judge(subscription, pod, now);
    const everyMs = subscription.await.loggingEveryMs;
    if (judgement.kind === 'fire' || isGone || pod === undefined || everyMs === undefined) return judgement;
    const loggingAt = nextLoggingAt(pod, shardOf(this.run), everyMs, startedAt);
    if (loggingAt === undefined) return judgement;
    if (loggingAt > now) return { kind: 'wait', until: Math.min(loggingAt, judgement.until ?? Infinity) };
    const travelling = { ...pod, containers: pod.containers.map((one) => ({ ...one })) };
    return { kind: 'fire', event: { kind: 'running', at: now, pod: travelling } };
  }
}
