/** Pods of the installation that no run waits for. Whether that is right, a worker reads in the run's state. @see spec protocol §7 "Orphans" */
import type { PodProjection } from '../core/pod.ts';
import { shardOf } from '../core/shard.ts';
import { TimingWheel } from '../core/timing-wheel.ts';
import type { OrphanReport } from './actions.ts';
import type { WatchSignal } from './pod-book.ts';
import type { Acting } from './waiting-runs.ts';

/** Settings of the reports. */
export interface OrphanSettings {
  /** How long a pod must be without a subscription; doubled with each report up to ten times. Default 60,000. */
  readonly orphanAfterMs?: number;
  /** Queue to report to where the pod does not name one. */
  readonly defaultQueue: string;
}

interface Candidate {
  readonly pod: PodProjection;
  readonly run: { readonly tenant: string; readonly runId: string };
  readonly shard: string;
  reports: number;
}

/** The pods nobody waits for. An entry ends when the pod does, when a run waits for it, or when its run has had its answer. */
export class Orphans {
  /** When to look at a pod again, by uid. */
  readonly wheel: TimingWheel<string>;
  readonly #candidates = new Map<string, Candidate>();
  readonly #acting: Acting;
  readonly #isWaitedFor: (uid: string) => boolean;
  readonly #afterMs: number;
  readonly #defaultQueue: string;

  constructor(acting: Acting, isWaitedFor: (uid: string) => boolean, now: number, settings: OrphanSettings) {
    this.wheel = new TimingWheel(now);
    this.#acting = acting;
    this.#isWaitedFor = isWaitedFor;
    this.#afterMs = settings.orphanAfterMs ?? 60_000;
    this.#defaultQueue = settings.defaultQueue;
  }

  get size(): number {
    return this.#candidates.size;
  }

  /** A watch said something about a pod. */
  pod({ signal }: WatchSignal, now: number): void {
    if (signal.kind === 'gone') this.#forget(signal.pod.uid);
    if (signal.kind !== 'pod') return;
    const { pod } = signal;
    if (pod.alreadyChecked || pod.tenant === undefined || pod.runId === undefined || this.#isWaitedFor(pod.uid)) {
      this.#forget(pod.uid);
      return;
    }
    const known = this.#candidates.get(pod.uid);
    const run = known?.run ?? { tenant: pod.tenant, runId: pod.runId };
    this.#candidates.set(pod.uid, {
      pod,
      run,
      shard: known?.shard ?? shardOf(run),
      reports: known?.reports ?? 0,
    });
    if (known === undefined) this.wheel.schedule(pod.uid, now + this.#afterMs);
  }

  /** A run stopped waiting for this pod: from now on it has to be gone, or to be waited for again. */
  released(pod: PodProjection, now: number): void {
    this.pod({ scope: { connection: pod.connection, namespace: undefined }, signal: { kind: 'pod', pod } }, now);
  }

  /** The wheel turned. */
  due(uids: readonly string[], now: number): readonly OrphanReport[] {
    return uids.flatMap((uid) => {
      const candidate = this.#candidates.get(uid);
      if (candidate === undefined) return [];
      if (this.#isWaitedFor(uid)) {
        this.#forget(uid);
        return [];
      }
      const { pod, run, shard, reports } = candidate;
      this.wheel.schedule(uid, now + Math.min(2 ** (reports + 1), 10) * this.#afterMs);
      if (!this.#acting.mayAct(shard, now)) return [];
      candidate.reports += 1;
      const id = `orphan:${uid}:${String(reports)}`;
      return [{ kind: 'orphan', run, queue: pod.queue ?? this.#defaultQueue, id, pod } as const];
    });
  }

  /** The wheel turned too early to say anything: look again later. */
  later(uids: readonly string[], now: number): readonly OrphanReport[] {
    for (const uid of uids) if (this.#candidates.has(uid)) this.wheel.schedule(uid, now + this.#afterMs);
    return [];
  }

  #forget(uid: string): void {
    this.#candidates.delete(uid);
    this.wheel.cancel(uid);
  }
}
