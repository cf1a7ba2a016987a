import { expect, suite, test } from 'vitest';
import { Repeats } from '../../src/trigger/repeats.ts';

suite('Repeats', () => {
  test('come after 60 s, then after twice as long, at most 10 min, each with its number', () => {
    const repeats = new Repeats();
    const told: (number | undefined)[] = [];
    for (let now = 0; now <= 2_700_000; now += 1_000) {
      const { count } = repeats.fire('success', now);
      if (count !== undefined) told.push(now / 1_000);
    }
    expect(told).toEqual([0, 60, 180, 420, 900, 1_500, 2_100, 2_700]);
    expect(repeats.fire('timeout', 0)).toMatchObject({ count: 0 });
  });

  test('a firing that did not get out comes again soon under the same number, and counts as the first if it was', () => {
    const repeats = new Repeats();
    expect(repeats.takeBack('success', 0)).toBeUndefined();
    repeats.fire('success', 0);
    expect(repeats.takeBack('success', 15_000)).toBe(20_000);
    expect(repeats.fire('success', 19_999)).toEqual({ againAt: 20_000 });
    expect(repeats.fire('success', 20_000)).toMatchObject({ count: 0, againAt: 80_000 });
  });
});
