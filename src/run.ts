import { delay, lastValueFrom, map, share, takeUntil } from 'rxjs';
import type { Observable } from 'rxjs';
import { ReentryError } from './errors.ts';

/** A role's work: accepts nothing new once `stop$` emits, and completes when the work in progress is done. */
export type Work = (stop$: Observable<unknown>) => Observable<never>;

/** `work$`; errors with DRAIN_OVERDUE when it has not completed `drainMs` after `stop$`. */
export function drained$(work$: Work, stop$: Observable<unknown>, drainMs: number): Observable<never> {
  const overdue$ = stop$.pipe(
    delay(drainMs),
    map(() => {
      throw new ReentryError(
        'DRAIN_OVERDUE',
        `work was still in progress ${drainMs} ms after the stop; raise REENTRY_DRAIN_SECONDS if this recurs`,
        { transient: false },
      );
    }),
  );
  return work$(stop$.pipe(share())).pipe(takeUntil(overdue$));
}

/** Runs a role until it completes. */
export async function run(work$: Work, stop$: Observable<unknown>, drainMs: number): Promise<void> {
  await lastValueFrom(drained$(work$, stop$, drainMs), { defaultValue: undefined });
}
