/**
 * The slots of an executor queue: taken by each of its pods that lives, whoever launched it, and by each launch under way here. Counted
 * from the shared watch, so that a restart or the death of a sibling changes nothing. @see spec protocol §8
 */
import type { PodProjection } from '../core/pod/projection.ts';
import type { RunKey } from '../wire/subjects.ts';

/** A pod created here that the watch has not shown takes its slot for so long at most: it may stand where no watch looks. */
const UNSEEN_MS = 60_000;
/** Pods that ended lately are known by uid: the reply to their creation may come after their end. */
const REMEMBERED_ENDS = 10_000;

interface Launch {
  /** Its message is still being handled. */
  held: boolean;
  uid: string | undefined;
  createdAt: number;
}

const idOf = ({ tenant, runId }: RunKey): string => `${tenant} ${runId}`;

/** Slots of one queue, as one executor sees them. */
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

  /** Live pods of the queue in the watch. */
  get live(): number {
    return this.#live.size;
  }

  /** Launches that take a slot beside the pods the watch shows. */
  get launching(): number {
    return this.#launches.size;
  }

  /** Slots that no pod has and no launch here is about to take. */
  get free(): number {
    return Math.max(0, this.#parallelism - this.#live.size - this.#launches.size);
  }

  /**
   * How many launches may begin here now: of what neither a pod nor a sibling's launch has, one executor of `executors` takes its share,
   * rounded up, and no second one before the watch shows its pods.
   * @param elsewhere launches under way at siblings, as far as they have said
   */
  share(executors = 1, elsewhere = 0): number {
    const open = Math.max(0, this.#parallelism - this.#live.size - elsewhere);
    return Math.max(0, Math.ceil(open / Math.max(1, executors)) - this.#launches.size);
  }

  /** A launch begins. `false`: no slot is free for it, nothing was taken. */
  begin(run: RunKey, executors = 1, elsewhere = 0): boolean {
    const before = this.#launches.get(idOf(run));
    if (before !== undefined) {
      before.held = true;
      return true;
    }
    if (this.share(executors, elsewhere) === 0) return false;
    this.#launches.set(idOf(run), { held: true, uid: undefined, createdAt: 0 });
    return true;
  }

  /** The launch's pod is there. */
  created(run: RunKey, uid: string, now: number): void {
    const launch = this.#launches.get(idOf(run));
    if (launch === undefined) return;
    launch.uid = uid;
    launch.createdAt = now;
    this.#settle(idOf(run), launch);
  }

  /** The launch's message is done with; its pod, if there is one, keeps the slot until the watch shows it. */
  end(run: RunKey): void {
    const launch = this.#launches.get(idOf(run));
    if (launch === undefined) return;
    launch.held = false;
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

  /** A pod has ended, or left the watch. */
  gone(pod: PodProjection): void {
    if (pod.queue !== this.#queue) return;
    this.#live.delete(pod.uid);
    this.#ended.add(pod.uid);
    if (this.#ended.size > REMEMBERED_ENDS) for (const oldest of this.#ended) if (this.#ended.delete(oldest)) break;
    this.#seen(pod);
  }

  /** Lets go of launches whose pod never came to the watch. */
  forgetUnseen(now: number): void {
    for (const [id, { held, uid, createdAt }] of this.#launches)
      if (!held && uid !== undefined && now - createdAt > UNSEEN_MS) this.#launches.delete(id);
  }

  #seen({ tenant = '', runId = '' }: PodProjection): void {
    const id = idOf({ tenant, runId });
    const launch = this.#launches.get(id);
    if (launch !== undefined) this.#settle(id, launch);
  }

  #settle(id: string, { held, uid }: Launch): void {
    if (uid === undefined ? !held : this.#live.has(uid) || this.#ended.has(uid)) this.#launches.delete(id);
  }
}
