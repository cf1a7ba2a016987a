/**
 * The slots of one executor queue. Each live pod of the queue occupies one, whichever executor launched it, and so does each launch under way here.
 * Counted from the watch, so a restart or the death of a sibling changes nothing.
 */
import type { PodProjection } from '../core/pod/projection.ts';
import type { RunKey } from '../wire/subjects.ts';

/** A pod created here that the watch never shows occupies its slot this long: it may be outside the watched namespaces. */
const UNSEEN_MS = 60_000;
/** How many ended pods are remembered by uid: a pod may end before the reply to its creation arrives. */
const REMEMBERED_ENDS = 10_000;

interface Launch {
  /** Whether its start message is still being handled. */
  isHandled: boolean;
  uid: string | undefined;
  createdAt: number;
}

const idOf = ({ tenant, runId }: RunKey): string => `${tenant} ${runId}`;

/** Slots of one queue, as seen by one executor. */
export class Slots {
  readonly #queue: string;
  readonly #parallelism: number;
  readonly #live = new Set<string>();
  readonly #ended = new Set<string>();
  /** By run: at most one launch of a run is under way. */
  readonly #launches = new Map<string, Launch>();

  constructor(queue: string, parallelism: number) {
    this.#queue = queue;
    this.#parallelism = parallelism;
  }

  /** Live pods of the queue, as the watch shows them. */
  get live(): number {
    return this.#live.size;
  }

  /** Launches here whose pods the watch does not show yet. */
  get launching(): number {
    return this.#launches.size;
  }

  /** Slots occupied by neither a live pod nor a launch here. */
  get free(): number {
    return Math.max(0, this.#parallelism - this.#live.size - this.#launches.size);
  }

  /**
   * How many more launches may begin here now. The slots that neither a live pod nor a sibling's launch occupies are divided by `executors`, rounded up;
   * launches here count until the watch shows their pods.
   * @param elsewhere launches under way at siblings, by their heartbeats
   */
  share(executors = 1, elsewhere = 0): number {
    const open = Math.max(0, this.#parallelism - this.#live.size - elsewhere);
    return Math.max(0, Math.ceil(open / Math.max(1, executors)) - this.#launches.size);
  }

  /** Takes a slot for a launch; `false` where none is free. A run that has one keeps it. */
  begin(run: RunKey, executors = 1, elsewhere = 0): boolean {
    const before = this.#launches.get(idOf(run));
    if (before !== undefined) {
      before.isHandled = true;
      return true;
    }
    if (this.share(executors, elsewhere) === 0) return false;
    this.#launches.set(idOf(run), { isHandled: true, uid: undefined, createdAt: 0 });
    return true;
  }

  /** The launch has created its pod. */
  created(run: RunKey, uid: string, now: number): void {
    const launch = this.#launches.get(idOf(run));
    if (launch === undefined) return;
    launch.uid = uid;
    launch.createdAt = now;
    this.#settle(idOf(run), launch);
  }

  /** The launch's message is settled. Its pod, if it has one, occupies the slot until the watch shows it. */
  end(run: RunKey): void {
    const launch = this.#launches.get(idOf(run));
    if (launch === undefined) return;
    launch.isHandled = false;
    this.#settle(idOf(run), launch);
  }

  /** The watch shows a pod. */
  see(pod: PodProjection): void {
    if (pod.queue !== this.#queue) return;
    if (pod.phase === 'Succeeded' || pod.phase === 'Failed') {
      this.gone(pod);
      return;
    }
    this.#live.add(pod.uid);
    this.#seen(pod);
  }

  /** A pod has ended or was deleted. */
  gone(pod: PodProjection): void {
    if (pod.queue !== this.#queue) return;
    this.#live.delete(pod.uid);
    this.#ended.add(pod.uid);
    if (this.#ended.size > REMEMBERED_ENDS) for (const oldest of this.#ended) if (this.#ended.delete(oldest)) break;
    this.#seen(pod);
  }

  /** Frees the slots of pods that the watch has not shown in time. */
  forgetUnseen(now: number): void {
    for (const [id, { isHandled, uid, createdAt }] of this.#launches)
      if (!isHandled && uid !== undefined && now - createdAt > UNSEEN_MS) this.#launches.delete(id);
  }

  #seen({ tenant = '', runId = '' }: PodProjection): void {
    const id = idOf({ tenant, runId });
    const launch = this.#launches.get(id);
    if (launch !== undefined) this.#settle(id, launch);
  }

  #settle(id: string, { isHandled, uid }: Launch): void {
    if (uid === undefined ? !isHandled : this.#live.has(uid) || this.#ended.has(uid)) this.#launches.delete(id);
  }
}
