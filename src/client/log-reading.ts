/** A run's log for one reader: history by pages, and while it goes on what is heard live. */
import { filter, firstValueFrom, fromEvent, interval, map, merge, of, scan, shareReplay, take, takeUntil } from 'rxjs';
import type { Observable } from 'rxjs';
import type { z } from 'zod';
import { ReentryError } from '../errors.ts';
import type { ClientBroker } from '../ports/client.ts';
import type { RunKey } from '../wire/subjects.ts';
import { LogMerge } from './log-merge.ts';
import type { LogText } from './log-lines.ts';
import type { logsReplySchema } from './replies.ts';

/** Log chunks asked for at once. */
const LOG_PAGE = 200;

/** Where a reader's log comes from. */
export interface LogOrigin {
  readonly broker: ClientBroker;
  readonly run: RunKey;
  /** Emits once when the run has completed. */
  readonly completed$: Observable<unknown>;
  /** Emits, from then on at once, when no more can come: a follow ends. */
  readonly closed$: Observable<unknown>;
  /** Also when there is no sign of more, history is looked at so often, in milliseconds; a live follow is asked to go on as often. */
  readonly lookAgainMs: number;
  page(payload: object): Promise<z.infer<typeof logsReplySchema>>;
}

/** What a reader wants. */
export interface LogSelection {
  readonly follow?: boolean;
  readonly attempt?: number;
  readonly container?: string;
}

/** All stored lines; with `follow` those heard live, too, and what is stored after each sign of more, until the run has completed or `closed$` emits. Each line once. */
export async function* readLines(
  { broker, run, completed$, closed$, lookAgainMs, page }: LogOrigin,
  { follow = false, ...which }: LogSelection,
): AsyncGenerator<LogText, void, undefined> {
  const merged = new LogMerge(which);
  const signs$ = merge(
    broker.logChunks$(run).pipe(map(() => 'stored' as const)),
    // A launch is when there is something to follow.
    broker.events$(run).pipe(map(() => 'stored' as const)),
    broker.live$(run).pipe(
      map((chunk) => {
        merged.addLive(chunk);
        return 'live' as const;
      }),
    ),
    completed$.pipe(map(() => 'over' as const)),
    interval(lookAgainMs).pipe(map(() => 'stored' as const)),
  ).pipe(
    scan(
      (seen, sign) => ({
        signs: seen.signs + 1,
        // Counted apart: text heard live is no reason to read history.
        stored: seen.stored + (sign === 'live' ? 0 : 1),
        over: seen.over || sign === 'over',
      }),
      { signs: 0, stored: 0, over: false },
    ),
    takeUntil(closed$),
    shareReplay({ bufferSize: 1, refCount: true }),
  );
  const end = new AbortController();
  // Kept hot, so that no sign between two looks is lost.
  const hot = follow
    ? firstValueFrom(merge(signs$.pipe(filter(() => false)), aborted$(end.signal)), { defaultValue: undefined })
    : undefined;
  try {
    let after: number | undefined;
    let seen = { signs: 0, stored: 0, over: !follow };
    let read = -1;
    for (;;) {
      if (seen.stored > read || merged.hasMissed) {
        read = seen.stored;
        let followed = !follow || seen.over;
        for (;;) {
          const asked = {
            ...{ runId: run.runId, ...which, limit: LOG_PAGE },
            ...(after === undefined ? {} : { after }),
            ...(followed ? {} : { follow: merged.takeMissed() ? 'join' : 'renew' }),
          };
          followed = true;
          const found = await page(asked).catch(async (error: unknown) => {
            if (follow && (await isOver(closed$))) return undefined;
            // A run that was just asked for may not have been taken in yet.
            if (!follow || seen.over || !(error instanceof ReentryError) || error.code !== 'NOT_FOUND') throw error;
            merged.markUnfollowed();
            return { chunks: [], next: undefined };
          });
          if (found === undefined) return;
          if ('live' in found && found.live === false) merged.markUnfollowed();
          if ('containerNames' in found && found.containerNames === true) merged.nameContainers();
          for (const chunk of found.chunks) yield* merged.stored(chunk);
          after = found.chunks.at(-1)?.sequence ?? found.next ?? after;
          if (found.next === undefined || found.next === null || found.chunks.length === 0) break;
        }
      }
      yield* merged.live();
      if (seen.over) return;
      const before = seen.signs;
      const next = await firstValueFrom(signs$.pipe(filter(({ signs }) => signs > before)), {
        defaultValue: undefined,
      });
      if (next === undefined) return; // closed
      seen = next;
    }
  } finally {
    end.abort();
    await hot;
  }
}

/** Whether what emits from its time on has emitted. */
function isOver(over$: Observable<unknown>): Promise<boolean> {
  return firstValueFrom(merge(over$.pipe(map(() => true)), of(false)), { defaultValue: false });
}

/** Settles when the signal fires; emits nothing. */
function aborted$(signal: AbortSignal): Observable<undefined> {
  return fromEvent(signal, 'abort').pipe(
    take(1),
    map(() => undefined),
  );
}
