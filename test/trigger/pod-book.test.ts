import { expect, test } from 'vitest';
import type { PodSignal } from '../../src/ports/cluster.ts';
import { isSeenSince, SETTLED_AFTER_MS } from '../../src/trigger/deadlines.ts';
import { PodBook } from '../../src/trigger/pod-book.ts';
import { aPod } from '../support/builders.ts';

const scope = { connection: 'default', namespace: undefined };

/** A book of one watch; `hear` tells it something at a time, `seen`: whether what happened before `instant` is known to it. */
function aBook() {
  const book = new PodBook([scope]);
  const [watch] = book.watches;
  return {
    watch,
    hear: (at: number, signal: PodSignal) => {
      book.apply({ scope, signal }, at);
    },
    seen: (instant: number) => isSeenSince(watch, instant),
  };
}

test('a watch that broke is believed again only when it has shown all, and a while after', () => {
  const { hear, seen, watch } = aBook();
  hear(0, { kind: 'synced' });
  hear(SETTLED_AFTER_MS + 1, { kind: 'alive' });
  expect(seen(500)).toBe(true);

  hear(10_000, { kind: 'lagging', why: 'the server went away' });
  expect(seen(500)).toBe(false);
  // The first pods of a list that has begun anew.
  hear(20_000, { kind: 'pod', pod: aPod() });
  expect(watch?.lagging).toBe('the server went away');
  expect(seen(15_000)).toBe(false);

  hear(21_000, { kind: 'synced' });
  expect(watch?.lagging).toBeUndefined();
  expect(seen(15_000)).toBe(false);
  hear(21_001 + SETTLED_AFTER_MS, { kind: 'alive' });
  expect(seen(15_000)).toBe(true);
  expect(seen(30_000)).toBe(false);
});
