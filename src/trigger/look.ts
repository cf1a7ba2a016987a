/** One look at one wait: what the state of its pod means now, and when to look again. Pure. */
import { judge, judgeAbsence, type Judgement, podInMessage, startDeadlines } from '../core/pod/judge.ts';
import type { PodProjection, PodRef } from '../core/pod/projection.ts';
import type { Subscription, TriggerEvent } from '../wire/triggers.ts';
import { type Check, checking, type CheckIntervals } from './absence-checks.ts';
import { type Firing, firing, repeated } from './firing.ts';
import { nextLoggingAt } from './logging-interval.ts';
import type { Wait } from './waits.ts';
import type { WatchState } from './watched-pods.ts';

/** What is known when a wait is looked at. */
export interface Known {
  /** The pod as the watch shows it. */
  readonly shown: PodProjection | undefined;
  /** The watch that would show the pod; `undefined` where none does. */
  readonly watch: Readonly<WatchState> | undefined;
  /** The gate of a run that waits for its turn is open. */
  readonly isAdmitted: boolean;
  /** The logging interval is over. */
  readonly logsAreDue: boolean;
  /** Since when this process acts without a break, epoch milliseconds; before that it was starting, frozen or cut off. */
  readonly actingSince: number;
}

export interface LookSettings extends CheckIntervals {
  /** Shortest logging interval; shorter ones are stretched to it. */
  readonly minLoggingEveryMs: number;
}

/** What is to be done about a wait. */
export type Effect = Firing | Check;

/** What a look at a wait comes to. Without `at` only a change is a reason to look again. */
export interface Look {
  readonly wait: Wait;
  /** Look again then, epoch milliseconds. */
  readonly at: number | undefined;
  /** When the logging interval is over. */
  readonly logsAt: number | undefined;
  readonly effect: Effect | undefined;
}

/** Compares a wait with the cluster. A level: looked at again, it comes to the same. */
export function look(wait: Wait, known: Known, now: number, settings: LookSettings): Look {
  const { subscription, absence } = wait;
  const { shown, watch } = known;
  const checked = absence?.checked?.over === shown ? absence?.checked?.pod : undefined;
  const pod = checked ?? shown ?? absence?.departed?.pod;
  const ref = subscription.pod;
  if (ref === undefined || shown !== undefined) {
    const judgement = judge(subscription, pod, now, known.isAdmitted);
    return isUnproven(wait, judgement, pod, known, now)
      ? checkAfter(wait, absence?.checkAt ?? now, known, now, settings)
      : conclude(wait, judgement, pod, known, now, settings);
  }
  if (absence?.isConfirmed === true || absence?.departed?.confirmed === true)
    return conclude(wait, judgeAbsence(subscription, pod, now), undefined, known, now, settings);
  if (watch === undefined && subscription.then === 'resume') return fire(wait, notWatched(ref, now), now);
  const judgement = judge(subscription, pod, now);
  if (judgement.kind === 'fire')
    return isUnproven(wait, judgement, pod, known, now)
      ? checkAfter(wait, absence?.checkAt ?? now, known, now, settings)
      : conclude(wait, judgement, undefined, known, now, settings);
  return lookForMissing(wait, judgement.until ?? Infinity, known, now, settings);
}

/** The watch does not show the pod, and no deadline is over. */
function lookForMissing(wait: Wait, until: number, known: Known, now: number, settings: LookSettings): Look {
  const { absence, arrivedAt } = wait;
  const { watch } = known;
  // A pod that left only the selection is asked for at once; one never seen may still be on its way.
  const missingSince = watch === undefined ? arrivedAt : Math.max(arrivedAt, watch.syncedAt ?? Infinity);
  const checkAt = absence?.checkAt ?? (absence?.departed === undefined ? missingSince + settings.absentAfterMs : now);
  if (checkAt > now) return later(wait, Math.min(until, checkAt));
  // A watch that is behind does not prove absence; its next list is a reason to look, and so is this.
  if (absence?.isChecking === true || watch?.lagging !== undefined)
    return later(wait, Math.min(until, now + settings.absentAfterMs));
  return check(wait, known, now, settings);
}

const later = (wait: Wait, at: number | undefined): Look => ({ wait, at, logsAt: undefined, effect: undefined });

