import { TestScheduler, type RunHelpers } from 'rxjs/testing';
import { expect } from 'vitest';

/** Runs `drawing` in virtual time with deep equality; `now` is the virtual clock, counted from `startAt` (epoch milliseconds). */
export function marbles(drawing: (helpers: RunHelpers & { readonly now: () => number }) => void, startAt = 0): void {
  const scheduler = new TestScheduler((actual, expected) => {
    expect(actual).toEqual(expected);
  });
  scheduler.run((helpers) => {
    drawing({ ...helpers, now: () => startAt + scheduler.now() });
  });
}
