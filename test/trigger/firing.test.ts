import { expect, suite, test } from 'vitest';
import { NOT_FIRED, repeated, takenBack } from '../../src/trigger/firing.ts';

suite('repeats of a firing', () => {
  test('come after 60 s, then after twice as long, at most 10 min, each with its number', () => {
    let firings = NOT_FIRED;
    const firedAt: number[] = [];
    for (let now = 0; now <= 2_700_000; now += 1_000) {
      const next = repeated(firings, 'success', now);
      if (next.count === undefined) continue;
      expect(next.count).toBe(firedAt.length);
      firings = next.firings;
      firedAt.push(now / 1_000);
    }
    expect(firedAt).toEqual([0, 60, 180, 420, 900, 1_500, 2_100, 2_700]);
    expect(repeated(firings, 'timeout', 0)).toMatchObject({ count: 0 });
  });

  test('one that was not published is repeated soon under the same number, as a duplicate if it was', () => {
    expect(takenBack(NOT_FIRED, 'success', 0)).toBeUndefined();
    const { firings } = repeated(NOT_FIRED, 'success', 0);
    const back = takenBack(firings, 'success', 15_000);
    expect(back?.againAt).toBe(20_000);
    const after = back?.firings ?? NOT_FIRED;
    expect(repeated(after, 'success', 19_999)).toEqual({ firings: after, count: undefined, againAt: 20_000 });
    expect(repeated(after, 'success', 20_000)).toMatchObject({ count: 0, againAt: 80_000 });
  });
});
