/**
 * The triggerer's memory and judgement: every subscription, compared with the world as often as anything says "look again".
 * Time comes in as an argument and what is to be done goes out as values, so that the pipeline around it only merges streams.
 */
import { judge, judgeAbsence, type Judgement } from '../core/pod/judge.ts';
import type { PodProjection } from '../core/pod/projection.ts';
import { TimingWheel } from '../core/timing-wheel.ts';
import type { GateChange, SubscriptionChange } from '../ports/stores.ts';
import type { QueueLoad, QueuePosition } from '../wire/queues.ts';
import type { TriggerEvent } from '../wire/triggers.ts';
import type { RunKey } from '../wire/subjects.ts';
import { type Action, type Checked, type Firing, runKeyText } from './actions.ts';
import { deadlineOf, isSeenSince, SETTLED_AFTER_MS } from './deadlines.ts';
import { firing, travelling } from './firing.ts';
import { floorMs, nextLoggingAt } from './logging-interval.ts';
import type { PodBook, WatchSignal } from './pod-book.ts';
import { Rate } from './rate.ts';
import { Repeats } from './repeats.ts';
import type { Wait } from './wait.ts';
import { queueLoads } from '../queue/loads.ts';
import { WaitingRoom } from '../queue/waiting-room.ts';

/** At most this many GETs under way. */
const CHECKS_UNDER_WAY = 20;
const CHECK_AGAIN_AT_MOST_MS = 60_000;
/** On the wheel, a queue to be put in order; runs begin with a figure. */
const ROOM = 'room ';

/** Settings; the defaults are the protocol's. @see spec protocol §7 */
export interface WaitingSettings {
  /** Shortest logging interval; shorter ones are stretched to it. */
  readonly minLoggingEveryMs: number;
  /** `running` events per second. Default 100. */
  readonly runningPerSecond?: number;
  /** How long a pod must be missing from a synced watch before it is asked for. Default 10,000. */
  readonly absentAfterMs?: number;
  /** GETs per second. Default 20. */
  readonly checksPerSecond?: number;
}

/** What this replica may act on. */
export interface Acting {
  mayAct(shard: string, now: number): boolean;
  /** Since when it may act without a break; before that it was starting, frozen or cut off. */
  readonly actingSince: number;
}

/** All waiting runs of the installation, and which of them are over. */
export class WaitingRuns {
  /** Deadlines of the runs this replica acts on. */
  readonly wheel: TimingWheel<string>;
  readonly #waits = new Map<string, Wait>();
  /** Pod uid → the run that waits for it. */
  readonly #byUid = new Map<string, string>();
  /** Shard → its runs: a take-over looks at these only. */
  readonly #byShard = new Map<string, Set<string>>();
  readonly #room = new WaitingRoom();
  readonly #book: PodBook;
  readonly #acting: Acting;
  readonly #running: Rate;
  readonly #checkRate: Rate;
  readonly #absentAfterMs: number;
  readonly #minLoggingEveryMs: number;
  #checksUnderWay = 0;
  #postponed = 0;
  #floored = 0;

  constructor(book: PodBook, acting: Acting, now: number, settings: WaitingSettings) {
    this.wheel = new TimingWheel(now);
    this.#book = book;
    this.#acting = acting;
    this.#running = new Rate(settings.runningPerSecond ?? 100);
    this.#checkRate = new Rate(settings.checksPerSecond ?? 20);
    this.#absentAfterMs = settings.absentAfterMs ?? 10_000;
    this.#minLoggingEveryMs = settings.minLoggingEveryMs;
  }

