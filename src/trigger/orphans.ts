/** Pods of the installation that no run waits for. Whether that is right, a worker reads in the run's state. @see spec protocol §7 "Orphans" */
import type { PodProjection } from '../core/pod/projection.ts';
import { shardOf } from '../core/shard.ts';
import { TimingWheel } from '../core/timing-wheel.ts';
import { queueOfPod, runOfPod } from '../wire/pods.ts';
import type { RunKey } from '../wire/subjects.ts';
import type { OrphanReport } from './actions.ts';
import type { WatchSignal } from './pod-book.ts';
import type { Acting } from './waiting-runs.ts';

/** Settings of the reports. */
export interface OrphanSettings {
  /** How long a pod must be without a subscription; doubled with each report up to ten times. Default 60,000. */
  readonly orphanAfterMs?: number;
  /** Queue to report to where the pod does not name one. */
  readonly defaultQueue: string;
  /** Told once of each pod whose annotations name a run that cannot be: nothing is said of such a pod. */
  readonly misnamed?: (pod: PodProjection) => void;
}

interface Candidate {
  readonly pod: PodProjection;
  readonly run: RunKey;
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
  readonly #misnamed: (pod: PodProjection) => void;
  /** Uids of the pods that are there and name no run that could be. */
  readonly #told = new Set<string>();

  constructor(acting: Acting, isWaitedFor: (uid: string) => boolean, now: number, settings: OrphanSettings) {
    this.wheel = new TimingWheel(now);
    this.#acting = acting;
    this.#isWaitedFor = isWaitedFor;
    this.#afterMs = settings.orphanAfterMs ?? 60_000;
    this.#defaultQueue = settings.defaultQueue;
    this.#misnamed = settings.misnamed ?? (() => undefined);
  }

  get size(): number {
    return this.#candidates.size;
  }

  /** A watch said something about a pod. */
  pod({ signal }: WatchSignal, now: number): void {
    if (signal.kind === 'gone') {
      this.#forget(signal.pod.uid);
      this.#told.delete(signal.pod.uid);
    }
    if (signal.kind !== 'pod') return;
    const { pod } = signal;
    const known = this.#candidates.get(pod.uid);
    const run = pod.alreadyChecked || this.#isWaitedFor(pod.uid) ? undefined : this.#runOf(pod);
    if (run === undefined) {
      this.#forget(pod.uid);
      return;
    }
    this.#candidates.set(pod.uid, {
      pod,
      run: known?.run ?? run,
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
      return [{ kind: 'orphan', run, queue: queueOfPod(pod, this.#defaultQueue), id, pod } as const];
    });
  }

  /** The wheel turned too early to say anything: look again later. */
  later(uids: readonly string[], now: number): readonly OrphanReport[] {
    for (const uid of uids) if (this.#candidates.has(uid)) this.wheel.schedule(uid, now + this.#afterMs);
    return [];
  }

  #runOf(pod: PodProjection): RunKey | undefined {
    const run = runOfPod(pod);
    const isNamed = pod.tenant !== undefined && pod.runId !== undefined;
    if (run === undefined && isNamed && !this.#told.has(pod.uid)) {
      this.#told.add(pod.uid);
      this.#misnamed(pod);
    }
    return run;
  }

  #forget(uid: string): void {
    this.#candidates.delete(uid);
    this.wheel.cancel(uid);
  }
}
