/** Pods of the installation that no run waits for. Whether that is right, a worker reads in the run's state. */
import { interval, map, merge, mergeMap, type Observable, tap } from 'rxjs';
import type { PodProjection } from '../core/pod/projection.ts';
import type { Log, Meter } from '../ports/ambient.ts';
import { shardOf } from '../core/identity.ts';
import { SLOT_MS, TimingWheel } from '../core/timing-wheel.ts';
import { queueOfPod, runOfPod } from '../wire/pods.ts';
import type { RunKey } from '../wire/subjects.ts';
import type { OrphanReport } from './firing.ts';
import type { Acting } from './trigger-state.ts';
import type { Waits } from './waits.ts';
import type { KnownPods, WatchSignal } from './watched-pods.ts';

/** What the reports need, and their options. */
export interface OrphanOptions {
  /** How long a pod must be without a subscription, milliseconds; doubled with each report up to ten times. Default 60,000. */
  readonly orphanAfterMs?: number;
  /** The same for a pod younger than that, once: its creator may have been suspended until its run was over. Default 8,000. */
  readonly youngOrphanAfterMs?: number;
  /** Queue to report to where the pod does not name one. */
  readonly defaultQueue: string;
  /** A pod whose annotations name an impossible run is logged and counted once, and never reported. */
  readonly log: Log;
  readonly meter: Meter;
}

interface Candidate {
  readonly pod: PodProjection;
  readonly run: RunKey;
  readonly shard: string;
  /** Since when it has no subscription, epoch milliseconds. */
  readonly since: number;
  reports: number;
}

/** Pods without a subscription. An entry ends when the pod does, when a run waits for it, or when its run has ended and the pod is marked. */
export class Orphans {
  /** When to look at a pod again, by uid. */
  readonly #wheel: TimingWheel<string>;
  readonly #candidates = new Map<string, Candidate>();
  readonly #acting: Acting;
  readonly #waits: Pick<Waits, 'ofPod'>;
  readonly #afterMs: number;
  readonly #youngAfterMs: number;
  readonly #defaultQueue: string;
  readonly #log: Log;
  readonly #meter: Meter;
  /** Uids of the misnamed pods that exist. */
  readonly #reported = new Set<string>();

  constructor(acting: Acting, waits: Pick<Waits, 'ofPod'>, now: number, options: OrphanOptions) {
    this.#wheel = new TimingWheel(now);
    this.#acting = acting;
    this.#waits = waits;
    this.#afterMs = options.orphanAfterMs ?? 60_000;
    this.#youngAfterMs = Math.min(this.#afterMs, options.youngOrphanAfterMs ?? 8_000);
    this.#defaultQueue = options.defaultQueue;
    this.#log = options.log;
    this.#meter = options.meter;
  }

  /** A watch showed something. */
  podChanged({ signal }: WatchSignal, now: number): void {
    if (signal.kind === 'pod') this.seen(signal.pod, now);
    if (signal.kind !== 'gone') return;
    this.#forget(signal.pod.uid);
    this.#reported.delete(signal.pod.uid);
  }

  /** A pod was changed, or its run stopped waiting for it: from now on a run has to wait for it, or it has to end. */
  seen(pod: PodProjection, now: number): void {
    const known = this.#candidates.get(pod.uid);
    const run = pod.alreadyChecked || this.#waits.ofPod(pod.uid) !== undefined ? undefined : this.#runOf(pod);
    if (run === undefined) {
      if (known !== undefined) this.#forget(pod.uid);
      return;
    }
    this.#candidates.set(pod.uid, {
      pod,
      run: known?.run ?? run,
      shard: known?.shard ?? shardOf(run),
      since: known?.since ?? now,
      reports: known?.reports ?? 0,
    });
    const isYoung = now - pod.createdAt < this.#afterMs;
    if (known === undefined) this.#wheel.schedule(pod.uid, now + (isYoung ? this.#youngAfterMs : this.#afterMs));
  }

  /** Reports that are due. `isComplete`: all subscriptions are known; before that, a pod without one is not reported. */
  due(isComplete: boolean, now: number): readonly OrphanReport[] {
    return this.#wheel.turn(now).flatMap((uid) => {
      const candidate = this.#candidates.get(uid);
      if (candidate === undefined) return [];
      if (isComplete && this.#waits.ofPod(uid) !== undefined) {
        this.#forget(uid);
        return [];
      }
      const { pod, run, shard, since, reports } = candidate;
      // The usual end of a run: its pod is being deleted, which may take its grace period.
      if (pod.deletedAt !== undefined && now < since + this.#afterMs) {
        this.#wheel.schedule(uid, since + this.#afterMs);
        return [];
      }
      this.#wheel.schedule(uid, now + (isComplete ? Math.min(2 ** (reports + 1), 10) : 1) * this.#afterMs);
      if (!isComplete || !this.#acting.mayAct(shard, now)) return [];
      candidate.reports += 1;
      const id = `orphan:${uid}:${String(reports)}`;
      return [{ kind: 'orphan', run, queue: queueOfPod(pod, this.#defaultQueue), id, pod } as const];
    });
  }

  #runOf(pod: PodProjection): RunKey | undefined {
    const run = runOfPod(pod);
    const isNamed = pod.tenant !== undefined && pod.runId !== undefined;
    if (run === undefined && isNamed && !this.#reported.has(pod.uid)) {
      this.#reported.add(pod.uid);
      this.#meter.count('pods_misnamed_total');
      const { connection, namespace, name } = pod;
      this.#log.warn({ connection, namespace, pod: name }, 'the annotations of a pod name an impossible run; ignored');
    }
    return run;
  }

  #forget(uid: string): void {
    this.#candidates.delete(uid);
    this.#wheel.cancel(uid);
  }
}

/**
 * Reports of pods that no run has waited for since a while, again and again with growing pauses. Never ends.
 *
 * ```
 * pods$       ──p1────────────────────────p1(gone)──
 * released$   ────────p2────────────────────────────   its run waits no longer
 * out         ──────────────p1────p2────────────────   60 s after each; 8 s where the pod is younger than that
 * ```
 */
export function orphanReports$(
  orphans: Orphans,
  {
    pods$,
    pods,
    waits,
    isComplete,
    now,
  }: {
    readonly pods$: Observable<WatchSignal>;
    readonly pods: KnownPods;
    readonly waits: Pick<Waits, 'released$'>;
    /** All subscriptions are known. */
    readonly isComplete: () => boolean;
    readonly now: () => number;
  },
): Observable<OrphanReport> {
  const none: readonly OrphanReport[] = [];
  return merge(
    pods$.pipe(
      tap((signal) => {
        orphans.podChanged(signal, now());
      }),
      map(() => none),
    ),
    waits.released$.pipe(
      map((uid) => {
        const pod = pods.pod(uid);
        if (pod !== undefined) orphans.seen(pod, now());
        return none;
      }),
    ),
    interval(SLOT_MS).pipe(map(() => orphans.due(isComplete(), now()))),
  ).pipe(mergeMap((reports) => reports));
}
