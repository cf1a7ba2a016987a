/** How a triggerer is: "alive" is not "working". */
import { isFenced } from '../core/ownership.ts';
import type { Ownership } from './ownership.ts';
import type { PodBook } from './pod-book.ts';

/** A watch not heard for this long is not working: bookmarks and keep-alive bytes come at least every minute. */
const SILENT_AFTER_MS = 120_000;

/** The value behind `/healthz` (`alive`), `/readyz` (`ready`) and `status --triggerers`. */
export interface TriggererHealth {
  /** The process is worth keeping: at least its own heartbeat comes back, or it has not started yet. */
  readonly alive: boolean;
  /** It does its work: every watch has its first list and is heard, and it is a member. */
  readonly ready: boolean;
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
    /** Pods in all watches of this triggerer. */
    readonly pods: number;
  }[];
}

/** The health of a triggerer as of `now`. */
export function triggererHealth({
  book,
  ownership,
  waiting,
  now,
}: {
  readonly book: PodBook;
  readonly ownership: Ownership;
  readonly waiting: number;
  readonly now: number;
}): TriggererHealth {
  const watches = book.watches.map(({ scope, syncedAt, lagging, heardAt }) => ({
    ...scope,
    isSynced: syncedAt !== undefined,
    lagging,
    ageMs: heardAt === undefined ? undefined : Math.max(0, now - heardAt),
    pods: book.size,
  }));
  const fenced = isFenced(ownership.lastEchoAt, now);
  const problems = [
    ...(fenced ? ['does not hear its own heartbeat, so it acts on nothing'] : []),
    ...watches.flatMap(({ connection, namespace, isSynced, lagging, ageMs }) => {
      const name = `watch ${connection}/${namespace ?? '*'}`;
      if (!isSynced) return [`${name} has no first list yet`];
      if (lagging !== undefined) return [`${name} is behind: ${lagging}`];
      return ageMs !== undefined && ageMs > SILENT_AFTER_MS ? [`${name} has been silent for ${ageMs} ms`] : [];
    }),
  ];
  const ages = watches.flatMap(({ ageMs }) => (ageMs === undefined ? [] : [ageMs]));
  return {
    // Fencing for minutes is a broken process or a broken broker; a restart costs nothing, its state is elsewhere.
    alive: ownership.lastEchoAt === undefined || now - ownership.lastEchoAt < SILENT_AFTER_MS,
    ready: problems.length === 0,
    problems,
    shards: [...ownership.held].sort(),
    waiting,
    oldestWatchMs: ages.length === 0 ? undefined : Math.max(...ages),
    watches,
  };
}
