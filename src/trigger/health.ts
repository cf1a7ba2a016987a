/** The health of a triggerer: alive is not yet ready. */
import { isFenced } from '../core/ownership.ts';
import { shardBits } from '../core/identity.ts';
import type { LoopDelay } from './loop-delay.ts';
import type { HeartbeatFacts, Ownership } from './ownership.ts';
import type { TriggerState } from './trigger-state.ts';
import type { WatchedPods } from './watched-pods.ts';

/** A watch that received nothing for this long does not work: bookmarks and keep-alive bytes come at least every minute. */
const SILENT_AFTER_MS = 120_000;
/** An event loop this late makes every event late. */
const SLOW_LOOP_MS = 1_000;
/** After a watch was behind for so long, another replica is preferred. Reconnecting and listing take less. */
const PREFER_OTHERS_AFTER_MS = 10_000;
/** The bucket of subscriptions publishes a sign of life each second, and its watch starts again after 2.5 s without one. */
const STALE_SUBSCRIPTIONS_AFTER_MS = 5_000;
/** Unsent messages beyond what a burst leaves for a moment. */
const MANY_UNSENT = 1_000;

/** The value behind `/healthz` (`alive`), `/readyz` (`ready`) and `status --triggerers`. */
export interface TriggererHealth {
  /** The process is worth keeping: a restart would not help. `problems` has why, where it would. */
  readonly alive: boolean;
  /** It does its work: a watch has its first list and is not silent, subscriptions are read and up to date, and it is a member. */
  readonly ready: boolean;
  /** It sees all pods and knows all subscriptions: it may be given shards, which others act on meanwhile. */
  readonly sees: boolean;
  /** What is wrong, as sentences without a subject. */
  readonly problems: readonly string[];
  readonly shards: readonly string[];
  readonly waiting: number;
  /** Time since the quietest watch received anything; undefined before the first signal. */
  readonly oldestWatchMs: number | undefined;
  readonly watches: readonly {
    readonly connection: string;
    readonly namespace: string | undefined;
    readonly isSynced: boolean;
    readonly lagging: string | undefined;
    readonly ageMs: number | undefined;
    /** Pods in this watch. */
    readonly pods: number;
  }[];
  readonly loopDelay: LoopDelay;
  /** Messages that cannot be published yet. */
  readonly unsent: number;
  /** Logging intervals stretched since the start. */
  readonly stretched: number;
}

/** What health is judged from. */
export interface HealthInputs {
  readonly pods: Pick<WatchedPods, 'watches'>;
  readonly ownership: Pick<Ownership, 'held' | 'lastEchoAt'>;
  readonly state: Pick<TriggerState, 'isComplete' | 'upToDateAt'> & {
    readonly waits: Pick<TriggerState['waits'], 'size'>;
    readonly logging: Pick<TriggerState['logging'], 'stretched'>;
  };
  readonly loopDelay: LoopDelay;
  readonly unsent: number;
  /** Why only a restart helps; empty: none is needed. */
  readonly stuck: readonly string[];
  /** Epoch milliseconds. */
  readonly now: number;
}

/** The health of a triggerer as of `now`. */
export function triggererHealth({
  pods,
  ownership,
  state,
  loopDelay,
  unsent,
  stuck,
  now,
}: HealthInputs): TriggererHealth {
  const watches = pods.watches.map(({ scope, syncedAt, lagging, receivedAt, pods: count }) => ({
    ...scope,
    isSynced: syncedAt !== undefined,
    lagging,
    ageMs: receivedAt === undefined ? undefined : Math.max(0, now - receivedAt),
    pods: count,
  }));
  const isStale = state.isComplete && now - state.upToDateAt > STALE_SUBSCRIPTIONS_AFTER_MS;
  const own = problemsOf({ ownership, state, isStale, loopDelay, unsent, now });
  const ofWatches = watches.map(watchProblem).filter((problem) => problem !== undefined);
  const problems = [...stuck, ...own, ...ofWatches];
  const ages = watches.flatMap(({ ageMs }) => (ageMs === undefined ? [] : [ageMs]));
  const { rate, floor } = state.logging.stretched;
  return {
    alive: stuck.length === 0,
    ready: stuck.length === 0 && own.length === 0 && (watches.length === 0 || ofWatches.length < watches.length),
    sees:
      state.isComplete &&
      !isStale &&
      pods.watches.every(
        ({ syncedAt, laggingSince }) =>
          syncedAt !== undefined && (laggingSince === undefined || now - laggingSince < PREFER_OTHERS_AFTER_MS),
      ),
    problems,
    shards: [...ownership.held].sort(),
    waiting: state.waits.size,
    oldestWatchMs: ages.length === 0 ? undefined : Math.max(...ages),
    watches,
    loopDelay,
    unsent,
    stretched: rate + floor,
  };
}

/** What is wrong with a watch; `undefined` where nothing is. */
function watchProblem({
  connection,
  namespace,
  isSynced,
  lagging,
  ageMs,
}: TriggererHealth['watches'][number]): string | undefined {
  const name = `watch ${connection}/${namespace ?? '*'}`;
  if (!isSynced) return `${name} has no first list yet${lagging === undefined ? '' : `: ${lagging}`}`;
  if (lagging !== undefined) return `${name} is behind: ${lagging}`;
  return ageMs !== undefined && ageMs > SILENT_AFTER_MS ? `${name} has been silent for ${ageMs} ms` : undefined;
}

/** What is wrong with the process itself. */
function problemsOf({
  ownership,
  state,
  isStale,
  loopDelay,
  unsent,
  now,
}: Omit<HealthInputs, 'pods' | 'stuck'> & { readonly isStale: boolean }): readonly string[] {
  const fenced = isFenced(ownership.lastEchoAt, now);
  return [
    ...(fenced ? ['does not receive its own heartbeats, so it acts on nothing'] : []),
    ...(state.isComplete ? [] : ['has not read all subscriptions yet']),
    ...(isStale && !fenced ? [`has received nothing about subscriptions for ${now - state.upToDateAt} ms`] : []),
    ...(loopDelay.p99 > SLOW_LOOP_MS ? [`its event loop is ${loopDelay.p99} ms late`] : []),
    ...(unsent > MANY_UNSENT ? [`${unsent} messages wait to be published`] : []),
  ];
}

/** Health as heartbeats carry it. `since`: when the process began, epoch milliseconds. */
export function heartbeatFacts(health: TriggererHealth, since: number): HeartbeatFacts {
  const { waiting, oldestWatchMs, shards, watches, problems, loopDelay, stretched, sees } = health;
  return {
    since,
    ready: sees,
    waiting,
    ...(oldestWatchMs === undefined ? {} : { watchAgeMs: oldestWatchMs }),
    owned: shardBits(new Set(shards)),
    watches: watches.map(({ connection, namespace, pods, ageMs, lagging }) => ({
      connection,
      pods,
      ...(namespace === undefined ? {} : { namespace }),
      ...(ageMs === undefined ? {} : { ageMs }),
      // An error of a server may be long; a heartbeat is short.
      ...(lagging === undefined ? {} : { lagging: lagging.slice(0, 200) }),
    })),
    problems: problems.map((problem) => problem.slice(0, 200)),
    loopDelayMs: loopDelay.p99,
    stretched,
  };
}
