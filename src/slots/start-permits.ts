/** Start permits of one executor queue, one per free slot: launches wait for a permit, and the queue is pulled for as many runs as may start here. */
import { firstValueFrom, merge, type Observable, Subject } from 'rxjs';
import type { PodRef } from '../core/pod/projection.ts';
import { WIRE_VERSION } from '../core/wire-version.ts';
import type { Meter } from '../ports/ambient.ts';
import type { Credits } from '../ports/broker.ts';
import type { PodSignal } from '../ports/cluster.ts';
import type { ExecutorHeartbeat } from '../wire/presence.ts';
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

/** Permits of one queue, whose slots this executor shares with its siblings: the other executors of the queue. */
export class SlotPermits {
  readonly queue: string;
  readonly credits: Credits;
  readonly #options: SlotPermitOptions;
  readonly #slots: Slots;
  readonly #presence: Presence;
  readonly #changes$ = new Subject<void>();
  readonly #launching$ = new Subject<void>();
  /** Whether all watches have delivered their first list; before that the number of live pods is unknown. */
  #isSynced = false;
  #stopped = false;

  constructor(options: SlotPermitOptions) {
    this.#options = options;
    this.queue = options.queue;
    this.#slots = new Slots(options.queue, options.parallelism);
    this.#presence = new Presence(options.id);
    this.credits = { max: options.startCredits, room: () => this.#room(), changes$: this.#changes$ };
  }

  /** Emits when a launch takes a slot. */
  get launching$(): Observable<void> {
    return this.#launching$;
  }

  /** Why nothing can start here; empty: it can. */
  get problems(): readonly string[] {
    return this.#isSynced ? [] : [`the pods of queue ${this.queue} are not known yet`];
  }

  /** Waits for a free slot and resolves with the function that returns it; `undefined` once the process stops. */
  async acquire(run: RunKey, stop$: Observable<unknown>): Promise<(() => void) | undefined> {
    while (!this.#stopped) {
      const siblings = this.#siblings();
      if (siblings !== undefined && this.#slots.begin(run, siblings.executors, siblings.launching)) {
        this.#launching$.next();
        return () => {
          this.#slots.end(run);
          this.#changes$.next();
        };
      }
      await firstValueFrom(merge(this.#changes$, stop$), { defaultValue: undefined });
    }
    return undefined;
  }

  /** A launch has created or adopted its pod. */
  created(run: RunKey, pod: Pick<PodRef, 'uid'>): void {
    this.#slots.created(run, pod.uid, this.#options.now());
  }

  /** Whether the live pods are known well enough to start others. */
  synced(isSynced: boolean): void {
    this.#isSynced = isSynced;
    this.#changes$.next();
  }

  /** A watch has emitted. `isSynced` as for `synced`. */
  observe(signal: PodSignal, isSynced: boolean): void {
    this.#isSynced = isSynced;
    switch (signal.kind) {
      case 'pod':
        this.#slots.see(signal.pod);
        break;
      case 'gone':
        this.#slots.gone(signal.pod);
        break;
      case 'synced':
        break;
      case 'lagging':
      case 'alive':
        return;
    }
    this.#changes$.next();
  }

  /** A heartbeat of the queue has arrived, of this executor or a sibling. */
  receive(heartbeat: ExecutorHeartbeat): void {
    const before = this.#siblings();
    this.#presence.receive(heartbeat.executor, heartbeat, this.#options.now());
    const after = this.#siblings();
    if (before?.executors !== after?.executors || before?.launching !== after?.launching) this.#changes$.next();
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
    const { queue, meter, now } = this.#options;
    this.#slots.forgetUnseen(now());
    const labels = { queue };
    meter.gauge('executor_open_slots', this.#slots.free, labels);
    meter.gauge('executor_running_tasks', this.#slots.live, labels);
    meter.gauge('executor_live_executors', this.#presence.siblings(now())?.executors ?? 0, labels);
    this.#changes$.next();
    return this.heartbeat();
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

  /** `undefined`: nothing may start. */
  #siblings(): Siblings | undefined {
    return this.#stopped || !this.#isSynced ? undefined : this.#presence.siblings(this.#options.now());
  }

  #room(): number {
    const siblings = this.#siblings();
    return siblings === undefined ? 0 : this.#slots.share(siblings.executors, siblings.launching);
  }
}