function conclude(
  wait: Wait,
  judgement: Judgement,
  pod: PodProjection | undefined,
  { logsAreDue }: Known,
  now: number,
  settings: LookSettings,
): Look {
  if (judgement.kind === 'fire') return fire(wait, judgement.event, now);
  const logsAt = pod === undefined ? undefined : loggingAt(wait, pod, settings);
  if (pod === undefined || logsAt === undefined || !logsAreDue)
    return { wait, at: judgement.until, logsAt, effect: undefined };
  const logged = { ...wait, loggedStep: wait.subscription.step };
  return { ...fire(logged, { kind: 'running', at: now, pod: podInMessage(pod) }, now), at: judgement.until };
}

/** When the run's logs are to be read; `undefined`: not in this step. */
function loggingAt(wait: Wait, pod: PodProjection, { minLoggingEveryMs }: LookSettings): number | undefined {
  const { await: wanted, step } = wait.subscription;
  if (wanted.loggingEveryMs === undefined || wait.loggedStep === step) return undefined;
  return nextLoggingAt(pod, wait.shard, Math.max(wanted.loggingEveryMs, minLoggingEveryMs), wait.arrivedAt);
}

/** Fires an event, unless it was fired a moment ago. */
function fire(wait: Wait, event: TriggerEvent, now: number): Look {
  const { firings, count, againAt } = repeated(wait.firings, event.kind, now);
  if (count === undefined) return later(wait, againAt);
  return { wait: { ...wait, firings }, at: againAt, logsAt: undefined, effect: firing(wait, event, count) };
}

const notWatched = ({ connection, namespace }: PodRef, now: number): TriggerEvent => ({
  kind: 'error',
  reason: 'NOT_WATCHED',
  message: `no watch of this triggerer shows ${connection}/${namespace}`,
  at: now,
});

function checkAfter(wait: Wait, at: number, known: Known, now: number, settings: LookSettings): Look {
  if (wait.absence?.isChecking !== true && at <= now) return check(wait, known, now, settings);
  return later(wait, at > now ? at : now + settings.absentAfterMs);
}

function check(wait: Wait, { shown }: Known, now: number, { absentAfterMs }: LookSettings): Look {
  const { run, absence, subscription } = wait;
  if (subscription.pod === undefined) return later(wait, undefined);
  return {
    wait: { ...wait, absence: checking(absence) },
    at: now + absentAfterMs,
    logsAt: undefined,
    effect: { kind: 'check', run, pod: subscription.pod, sentAt: now, shown, departed: absence?.departed },
  };
}

/** How long after a freeze, or after a watch came back, what happened before may still be on its way, or wait in a socket. */
export const SETTLED_AFTER_MS = 1_000;

/**
 * Whether this judgement is a deadline's, and the pod has not been seen since. It may have started or ended in time while the watch was
 * down, or while this process stood still: what is known from before the deadline must not end a run.
 */
function isUnproven(
  { subscription, absence }: Wait,
  judgement: Judgement,
  pod: PodProjection | undefined,
  { watch, actingSince }: Known,
  now: number,
): boolean {
  const deadline = deadlineOf(subscription, judgement, pod, now);
  if (deadline === undefined || subscription.pod === undefined) return false;
  if (absence?.checked !== undefined && absence.checked.at >= deadline) return false;
  return !isSeenSince(watch, Math.max(deadline, actingSince + SETTLED_AFTER_MS));
}

/** The deadline behind a time-out of a pod; `undefined` where a judgement is none, or does not depend on the pod's state. */
function deadlineOf(
  { await: wanted, pod: ref }: Subscription,
  judgement: Judgement,
  pod: PodProjection | undefined,
  now: number,
): number | undefined {
  if (judgement.kind !== 'fire' || judgement.event.kind !== 'timeout') return undefined;
  // A wait for absence, or for a time alone, expires by the clock.
  if (ref === undefined || wanted.terminal !== true || wanted.gone === true) return undefined;
  // A start's deadline depends on what is known of the pod.
  const { startBy, scheduleBy } = pod === undefined ? wanted : startDeadlines(wanted, pod);
  let last = 0;
  for (const at of [wanted.timeoutAt, startBy, scheduleBy])
    if (at !== undefined && at <= now) last = Math.max(last, at);
  return last;
}

/** Whether a watch was complete and received anything after `instant`: then what it shows is not older. */
export function isSeenSince(watch: Readonly<WatchState> | undefined, instant: number): boolean {
  if (watch?.syncedAt === undefined || watch.upSince === undefined) return false;
  return watch.receivedAt !== undefined && watch.receivedAt > Math.max(instant, watch.upSince + SETTLED_AFTER_MS);
}
