import type { PodProjection } from '../core/pod/projection.ts';
import { TimingWheel } from '../core/timing-wheel.ts';
import type { GateChange, SubscriptionChange } from '../ports/stores.ts';
import { Queues } from '../queue/queues.ts';
import type { RunKey } from '../wire/subjects.ts';
import {
  answered,
  asked,
  type Check,
  type CheckAnswer,
  type CheckIntervals,
  CheckRation,
  left,
  putOff,
  shown,
} from './absence-checks.ts';
import { type Firing, takenBack } from './firing.ts';
import { LoggingInterval } from './logging-interval.ts';
import { type Effect, type Known, look, type LookSettings } from './look.ts';
import { keyOf, type Wait, waitOf, Waits } from './waits.ts';
import type { KnownPods, WatchSignal } from './watched-pods.ts';

/** Settings of a pipeline. */
export interface TriggerSettings extends Pick<LookSettings, 'minLoggingEveryMs'>, Partial<CheckIntervals> {
  /** `running` events per second. Default 100. */
  readonly runningPerSecond?: number;
  /** GETs per second. Default 20. */
  readonly checksPerSecond?: number;
}

/** What this process may act on. */
export interface Acting {
  mayAct(shard: string, now: number): boolean;
  /** Since when it may act without a break, epoch milliseconds; before that it was starting, frozen or cut off. */
  readonly actingSince: number;
}

const NONE: readonly never[] = [];

/**
 * What the pipeline remembers: who waits, what the watch shows, whose turn it is, and when to look at which run again. Its methods take what
 * happened and give the runs to look at, by key; `look` gives what is to be done. Only the pipeline calls them.
 */
export class TriggerState {
  readonly waits = new Waits();
  readonly queues = new Queues();
  readonly deadlines: TimingWheel<string>;
  readonly logging: LoggingInterval;
  readonly #pods: KnownPods;
  readonly #acting: Acting;
  readonly #checks: CheckRation;
  readonly #settings: LookSettings;
  #isComplete = false;
  #upToDateAt: number;

  constructor(pods: KnownPods, acting: Acting, now: number, settings: TriggerSettings) {
    const { minLoggingEveryMs, absentAfterMs = 10_000, maxCheckIntervalMs = 60_000 } = settings;
    this.#settings = { minLoggingEveryMs, absentAfterMs, maxCheckIntervalMs };
    this.deadlines = new TimingWheel(now);
    this.logging = new LoggingInterval(settings.runningPerSecond ?? 100, now);
    this.#checks = new CheckRation(settings.checksPerSecond ?? 20);
    this.#pods = pods;
    this.#acting = acting;
    this.#upToDateAt = now;
  }

  /** All subscriptions have been read once. */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  /** When the subscriptions were last known to be up to date, epoch milliseconds. */
  get upToDateAt(): number {
    return this.#upToDateAt;
  }

  /** A new connection to the broker: how up to date the subscriptions are is counted from now. */
  connected(now: number): void {
    this.#upToDateAt = now;
  }

  /** A subscription was stored or deleted, or a gate changed. */
  subscriptionChanged(change: SubscriptionChange | GateChange, now: number): readonly string[] {
    switch (change.kind) {
      case 'queue':
      case 'concurrencySlots':
        return this.queues.gate(change, now);
      case 'synced':
        this.#isComplete = true;
        this.#upToDateAt = now;
        return this.queues.complete(now);
      case 'alive':
        this.#upToDateAt = now;
        return NONE;
      case 'deleted': {
        const key = keyOf(change.run);
        this.waits.delete(key);
        this.#schedule(key, undefined);
        this.logging.cancel(key);
        return this.queues.remove(key, now);
      }
      case 'put':
        return this.#put(change, now);
    }
  }

