/** Start permits of one executor queue: a launch waits until its attempt holds a slot, and the queue is pulled for as many runs as may start here. */
import { firstValueFrom, merge, type Observable, Subject } from 'rxjs';
import type { PodRef } from '../core/pod/projection.ts';
import { WIRE_VERSION } from '../core/wire-version.ts';
import type { Log, Meter } from '../ports/ambient.ts';
import type { Credits } from '../ports/broker.ts';
import type { PodSignal } from '../ports/cluster.ts';
import type { SlotChange, SlotStore } from '../ports/stores.ts';
import type { ExecutorHeartbeat } from '../wire/presence.ts';
import { Presence } from './presence.ts';
import { Slots } from './slots.ts';
import type { HeldSlot, RunAttempt, SlotWrite } from './slots.ts';

/** Settings of one queue's permits. */
export interface SlotPermitOptions {
  /** This executor, unique among the live ones. */
  readonly id: string;
  readonly queue: string;
  /** Live pods of the queue, over all executors. */
  readonly parallelism: number;
  /** Start messages held here at a time. */
  readonly startCredits: number;
  readonly store: Pick<SlotStore, 'write'>;
  /** Whether the run of a held slot certainly has no live pod any more, and starts none. */
  readonly isOver: (held: HeldSlot) => Promise<boolean>;
  readonly log: Log;
  readonly meter: Meter;
  /** Monotonic milliseconds. */
  readonly now: () => number;
}

/** Permits of one queue, whose slots this executor shares with the other executors of the queue. */
export class SlotPermits {
  readonly queue: string;
  readonly credits: Credits;
  readonly #options: SlotPermitOptions;
  readonly #slots: Slots;
  readonly #presence: Presence;
  readonly #changes$ = new Subject<void>();
  /** Launches that wait for a slot. */
  #waiting = 0;
  /** Whether the live pods are known well enough to start others, and whether the watch of slots has emitted all. */
  #hasPods = false;
  #hasSlots = false;
  /** Whether pods that lived when this executor began, without a slot, have been given one. */
  #hasAdopted = false;
  #stopped = false;

