import { TestScheduler, type RunHelpers } from 'rxjs/testing';
import { expect } from 'vitest';

/** The helpers of a marble test; `hot$` and `cold$` are the scheduler's own. */
export interface Drawing extends Pick<RunHelpers, 'expectObservable' | 'expectSubscriptions' | 'flush' | 'time'> {
  readonly hot$: RunHelpers['hot'];
  readonly cold$: RunHelpers['cold'];
  /** The virtual clock. */
  readonly now: () => number;
}

/** Runs `drawing` in virtual time with deep equality; `now` counts from `startAt` (epoch milliseconds). */
export function marbles(drawing: (helpers: Drawing) => void, startAt = 0): void {
  const scheduler = new TestScheduler((actual, expected) => {
    expect(actual).toEqual(expected);
  });
  scheduler.run(({ hot: hot$, cold: cold$, ...helpers }) => {
    drawing({ ...helpers, hot$, cold$, now: () => startAt + scheduler.now() });
  });
}
