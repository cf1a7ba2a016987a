/** Which triggerers are alive and which shards they own, from their heartbeats. */
import { catchError, lastValueFrom, scan, takeUntil, throwError, timer } from 'rxjs';
import type { Observable } from 'rxjs';
import { SHARDS, shardsOf } from '../core/identity.ts';
import { ReentryError } from '../errors.ts';
import type { Heartbeat } from '../wire/presence.ts';

/** Two heartbeats and some slack. */
const LISTEN_MS = 1_300;

/** The triggerers of an installation. */
export interface Triggerers {
  /** The newest heartbeat of each replica, by its name. */
  readonly triggerers: readonly Heartbeat[];
  /** Shards without an owner: their runs wait unwatched. Empty, except for moments of a take-over. */
  readonly unowned: readonly string[];
  /** Shards with two owners: harmless, and over within a second. */
  readonly contested: readonly string[];
}

/** Collects heartbeats for `listenMs`, in milliseconds (default 1,300). @throws ReentryError FORBIDDEN */
export async function collectTriggerers(heartbeats$: Observable<Heartbeat>, listenMs = LISTEN_MS): Promise<Triggerers> {
  const forbidden = (cause: unknown) =>
    new ReentryError(
      'FORBIDDEN',
      "these credentials may not subscribe to triggerers' heartbeats; use the operator's (role setup)",
      { transient: false, cause },
    );
  const newest = await lastValueFrom(
    heartbeats$.pipe(
      catchError((cause: unknown) => throwError(() => forbidden(cause))),
      scan((known, heartbeat) => known.set(heartbeat.replica, heartbeat), new Map<string, Heartbeat>()),
      takeUntil(timer(listenMs)),
    ),
    { defaultValue: new Map<string, Heartbeat>() },
  );
  return summarize([...newest.values()]);
}

/** Pure: the owner of each shard, as the heartbeats report it. */
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
