/** How a triggerer is: "alive" is not "working". */
import { isFenced } from '../core/ownership.ts';
import { shardBits } from '../core/shard.ts';
import type { Heartbeat } from '../wire/presence.ts';
import type { LoopDelay } from './loop-delay.ts';
import type { Ownership } from './ownership.ts';
import type { PodBook } from './pod-book.ts';

/** A watch not heard for this long is not working: bookmarks and keep-alive bytes come at least every minute. */
const SILENT_AFTER_MS = 120_000;
/** An event loop this late makes every event late. */
const SLOW_LOOP_MS = 1_000;
/** A watch behind for so long: another replica may see more. Reconnecting and listing take less. */
const BLIND_AFTER_MS = 10_000;
/** Nothing heard of the bucket of subscriptions for so long, while connected: its beacon comes each second, and its watch starts again after 2.5 s. */
const DEAF_AFTER_MS = 5_000;
/** Words that wait for the broker, beyond what a burst leaves for a moment. */
const MANY_UNSENT = 1_000;

/** The value behind `/healthz` (`alive`), `/readyz` (`ready`) and `status --triggerers`. */
export interface TriggererHealth {
  /** The process is worth keeping: at least its own heartbeat comes back, or it has not started yet. */
  readonly alive: boolean;
  /** It does its work: every watch has its first list and is heard, it knows who waits and hears of changes, and it is a member. */
  readonly ready: boolean;
  /** It sees all pods and knows all that waits: it may be given shards, which others act on meanwhile. */
  readonly sees: boolean;
  /** What is not as it should be, in words. */
  readonly problems: readonly string[];
  readonly shards: readonly string[];
  readonly waiting: number;
  /** Time since the quietest watch was heard; undefined before the first word. */
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
  /** Events that wait for a place to be published. */
  readonly unsent: number;
  /** Logging intervals stretched since the start. */
  readonly stretched: number;
}

/** What health is judged from. */
export interface HealthInputs {
  readonly book: PodBook;
  readonly ownership: Ownership;
  readonly waiting: number;
  /** All subscriptions have been read once. */
  readonly knowsAll: boolean;
  /** When the watch of subscriptions was last known to be up to date; a new connection begins anew. */
  readonly waitsHeardAt: number;
  readonly loopDelay: LoopDelay;
  readonly unsent: number;
  readonly stretched: number;
  readonly now: number;
}

/** The health of a triggerer as of `now`. */
export function triggererHealth(inputs: HealthInputs): TriggererHealth {
  const { book, ownership, waiting, knowsAll, waitsHeardAt, loopDelay, unsent, stretched, now } = inputs;
  const watches = book.watches.map(({ scope, syncedAt, lagging, heardAt, pods }) => ({
    ...scope,
    isSynced: syncedAt !== undefined,
    lagging,
    ageMs: heardAt === undefined ? undefined : Math.max(0, now - heardAt),
    pods,
  }));
  const fenced = isFenced(ownership.lastEchoAt, now);
  const deafMs = now - waitsHeardAt;
  const isDeaf = knowsAll && deafMs > DEAF_AFTER_MS;
  const problems = [
    ...(fenced ? ['does not hear its own heartbeat, so it acts on nothing'] : []),
    ...(knowsAll ? [] : ['has not read all subscriptions yet']),
    ...(isDeaf && !fenced ? [`has not heard of subscriptions for ${deafMs} ms`] : []),
    ...watches.flatMap(({ connection, namespace, isSynced, lagging, ageMs }) => {
      const name = `watch ${connection}/${namespace ?? '*'}`;
      if (!isSynced) return [`${name} has no first list yet${lagging === undefined ? '' : `: ${lagging}`}`];
      if (lagging !== undefined) return [`${name} is behind: ${lagging}`];
      return ageMs !== undefined && ageMs > SILENT_AFTER_MS ? [`${name} has been silent for ${ageMs} ms`] : [];
    }),
    ...(loopDelay.p99 > SLOW_LOOP_MS ? [`its event loop is ${loopDelay.p99} ms late`] : []),
    ...(unsent > MANY_UNSENT ? [`${unsent} events wait for the broker to take them`] : []),
  ];
  const ages = watches.flatMap(({ ageMs }) => (ageMs === undefined ? [] : [ageMs]));
  return {
    // Fencing for minutes is a broken process or a broken broker; a restart costs nothing, its state is elsewhere.
    alive: ownership.lastEchoAt === undefined || now - ownership.lastEchoAt < SILENT_AFTER_MS,
    ready: problems.length === 0,
    sees:
      knowsAll &&
      !isDeaf &&
      book.watches.every(
        ({ syncedAt, laggingSince }) =>
          syncedAt !== undefined && (laggingSince === undefined || now - laggingSince < BLIND_AFTER_MS),
      ),
    problems,
    shards: [...ownership.held].sort(),
    waiting,
    oldestWatchMs: ages.length === 0 ? undefined : Math.max(...ages),
    watches,
    loopDelay,
    unsent,
    stretched,
  };
}

/** What a heartbeat tells beside being there: enough for `status --triggerers`. */
export type HeartbeatFacts = Omit<Heartbeat, 'v' | 'replica' | 'draining' | 'at' | 'shards'>;

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
      // A server's words may be long; a heartbeat is not the place for them.
      ...(lagging === undefined ? {} : { lagging: lagging.slice(0, 200) }),
    })),
    problems: problems.map((problem) => problem.slice(0, 200)),
    loopDelayMs: loopDelay.p99,
    stretched,
  };
}