  constructor(options: SlotPermitOptions) {
    const { id, queue, startCredits, parallelism } = options;
    this.#options = options;
    this.queue = queue;
    this.#slots = new Slots({ id, queue, parallelism });
    this.#presence = new Presence(id);
    this.credits = { max: startCredits, room: () => this.#room(), changes$: this.#changes$ };
  }

  /** Why nothing can start here; empty: it can. */
  get problems(): readonly string[] {
    if (!this.#hasPods) return [`the pods of queue ${this.queue} are not known yet`];
    return this.#hasSlots ? [] : [`the slots of queue ${this.queue} are not known yet`];
  }

  /**
   * Waits until the attempt holds a slot and resolves with the function to be called when its launch is settled; `undefined` once the process stops.
   * @throws ReentryError transient, where the broker does not answer: the message must be handled again
   */
  async acquire(attempt: RunAttempt, stop$: Observable<unknown>): Promise<(() => void) | undefined> {
    this.#waiting += 1;
    try {
      while (!this.#stopped) {
        const choice = this.#hasAdopted ? this.#slots.choose(attempt, this.#options.now()) : undefined;
        if (choice === undefined) await firstValueFrom(merge(this.#changes$, stop$), { defaultValue: undefined });
        else if (choice.kind === 'has' || (await this.#write(choice.write)))
          return this.#begun(attempt, choice.kind === 'take');
      }
      return undefined;
    } finally {
      this.#waiting -= 1;
    }
  }

  /** A launch has created or adopted its pod. */
  created(attempt: RunAttempt, pod: Pick<PodRef, 'uid'>): void {
    this.#slots.created(attempt, pod.uid);
  }

  /** Whether a launch created a pod is unknown. */
  uncertain(attempt: RunAttempt): void {
    this.#slots.uncertain(attempt);
  }

  /** Whether the live pods are known well enough to start others. */
  synced(isSynced: boolean): void {
    this.#hasPods = isSynced;
    this.#changes$.next();
  }

  /** A watch of pods has emitted. `isSynced` as for `synced`. */
  observe(signal: PodSignal, isSynced: boolean): void {
    this.#hasPods = isSynced;
    const now = this.#options.now();
    switch (signal.kind) {
      case 'pod':
        this.#free(this.#slots.see(signal.pod, now));
        break;
      case 'gone':
        this.#free(this.#slots.gone(signal.pod, now));
        break;
      case 'synced':
        break;
      case 'lagging':
      case 'alive':
        return;
    }
    this.#changes$.next();
  }

  /** The watch of slots has emitted a change of this queue, or has emitted all. */
  change(change: SlotChange): void {
    if (change.kind === 'synced') this.#hasSlots = true;
    else this.#slots.change(change, this.#options.now());
    this.#changes$.next();
  }

  /** A heartbeat of the queue has arrived, of this executor or another. */
  receive(heartbeat: ExecutorHeartbeat): void {
    const before = this.#executors();
    this.#presence.receive(heartbeat.executor, heartbeat, this.#options.now());
    if (before !== this.#executors()) this.#changes$.next();
  }

  /** The connection to NATS was made or lost. */
  connected(isConnected: boolean): void {
    this.#presence.connected(isConnected, this.#options.now());
  }

  /** Gives no permit any more. */
  stop(): void {
    this.#stopped = true;
    this.#changes$.next();
  }

  /** To be called every `HEARTBEAT_MS`: reports metrics, applies what changes with time alone, and gives the next heartbeat. */
  tick(): ExecutorHeartbeat {
    const { queue, meter } = this.#options;
    const labels = { queue };
    meter.gauge('executor_open_slots', this.#slots.free, labels);
    meter.gauge('executor_running_tasks', this.#slots.live, labels);
    meter.gauge('executor_live_executors', this.#executors() ?? 0, labels);
    this.#changes$.next();
    return this.heartbeat();
  }

  /**
   * Gives slots to live pods that have none, and frees slots that a dead executor or a lost write left over. To be called about once a second, and
   * again when it has resolved. Safe to repeat; at several executors at once too.
   */
  async repair(): Promise<void> {
    if (!this.#hasPods || !this.#hasSlots) return;
    const { now, isOver, log } = this.#options;
    for (const attempt of this.#slots.unslotted(now(), !this.#hasAdopted)) {
      const choice = this.#slots.choose(attempt, now());
      if (choice?.kind === 'take') await this.#write(choice.write);
    }
    this.#hasAdopted = true;
    const checks = this.#slots.idle(now()).map(async (held) => {
      // One whose cluster is away must not hold up the others.
      const isFree = await isOver(held).catch((error: unknown) => {
        log.debug({ queue: this.queue, slot: held.slot, error: String(error) }, 'checking a slot failed; trying again');
        return false;
      });
      const write = isFree ? this.#slots.release(held) : undefined;
      if (write !== undefined) await this.#write(write);
    });
    await Promise.all(checks);
    this.#changes$.next();
  }

  /** This executor's present state. */
  heartbeat(): ExecutorHeartbeat {
    const { id, queue, parallelism } = this.#options;
    return {
      v: WIRE_VERSION,
      executor: id,
      queue,
      draining: this.#stopped,
      parallelism,
      running: this.#slots.live,
      launching: this.#slots.launching,
    };
  }

  #begun(attempt: RunAttempt, isNew: boolean): () => void {
    this.#slots.begin(attempt, isNew);
    return () => {
      this.#free(this.#slots.end(attempt));
      this.#changes$.next();
    };
  }

  /** Frees slots meanwhile. Where that fails, `repair` frees them. */
  #free(writes: readonly SlotWrite[]): void {
    for (const write of writes)
      this.#write(write).catch((error: unknown) => {
        this.#options.log.warn({ queue: this.queue, slot: write.slot, error: String(error) }, 'freeing a slot failed');
      });
  }

  /** Whether it was stored. */
  async #write(write: SlotWrite): Promise<boolean> {
    const { store, now } = this.#options;
    try {
      const revision = await store.write(this.queue, write.slot, write.holder, write.revision);
      if (revision !== undefined) return this.#slots.written(write, revision, now());
      this.#slots.lost(write, now());
      return false;
    } catch (error) {
      this.#slots.failed(write);
      throw error;
    } finally {
      this.#changes$.next();
    }
  }

  #executors(): number | undefined {
    return this.#presence.executors(this.#options.now());
  }

  /** How many more start messages may come: this executor's part of the free slots, rounded up, less those that wait here already. */
  #room(): number {
    const executors = this.#stopped || !this.#hasAdopted ? undefined : this.#executors();
    return executors === undefined ? 0 : Math.max(0, Math.ceil(this.#slots.free / executors) - this.#waiting);
  }
}
