import { delay, lastValueFrom, map, share, takeUntil } from 'rxjs';
import type { Observable } from 'rxjs';
import { ReentryError } from './errors.ts';

/** What a role does: takes nothing new once `stop$` emits, and completes when all it had begun is done. */
export type Work = (stop$: Observable<unknown>) => Observable<never>;

/** `work$`, with an end to the patience: errors when it is not done `drainMs` after `stop$`. */
export function drained$(work$: Work, stop$: Observable<unknown>, drainMs: number): Observable<never> {
  const overdue$ = stop$.pipe(
    delay(drainMs),
    map(() => {
      throw new ReentryError('DRAIN_OVERDUE', `still at work ${drainMs} ms after the stop`, { transient: false });
    }),
  );
  return work$(stop$.pipe(share())).pipe(takeUntil(overdue$));
}

/** Runs a role to its end. The only place in `src` outside the adapters that subscribes. */
export async function run(work$: Work, stop$: Observable<unknown>, drainMs: number): Promise<void> {
  await lastValueFrom(drained$(work$, stop$, drainMs), { defaultValue: undefined });
}
