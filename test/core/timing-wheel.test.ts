import fc from 'fast-check';
import { expect, suite, test } from 'vitest';
import { SLOT_MS, TimingWheel } from '../../src/core/timing-wheel.ts';

const DAY_MS = 86_400_000;

suite('TimingWheel', () => {
  test('returns a key once, at the first turn after its instant', () => {
    const wheel = new TimingWheel<string>(0);
    wheel.schedule('a', 230);
    expect(wheel.turn(229)).toEqual([]);
    expect(wheel.turn(300)).toEqual(['a']);
    expect(wheel.turn(1_000)).toEqual([]);
    expect(wheel.size).toBe(0);
  });

  test('has one instant per key: the last', () => {
    const wheel = new TimingWheel<string>(0);
    wheel.schedule('a', 200);
    wheel.schedule('a', 5_000);
    expect(wheel.turn(1_000)).toEqual([]);
    expect(wheel.turn(5_000)).toEqual(['a']);
  });

  test('returns a wait of days at its instant, through the coarse level', () => {
    const wheel = new TimingWheel<string>(0);
    const at = 5 * DAY_MS + 12_345;
    wheel.schedule('a', at);
    for (let now = 0; now < at; now += 30_000) expect(wheel.turn(now)).toEqual([]);
    expect(wheel.turn(at + SLOT_MS)).toEqual(['a']);
  });

  test('cancels in both levels', () => {
    const wheel = new TimingWheel<string>(0);
    wheel.schedule('near', 500);
    wheel.schedule('far', DAY_MS);
    wheel.cancel('near');
    wheel.cancel('far');
    expect(wheel.size).toBe(0);
    expect(wheel.turn(2 * DAY_MS)).toEqual([]);
  });

  test('follows a clock that is set back or forward', () => {
    const wheel = new TimingWheel<string>(DAY_MS);
    wheel.turn(DAY_MS);
    wheel.turn(DAY_MS / 2);
    wheel.schedule('a', DAY_MS / 2 + 1_000);
    wheel.schedule('b', 2 * DAY_MS);
    expect(wheel.turn(DAY_MS / 2 + 1_100)).toEqual(['a']);
    expect(wheel.turn(3 * DAY_MS)).toEqual(['b']);
  });

  test('is never early, never later than a slot and a turn, and loses nothing, for any schedule', () => {
    const acts = fc.array(
      fc.oneof(
        fc.record({ key: fc.nat(8), at: fc.integer({ min: -1_000, max: 400_000 }) }),
        fc.record({ key: fc.nat(8), at: fc.constant(undefined) }),
        fc.record({ turn: fc.integer({ min: 0, max: 70_000 }) }),
      ),
      { maxLength: 60 },
    );
    fc.assert(
      fc.property(acts, fc.integer({ min: 0, max: 200_000 }), (steps, start) => {
        const wheel = new TimingWheel<number>(start);
        const model = new Map<number, number>();
        let now = start;
        wheel.turn(now);
        for (const step of [...steps, { turn: 500_000 }, { turn: SLOT_MS }]) {
          if (!('turn' in step)) {
            if (step.at === undefined) {
              wheel.cancel(step.key);
              model.delete(step.key);
            } else {
              wheel.schedule(step.key, start + step.at);
              model.set(step.key, start + step.at);
            }
            continue;
          }
          now += step.turn;
          const due = wheel.turn(now);
          expect(new Set(due).size).toBe(due.length);
          for (const key of due) {
            expect(model.get(key)).toBeLessThanOrEqual(now);
            model.delete(key);
          }
          // A key that is one slot overdue must have been returned, unless it was just scheduled into the past.
          for (const [, at] of model) if (at > now - step.turn) expect(at).toBeGreaterThan(now - SLOT_MS);
        }
        wheel.turn(now + SLOT_MS);
        expect(wheel.size).toBe(0);
      }),
    );
  });
});
