/** Start permits of one executor queue, one per free slot: launches wait for a permit, and the queue is pulled for as many runs as may start here. */
import { firstValueFrom, merge, Subject } from 'rxjs';
import type { Observable } from 'rxjs';
import type { PodProjection } from '../core/pod/projection.ts';
import type { Meter } from '../ports/ambient.ts';
import type { Credits } from '../ports/broker.ts';
import type { PodSignal } from '../ports/cluster.ts';
import type { ExecutorHeartbeat } from '../wire/presence.ts';
import { WIRE_VERSION } from '../core/wire-version.ts';
import type { RunKey } from '../wire/subjects.ts';
import { Presence, type Siblings } from './presence.ts';
import { Slots } from './slots.ts';

/** Settings of one queue's permits. */
export interface SlotPermitOptions {
  /** This executor, unique among the live ones. */
  readonly id: string;
  readonly queue: string;
  /** Live pods of the queue, over all executors. */
  readonly parallelism: number;
  /** Start messages held here at a time. */
  readonly startCredits: number;
  readonly meter: Meter;
  /** Monotonic milliseconds. */
  readonly now: () => number;
}

/** One queue's slots, shared with the siblings. */
export class SlotPermits {
  readonly queue: string;
  readonly credits: Credits;
  readonly #options: SlotPermitOptions;
  readonly #slots: Slots;
  readonly #presence: Presence;
  readonly #changes$ = new Subject<void>();
  readonly #launching$ = new Subject<void>();
  /** Watches that have not shown their first list: what they would show is unknown, so nothing begins. */
  readonly #unsynced: Set<string>;
  #stopped = false;

  /** `watches`: names of the watches that will be heard. */
  constructor(options: SlotPermitOptions, watches: readonly string[]) {
    this.#options = options;
    this.queue = options.queue;
    this.#slots = new Slots(options.queue, options.parallelism);
    this.#presence = new Presence(options.id);
    this.#unsynced = new Set(watches);
    this.credits = { max: options.startCredits, room: () => this.#room(), changes$: this.#changes$ };
  }

  /** Emits when this executor is about to take a slot: siblings should know before the watch shows them. */
  get launching$(): Observable<void> {
    return this.#launching$;
  }

  /** Why nothing can begin here; empty: it can. */
  get problems(): readonly string[] {
    return this.#isSynced ? [] : [`the pods of queue ${this.queue} are not known yet`];
  }

  async acquire(run: RunKey, stop$: Observable<unknown>): Promise<(() => void) | undefined> {
    while (!this.#stopped) {
      const siblings = this.#siblings();
      if (siblings !== undefined && this.#slots.begin(run, siblings.executors, siblings.launching)) {
        this.#launching$.next();
        return () => {
          this.#slots.end(run);
          this.#changed();
        };
      }
      await firstValueFrom(merge(this.#changes$, stop$), { defaultValue: undefined });
    }
    return undefined;
  }

  /** The pod of a launch is there. */
  created(run: RunKey, pod: Pick<PodProjection, 'uid'>): void {
    this.#slots.created(run, pod.uid, this.#options.now());
  }

  /** Takes in what a watch said. */
  hear(watch: string, signal: PodSignal): void {
    switch (signal.kind) {
      case 'pod':
        this.#slots.see(signal.pod);
        break;
      case 'gone':
        this.#slots.gone(signal.pod);
        break;
      case 'synced':
        this.#unsynced.delete(watch);
        break;
      case 'lagging':
      case 'alive':
        return;
    }
    this.#changed();
  }

  heard(beat: ExecutorHeartbeat): void {
    if (beat.queue === this.queue) this.#heard(beat);
  }

  #heard(beat: ExecutorHeartbeat): void {
    const before = this.#siblings();
    this.#presence.heard(beat.executor, beat, this.#options.now());
    const after = this.#siblings();
    if (before?.executors !== after?.executors || before?.launching !== after?.launching) this.#changed();
  }

  connected(isConnected: boolean): void {
    this.#presence.connected(isConnected, this.#options.now());
  }

  stop(): void {
    this.#stopped = true;
    this.#changed();
  }

  /** Each half second: figures, and what turned with time alone. */
  tick(): ExecutorHeartbeat {
    const { queue, meter, now } = this.#options;
    this.#slots.forgetUnseen(now());
    const labels = { queue };
    meter.gauge('executor_open_slots', this.#slots.free, labels);
    meter.gauge('executor_running_tasks', this.#slots.live, labels);
    meter.gauge('executor_live_executors', this.#presence.siblings(now())?.executors ?? 0, labels);
    this.#changed();
    return this.beat();
  }

  /** What this executor says of itself. */
  beat(): ExecutorHeartbeat {
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

  get #isSynced(): boolean {
    return this.#unsynced.size === 0;
  }

  /** `undefined`: nothing may begin. */
  #siblings(): Siblings | undefined {
    return this.#stopped || !this.#isSynced ? undefined : this.#presence.siblings(this.#options.now());
  }

  #room(): number {
    const siblings = this.#siblings();
    return siblings === undefined ? 0 : this.#slots.share(siblings.executors, siblings.launching);
  }

  #changed(): void {
    this.#changes$.next();
  }
}