  get size(): number {
    return this.#waits.size;
  }
  /** Runs of some shards only. */
  sizeOf(shards: ReadonlySet<string>): number {
    return [...shards].reduce((total, shard) => total + (this.#byShard.get(shard)?.size ?? 0), 0);
  }
  /** Logging intervals stretched since the start: to keep the rate of `running` events, and to the least interval. */
  get stretched(): { readonly rate: number; readonly floor: number } {
    return { rate: this.#postponed, floor: this.#floored };
  }
  /** Uid of the pod that a run waits for. */
  podOf(run: RunKey): string | undefined {
    return this.#waits.get(runKeyText(run))?.subscription.pod?.uid;
  }
  /** Whether a run waits for this pod. */
  isWaitedFor(uid: string): boolean {
    return this.#byUid.has(uid);
  }

  /** A subscription came, changed or ended. */
  subscription(change: SubscriptionChange, now: number): readonly Action[] {
    if (change.kind === 'synced' || change.kind === 'alive') return [];
    const key = runKeyText(change.run);
    const known = this.#waits.get(key);
    if (change.kind === 'deleted') {
      if (known !== undefined) this.#forget(key, known);
      return this.#ordered(this.#room.remove(key), now);
    }
    // A re-read tells everything again; what has not changed keeps its firings.
    if (known?.revision === change.revision) return this.#look(key, now);
    const { subscription, revision, run, shard } = change;
    const samePod = known?.subscription.pod?.uid === subscription.pod?.uid;
    if (known !== undefined) this.#unlink(key, known);
    const uid = subscription.pod?.uid;
    const wait: Wait = {
      run,
      shard,
      subscription,
      revision,
      arrivedAt: now,
      fired: new Repeats(),
      loggedStep: known?.loggedStep === subscription.step ? known.loggedStep : undefined,
      loggingAt: undefined,
      departed: (samePod ? known?.departed : undefined) ?? (uid === undefined ? undefined : this.#book.departed(uid)),
      checked: samePod ? known?.checked : undefined,
      absentConfirmed: samePod && known?.absentConfirmed === true,
      checking: samePod ? known?.checking : undefined,
      checkAt: undefined,
      checkReserved: false,
      checks: 0,
    };
    this.#waits.set(key, wait);
    const everyMs = subscription.await.loggingEveryMs;
    // Counted once per run, by whoever acts on it.
    const isNew = known?.subscription.await.loggingEveryMs !== everyMs;
    if (isNew && everyMs !== undefined && everyMs < this.#minLoggingEveryMs && this.#acting.mayAct(shard, now))
      this.#floored += 1;
    const siblings = this.#byShard.get(shard);
    if (siblings === undefined) this.#byShard.set(shard, new Set([key]));
    else siblings.add(key);
    if (uid !== undefined) this.#byUid.set(uid, key);
    const queue = this.#room.put(key, run, subscription);
    return [...this.#ordered(queue, now, key), ...this.#look(key, now)];
  }

  /** The first complete read is in. */
  complete(now: number): readonly Action[] {
    return this.#room.complete().flatMap((queue) => this.#ordered(queue, now));
  }

  /** A queue was paused or resumed, or a slot of a concurrency key was taken or freed. */
  gate(change: GateChange, now: number): readonly Action[] {
    return this.#room.gate(change).flatMap((queue) => this.#ordered(queue, now));
  }

  /** Puts a queue in order, or makes a note to; looks at the runs whose gate that opened, in their order. `but` is looked at anyway. */
  #ordered(queue: string | undefined, now: number, but?: string): readonly Action[] {
    if (queue === undefined) return [];
    const { opened, againAt } = this.#room.order(queue, now);
    if (againAt !== undefined) this.wheel.schedule(`${ROOM}${queue}`, againAt);
    return opened.flatMap((key) => (key === but ? [] : this.#look(key, now)));
  }

  /** Where a run that waits for its turn stands. */
  queuePositionOf(run: RunKey): QueuePosition | undefined {
    return this.#room.queuePositionOf(runKeyText(run));
  }

  /** What waits and runs, by queue. */
  loads(): readonly QueueLoad[] {
    return queueLoads(this.#room, this.#waits.values());
  }

  /** A watch said something, which the book has taken in already. */
  pod({ scope, signal }: WatchSignal, now: number): readonly Action[] {
    switch (signal.kind) {
      case 'pod':
      case 'gone': {
        const key = this.#byUid.get(signal.pod.uid);
        const wait = key === undefined ? undefined : this.#waits.get(key);
        if (key === undefined || wait === undefined) return [];
        wait.departed = signal.kind === 'gone' ? { pod: signal.pod, confirmed: signal.confirmed } : undefined;
        if (signal.kind === 'pod') wait.absentConfirmed = false;
        return this.#look(key, now);
      }
      case 'synced':
        return this.#lookAtAll(now, ({ subscription: { pod } }) => pod?.connection === scope.connection);
      case 'lagging':
      case 'alive':
        return [];
    }
  }

  /** This replica acts on more shards than before: a take-over is a look at what is there. */
  takenOver(shards: ReadonlySet<string>, now: number): readonly Action[] {
    return [...shards].flatMap((shard) => [...(this.#byShard.get(shard) ?? [])].flatMap((key) => this.#look(key, now)));
  }

  /** The wheel turned. */
  due(keys: readonly string[], now: number): readonly Action[] {
    return keys.flatMap((key) =>
      key.startsWith(ROOM) ? this.#ordered(key.slice(ROOM.length), now) : this.#look(key, now),
    );
  }

  /** A GET answered. */
  checked({ run, uid, answer }: Checked, now: number): readonly Action[] {
    this.#checksUnderWay -= 1;
    const key = runKeyText(run);
    const wait = this.#waits.get(key);
    if (wait?.subscription.pod?.uid !== uid) return [];
    const { checking } = wait;
    wait.checking = undefined;
    wait.checks += 1;
    wait.checkAt = now + Math.min(this.#absentAfterMs * 2 ** Math.min(wait.checks - 1, 10), CHECK_AGAIN_AT_MOST_MS);
    if (answer.kind === 'there') {
      const over = this.#book.pod(uid);
      // What the watch has told since the GET was sent may be newer than its answer.
      if (checking?.shown === over && checking?.departed === wait.departed) {
        wait.checked = { pod: answer.pod, at: checking?.at ?? now, over };
        wait.departed = undefined;
      }
      // Asked about a deadline only: the watch goes on telling of this pod.
      if (over !== undefined) {
        wait.checkAt = undefined;
        wait.checks = 0;
      }
    }
    if (answer.kind === 'absent') wait.absentConfirmed = true;
    return this.#look(key, now);
  }

  /** The event could not be published: try again soon, with the same id. */
  unpublished({ run, revision, event }: Firing, now: number): void {
    const key = runKeyText(run);
    const wait = this.#waits.get(key);
    if (wait?.revision !== revision) return;
    const againAt = wait.fired.takeBack(event.kind, now);
    if (againAt === undefined) return;
    if (event.kind === 'running') {
      wait.loggedStep = undefined;
      wait.loggingAt = againAt;
    }
    this.wheel.schedule(key, againAt);
  }

  #lookAtAll(now: number, which: (wait: Wait) => boolean): readonly Action[] {
    const actions: Action[] = [];
    for (const [key, wait] of this.#waits) if (which(wait)) actions.push(...this.#look(key, now));
    return actions;
  }

  /** Compares one subscription with the world as it is now. Everything else only says when. */
  #look(key: string, now: number): readonly Action[] {
    const wait = this.#waits.get(key);
    if (wait === undefined || !this.#acting.mayAct(wait.shard, now)) {
      this.wheel.cancel(key);
      return [];
    }
    const { subscription } = wait;
    const ref = subscription.pod;
    const shown = ref === undefined ? undefined : this.#book.pod(ref.uid);
    const checked = wait.checked?.over === shown ? wait.checked?.pod : undefined;
    const pod = checked ?? shown ?? wait.departed?.pod;
    if (ref === undefined || shown !== undefined) {
      const judgement = judge(subscription, pod, now, this.#room.admits(key));
      return this.#isOverdue(wait, judgement, pod, now)
        ? this.#checkWhenFree(key, wait, wait.checkAt ?? now, now)
        : this.#conclude(key, wait, judgement, pod, now);
    }
    if (wait.absentConfirmed || wait.departed?.confirmed === true) {
      return this.#conclude(key, wait, judgeAbsence(subscription, pod, now), undefined, now);
    }
    const watch = this.#book.watchOf(ref);
    if (watch === undefined && subscription.then === 'resume') {
      const message = `no watch of this triggerer shows ${ref.connection}/${ref.namespace}`;
      return this.#conclude(
        key,
        wait,
        { kind: 'fire', event: { kind: 'error', reason: 'NOT_WATCHED', message, at: now } },
        undefined,
        now,
      );
    }
    const judgement = judge(subscription, pod, now);
    if (judgement.kind === 'fire') {
      if (!this.#isOverdue(wait, judgement, pod, now)) return this.#conclude(key, wait, judgement, undefined, now);
      return this.#checkWhenFree(key, wait, wait.checkAt ?? now, now);
    }
    // A pod that left only the selection is asked for at once; one never seen may still be on its way.
    const missingSince = watch === undefined ? wait.arrivedAt : Math.max(wait.arrivedAt, watch.syncedAt ?? Infinity);
    const checkAt = wait.checkAt ?? (wait.departed === undefined ? missingSince + this.#absentAfterMs : now);
    const until = Math.min(judgement.until ?? Infinity, checkAt);
    if (wait.checking !== undefined || watch?.lagging !== undefined || checkAt > now) {
      // A lagging watch does not say absent; its next list is a reason to look, and so is this.
      const next = checkAt > now ? until : Math.min(judgement.until ?? Infinity, now + this.#absentAfterMs);
      this.#schedule(key, next);
      return [];
    }
    return this.#check(key, wait, now);
  }

  /** Whether this judgement is a deadline's, and the world has not been seen since. */
  #isOverdue({ subscription, checked }: Wait, judged: Judgement, pod: PodProjection | undefined, now: number): boolean {
    const deadline = deadlineOf(subscription, judged, pod, now);
    if (deadline === undefined || subscription.pod === undefined) return false;
    if (checked !== undefined && checked.at >= deadline) return false;
    const watch = this.#book.watchOf(subscription.pod);
    return !isSeenSince(watch, Math.max(deadline, this.#acting.actingSince + SETTLED_AFTER_MS));
  }

  #checkWhenFree(key: string, wait: Wait, at: number, now: number): readonly Action[] {
    if (wait.checking === undefined && at <= now) return this.#check(key, wait, now);
    this.#schedule(key, at > now ? at : now + this.#absentAfterMs);
    return [];
  }

  #check(key: string, wait: Wait, now: number): readonly Action[] {
    const pod = wait.subscription.pod;
    if (pod === undefined) return [];
    const isFull = this.#checksUnderWay >= CHECKS_UNDER_WAY;
    const free = isFull ? now + 1_000 : wait.checkReserved ? now : this.#checkRate.reserve(now);
    if (free > now) {
      // A reservation is kept: the GET goes out when the wheel comes to it.
      wait.checkAt = free;
      wait.checkReserved ||= !isFull;
      this.#schedule(key, free);
      return [];
    }
    wait.checking = { at: now, shown: this.#book.pod(pod.uid), departed: wait.departed };
    wait.checkReserved = false;
    this.#checksUnderWay += 1;
    this.#schedule(key, now + this.#absentAfterMs);
    return [{ kind: 'check', run: wait.run, pod }];
  }

  #conclude(
    key: string,
    wait: Wait,
    judgement: Judgement,
    pod: PodProjection | undefined,
    now: number,
  ): readonly Action[] {
    if (judgement.kind === 'fire') return this.#fire(key, wait, judgement.event, now);
    const running = pod === undefined ? undefined : this.#logging(wait, pod, now);
    if (running === undefined) {
      this.#schedule(key, judgement.until);
      return [];
    }
    if (running > now) {
      this.#schedule(key, Math.min(running, judgement.until ?? Infinity));
      return [];
    }
    wait.loggedStep = wait.subscription.step;
    const actions = this.#fire(key, wait, { kind: 'running', at: now, pod: travelling(pod) }, now);
    this.#schedule(key, judgement.until);
    return actions;
  }

  /** When the run's logs are due to be read; undefined: not in this step. Under too many, later: reserved, and counted. */
  #logging(wait: Wait, pod: PodProjection, now: number): number | undefined {
    const { await: wanted, step } = wait.subscription;
    if (wanted.loggingEveryMs === undefined || wait.loggedStep === step) return undefined;
    if (wait.loggingAt !== undefined && wait.loggingAt > now) return wait.loggingAt;
    if (wait.loggingAt === undefined) {
      const everyMs = floorMs(wanted.loggingEveryMs, this.#minLoggingEveryMs);
      const next = nextLoggingAt(pod, wait.shard, everyMs, wait.arrivedAt);
      if (next === undefined || next > now) return next;
      const free = this.#running.reserve(now);
      if (free <= now) return now;
      this.#postponed += 1;
      wait.loggingAt = free;
      return free;
    }
    return now;
  }

  #fire(key: string, wait: Wait, event: TriggerEvent, now: number): readonly Action[] {
    const { count, againAt } = wait.fired.fire(event.kind, now);
    this.#schedule(key, againAt);
    return count === undefined ? [] : [firing(wait, event, count)];
  }

  #schedule(key: string, at: number | undefined): void {
    if (at === undefined || at === Infinity) this.wheel.cancel(key);
    else this.wheel.schedule(key, at);
  }

  #unlink(key: string, { subscription: { pod } }: Wait): void {
    if (pod !== undefined && this.#byUid.get(pod.uid) === key) this.#byUid.delete(pod.uid);
  }

  #forget(key: string, wait: Wait): void {
    this.#unlink(key, wait);
    this.#waits.delete(key);
    this.#byShard.get(wait.shard)?.delete(key);
    this.wheel.cancel(key);
  }
}
