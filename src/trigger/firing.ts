/** What a triggerer asks of the workers, as values with ids that are the same whichever replica makes them. */
import { backOffMs } from '../core/back-off.ts';
import type { SubscriptionChange } from '../ports/stores.ts';
import type { PodProjection } from '../core/pod/projection.ts';
import type { ResumeMessage, StartMessage } from '../wire/steps.ts';
import type { TriggerEvent } from '../wire/triggers.ts';
import { WIRE_VERSION } from '../core/wire-version.ts';
import { keys, type RunKey } from '../wire/subjects.ts';

/** A trigger event and the step that it asks for. */
export interface Firing {
  readonly kind: 'fire';
  readonly run: RunKey;
  readonly queue: string;
  readonly id: string;
  readonly event: TriggerEvent;
  /** Revision of the subscription that fired. */
  readonly revision: number;
  readonly step:
    | { readonly lane: 'resume'; readonly message: ResumeMessage }
    | { readonly lane: 'start'; readonly message: StartMessage };
}

/** A pod without a subscription: reported to a worker, which reads the run's state and decides. */
export interface OrphanReport {
  readonly kind: 'orphan';
  readonly run: RunKey;
  readonly queue: string;
  readonly id: string;
  readonly pod: PodProjection;
}

/** What is published to workers. */
export type TriggerMessage = Firing | OrphanReport;

type StoredSubscription = SubscriptionChange & { readonly kind: 'put' };

/**
 * The id is `fire:<run key>:<step>:<n>`, where n is the subscription's revision, the kind and a count: every replica that fires the same
 * makes the same id (the broker stores one), and two different firings of one step never share one.
 */
export function firing(
  { run, subscription, revision }: Pick<StoredSubscription, 'run' | 'subscription' | 'revision'>,
  event: TriggerEvent,
  count: number,
): Firing {
  const { queue, attempt, step, stateRev } = subscription;
  const id = `fire:${keys.run(run)}:${step}:${revision}.${event.kind}.${count}`;
  const common = { kind: 'fire', run, queue, id, event, revision } as const;
  // Only time and absence start an attempt; any other event of a queued run (EXPIRED) is a worker's to decide.
  if (subscription.then === 'start' && (event.kind === 'timer' || event.kind === 'gone')) {
    return { ...common, step: { lane: 'start', message: { v: WIRE_VERSION, attempt, stateRev } } };
  }
  return {
    ...common,
    step: { lane: 'resume', message: { v: WIRE_VERSION, attempt, step, stateRev, subRev: revision, event } },
  };
}

/** An unchanged subscription fires again after this long, then after twice as long each time, up to the maximum. */
const REPEAT_AFTER_MS = 60_000;
const MAX_REPEAT_AFTER_MS = 600_000;
/** After a publish that failed in spite of its own retries. */
const REPEAT_AFTER_FAILURE_MS = 5_000;

/** The firings of one kind of event for one revision of a subscription. Times are epoch milliseconds. */
interface Fired {
  readonly kind: TriggerEvent['kind'];
  /** Number of the last one, from 0; −1: the first was not published. */
  readonly count: number;
  readonly againAt: number;
}

/** The firings of one revision of a subscription, by kind. The event is repeated, since its message may have been lost on a worker's way. */
export type Firings = readonly Fired[];
export const NOT_FIRED: Firings = [];

/** The n-th firing of a kind (from 0), noted in `firings`; or, without `count`, when the next is due. */
export function repeated(
  firings: Firings,
  kind: TriggerEvent['kind'],
  now: number,
): { readonly firings: Firings; readonly count: number | undefined; readonly againAt: number } {
  const before = firings.find((fired) => fired.kind === kind);
  if (before !== undefined && now < before.againAt) return { firings, count: undefined, againAt: before.againAt };
  const count = (before?.count ?? -1) + 1;
  const againAt = now + backOffMs(count + 1, REPEAT_AFTER_MS, MAX_REPEAT_AFTER_MS);
  return { firings: [...firings.filter((fired) => fired !== before), { kind, count, againAt }], count, againAt };
}

/** The last firing of a kind was not published: it is repeated soon, under the same number. `undefined`: there was none. */
export function takenBack(
  firings: Firings,
  kind: TriggerEvent['kind'],
  now: number,
): { readonly firings: Firings; readonly againAt: number } | undefined {
  const last = firings.find((fired) => fired.kind === kind);
  if (last === undefined) return undefined;
  const againAt = now + REPEAT_AFTER_FAILURE_MS;
  return {
    firings: [...firings.filter((fired) => fired !== last), { kind, count: last.count - 1, againAt }],
    againAt,
  };
}
