import { expect, test } from 'vitest';
import type { PodSignal } from '../../src/ports/cluster.ts';
import { isSeenSince, SETTLED_AFTER_MS } from '../../src/trigger/look.ts';
import { WatchedPods } from '../../src/trigger/watched-pods.ts';
import { aPod } from '../support/builders.ts';

const scope = { connection: 'default', namespace: undefined };

/** One watch; `receive` applies a signal at a time, `seen`: whether what happened before `instant` is known from it. */
function aWatch() {
  const pods = new WatchedPods([scope]);
  const [watch] = pods.watches;
  return {
    watch,
    receive: (at: number, signal: PodSignal) => {
      pods.apply({ scope, signal }, at);
    },
    seen: (instant: number) => isSeenSince(watch, instant),
  };
}

test('a watch that broke is trusted again only some time after its complete list', () => {
  const { receive, seen, watch } = aWatch();
  receive(0, { kind: 'synced' });
  receive(SETTLED_AFTER_MS + 1, { kind: 'alive' });
  expect(seen(500)).toBe(true);

  receive(10_000, { kind: 'lagging', why: 'the server went away' });
  expect(seen(500)).toBe(false);
  // The first pods of a new list.
  receive(20_000, { kind: 'pod', pod: aPod() });
  expect(watch?.lagging).toBe('the server went away');
  expect(seen(15_000)).toBe(false);

  receive(21_000, { kind: 'synced' });
  expect(watch?.lagging).toBeUndefined();
  expect(seen(15_000)).toBe(false);
  receive(21_001 + SETTLED_AFTER_MS, { kind: 'alive' });
  expect(seen(15_000)).toBe(true);
  expect(seen(30_000)).toBe(false);
});
