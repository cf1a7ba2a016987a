/** A run's log for one reader: the history page by page and, with `follow`, what is published live. */
import { filter, firstValueFrom, fromEvent, interval, map, merge, of, scan, shareReplay, take, takeUntil } from 'rxjs';
import type { Observable } from 'rxjs';
import type { z } from 'zod';
import { ReentryError } from '../errors.ts';
import type { ClientBroker } from '../ports/client.ts';
import type { RunKey } from '../wire/subjects.ts';
import type { LogText } from './log-lines.ts';
import { LogMerge } from './log-merge.ts';
import type { logsReplySchema } from './replies.ts';

/** Log chunks per page. */
const LOG_PAGE = 200;

/** Where a reader's log comes from. */
export interface LogOrigin {
  readonly broker: ClientBroker;
  readonly run: RunKey;
  /** Emits once when the run has completed. */
  readonly completed$: Observable<unknown>;
  /** Emits when no more can come, and at once to later subscribers: a follow ends. */
  readonly closed$: Observable<unknown>;
  /** Interval at which history is read, and a live follow renewed, even without a sign of more, in milliseconds. */
  readonly lookAgainMs: number;
  /** Calls the service `logs`. */
  page(payload: object): Promise<z.infer<typeof logsReplySchema>>;
}

/** What to read. */
export interface LogSelection {
  /** Continue until the run has completed. Default false. */
  readonly follow?: boolean;
  readonly attempt?: number;
  readonly container?: string;
}

/** What has happened since a follow began. The counts only grow. */
interface Signs {
  readonly all: number;
  /** Signs that there is more history to read: all but live text. */
  readonly stored: number;
  readonly over: boolean;
}

/** Every sign that the log has grown. Live text goes to `onLive` as it comes. */
function signs$(
  { broker, run, completed$, closed$, lookAgainMs }: LogOrigin,
  merged: Pick<LogMerge, 'addLive'>,
): Observable<Signs> {
  return merge(
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
        all: seen.all + 1,
        stored: seen.stored + (sign === 'live' ? 0 : 1),
        over: seen.over || sign === 'over',
      }),
      { all: 0, stored: 0, over: false },
    ),
    takeUntil(closed$),
    shareReplay({ bufferSize: 1, refCount: true }),
  );
}

/**
 * Yields the stored lines after sequence `after`, page by page. Returns the sequence to continue from; `closed` where a follow ended
 * meanwhile. `follows`: the first page also asks a worker to publish the log live.
 */
async function* historyAfter(
  after: number | undefined,
  merged: LogMerge,
  { run, page, closed$ }: LogOrigin,
  { follow, follows, which }: { readonly follow: boolean; readonly follows: boolean; readonly which: object },
): AsyncGenerator<LogText, number | undefined | 'closed', undefined> {
  let last = after;
  for (let isFirst = true; ; isFirst = false) {
    const payload = {
      ...{ runId: run.runId, ...which, limit: LOG_PAGE },
      ...(last === undefined ? {} : { after: last }),
      ...(follows && isFirst ? { follow: merged.takeMissed() ? 'join' : 'renew' } : {}),
    };
    const found = await page(payload).catch(async (error: unknown) => {
      if (follow && (await hasEmitted(closed$))) return undefined;
      // A worker may not have accepted a run that was just submitted.
      if (!follows || !(error instanceof ReentryError) || error.code !== 'NOT_FOUND') throw error;
      merged.markUnfollowed();
      return { chunks: [], next: undefined };
    });
    if (found === undefined) return 'closed';
    if ('live' in found && found.live === false) merged.markUnfollowed();
    if ('containerNames' in found && found.containerNames === true) merged.nameContainers();
    for (const chunk of found.chunks) yield* merged.stored(chunk);
    last = found.chunks.at(-1)?.sequence ?? found.next ?? last;
    if (found.next === undefined || found.next === null || found.chunks.length === 0) return last;
  }
}

/** The lines of a run's log, each once: the stored ones and, with `follow`, those to come until the run has completed or `closed$` emits. */
export async function* readLines(
  origin: LogOrigin,
  { follow = false, ...which }: LogSelection,
): AsyncGenerator<LogText, void, undefined> {
  const merged = new LogMerge(which);
  const growing$ = signs$(origin, merged);
  const end = new AbortController();
  // Subscribed throughout, so that no sign is lost between two reads.
  const subscribed = follow
    ? firstValueFrom(merge(growing$.pipe(filter(() => false)), aborted$(end.signal)), { defaultValue: undefined })
    : undefined;
  try {
    let after: number | undefined;
    let seen: Signs = { all: 0, stored: 0, over: !follow };
    let read = -1;
    for (;;) {
      if (seen.stored > read || merged.hasMissed) {
        read = seen.stored;
        const ended = yield* historyAfter(after, merged, origin, { follow, follows: follow && !seen.over, which });
        if (ended === 'closed') return;
        after = ended;
      }
      yield* merged.live();
      if (seen.over) return;
      const before = seen.all;
      const next = await firstValueFrom(growing$.pipe(filter(({ all }) => all > before)), { defaultValue: undefined });
      if (next === undefined) return; // closed
      seen = next;
    }
  } finally {
    end.abort();
    await subscribed;
  }
}

/** Whether `source$` emits at once. */
function hasEmitted(source$: Observable<unknown>): Promise<boolean> {
  return firstValueFrom(merge(source$.pipe(map(() => true)), of(false)), { defaultValue: false });
}

/** Settles when the signal aborts; emits nothing before. */
function aborted$(signal: AbortSignal): Observable<undefined> {
  return fromEvent(signal, 'abort').pipe(
    take(1),
    map(() => undefined),
  );
}