  #put(change: SubscriptionChange & { readonly kind: 'put' }, now: number): readonly string[] {
    const { run, shard, subscription, revision } = change;
    const key = keyOf(run);
    const before = this.waits.get(key);
    // A second read gives everything again; a subscription that has not changed keeps its firings.
    if (before?.revision === revision) return [key];
    const { pod, await: wanted } = subscription;
    this.waits.put(key, waitOf(change, before, pod && this.#pods.departed(pod.uid), now));
    this.logging.cancel(key);
    // Counted once per run, by the replica that acts on it.
    const isNew = before?.subscription.await.loggingEveryMs !== wanted.loggingEveryMs;
    const isShort = (wanted.loggingEveryMs ?? Infinity) < this.#settings.minLoggingEveryMs;
    if (isNew && isShort && this.#acting.mayAct(shard, now)) this.logging.raised();
    const opened = this.queues.put(key, run, subscription, now);
    return opened.length === 0 ? [key] : [...opened.filter((other) => other !== key), key];
  }

  /** A watch showed something, which `pods` knows already. */
  podChanged({ scope, signal }: WatchSignal): readonly string[] {
    switch (signal.kind) {
      case 'pod':
      case 'gone': {
        const key = this.waits.ofPod(signal.pod.uid);
        const wait = key === undefined ? undefined : this.waits.get(key);
        if (key === undefined || wait === undefined) return NONE;
        if (signal.kind === 'gone') this.waits.update(key, { ...wait, absence: left(wait.absence, signal) });
        else if (wait.absence !== undefined) this.waits.update(key, { ...wait, absence: shown(wait.absence) });
        return [key];
      }
      case 'synced':
        return this.waits.ofConnection(scope.connection);
      case 'lagging':
      case 'alive':
        return NONE;
    }
  }

  /** A GET was answered. */
  checked(check: Check, answer: CheckAnswer, now: number): readonly string[] {
    this.#checks.giveBack();
    const { uid } = check.pod;
    const key = keyOf(check.run);
    const wait = this.waits.get(key);
    if (wait?.subscription.pod?.uid !== uid) return NONE;
    const absence = answered(wait.absence, check, answer, this.#pods.pod(uid), now, this.#settings);
    this.waits.update(key, { ...wait, absence });
    return [key];
  }

  /** The caller's own GET, sent at `at` before the pipeline began, showed this pod, or (`undefined`) that it is gone. */
  asked(run: RunKey, pod: PodProjection | undefined, at: number): void {
    const key = keyOf(run);
    const wait = this.waits.get(key);
    if (wait !== undefined) this.waits.update(key, { ...wait, absence: asked(wait.absence, pod, at) });
  }

  /** An event could not be published: it is fired again soon, with the same id. */
  unpublished({ run, revision, event }: Firing, now: number): void {
    const key = keyOf(run);
    const wait = this.waits.get(key);
    if (wait?.revision !== revision) return;
    const back = takenBack(wait.firings, event.kind, now);
    if (back === undefined) return;
    const isLogs = event.kind === 'running';
    this.waits.update(key, {
      ...wait,
      firings: back.firings,
      loggedStep: isLogs ? undefined : wait.loggedStep,
    });
    if (isLogs) this.logging.fix(key, back.againAt);
    else this.deadlines.schedule(key, back.againAt);
  }

  /** Looks at runs; notes what comes of it and when to look again; gives what is to be done. */
  look(keys: readonly string[], now: number): readonly Effect[] {
    let effects: Effect[] | undefined;
    for (const key of keys) {
      const effect = this.#look(key, now);
      if (effect !== undefined) (effects ??= []).push(effect);
    }
    return effects ?? NONE;
  }

  #look(key: string, now: number): Effect | undefined {
    const wait = this.waits.get(key);
    if (wait === undefined || !this.#acting.mayAct(wait.shard, now)) {
      this.#schedule(key, undefined);
      this.logging.cancel(key);
      return undefined;
    }
    const { wait: next, at, logsAt, effect } = look(wait, this.#known(key, wait), now, this.#settings);
    if (effect?.kind === 'check') {
      const free = this.#checks.take(wait.absence?.isReserved === true, now);
      if (free.at > now) {
        this.waits.update(key, { ...wait, absence: putOff(wait.absence, free.at, free.isReserved) });
        this.#schedule(key, free.at);
        return undefined;
      }
    }
    if (next !== wait) this.waits.update(key, next);
    this.#schedule(key, at);
    if (wait.subscription.await.loggingEveryMs !== undefined) this.logging.schedule(key, logsAt);
    return effect;
  }

  #known(key: string, { subscription: { pod, await: wanted } }: Wait): Known {
    return {
      shown: pod === undefined ? undefined : this.#pods.pod(pod.uid),
      watch: pod === undefined ? undefined : this.#pods.watchOf(pod),
      isAdmitted: wanted.gate === undefined || this.queues.admits(key),
      logsAreDue: wanted.loggingEveryMs !== undefined && this.logging.isDue(key),
      actingSince: this.#acting.actingSince,
    };
  }

  #schedule(key: string, at: number | undefined): void {
    if (at === undefined || at === Infinity) this.deadlines.cancel(key);
    else this.deadlines.schedule(key, at);
  }
}
