/** Who watches the pods, and how they are: the sum of what triggerers say of themselves. */
import { catchError, lastValueFrom, scan, takeUntil, throwError, timer } from 'rxjs';
import type { Observable } from 'rxjs';
import { SHARDS, shardsOf } from '../core/shard.ts';
import { ReentryError } from '../errors.ts';
import type { Heartbeat } from '../wire/presence.ts';

/** Two heartbeats and a little. */
const LISTEN_MS = 1_300;

/** What was heard. */
export interface Triggerers {
  /** Each replica's newest word, by its name. */
  readonly triggerers: readonly Heartbeat[];
  /** Shards that nobody acts on: their runs wait without a watcher. Empty, but for moments of a take-over. */
  readonly unowned: readonly string[];
  /** Shards that two act on: harmless, and over within a second. */
  readonly contested: readonly string[];
}

/** Listens for a while and adds up. @throws ReentryError FORBIDDEN */
export async function collectTriggerers(heartbeats$: Observable<Heartbeat>, listenMs = LISTEN_MS): Promise<Triggerers> {
  const heard = await lastValueFrom(
    heartbeats$.pipe(
      catchError((cause: unknown) =>
        throwError(
          () =>
            new ReentryError(
              'FORBIDDEN',
              "these credentials may not hear the triggerers; use the operator's (role setup)",
              {
                transient: false,
                cause,
              },
            ),
        ),
      ),
      // Its newest word stands for a replica; nobody is heard beyond the time.
      scan((known, beat) => known.set(beat.replica, beat), new Map<string, Heartbeat>()),
      takeUntil(timer(listenMs)),
    ),
    { defaultValue: new Map<string, Heartbeat>() },
  );
  return summarize([...heard.values()]);
}

/** Pure: who owns what, by everyone's own word. */
export function summarize(heartbeats: readonly Heartbeat[]): Triggerers {
  const owners = new Map<string, number>();
  for (const { owned = '' } of heartbeats)
    for (const shard of shardsOf(owned)) owners.set(shard, (owners.get(shard) ?? 0) + 1);
  return {
    triggerers: heartbeats.toSorted((a, b) => (a.replica < b.replica ? -1 : 1)),
    unowned: SHARDS.filter((shard) => !owners.has(shard)),
    contested: SHARDS.filter((shard) => (owners.get(shard) ?? 0) > 1),
  };
}
