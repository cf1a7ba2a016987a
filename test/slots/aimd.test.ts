import { expect, test } from 'vitest';
import type { AimdState } from '../../src/slots/aimd.ts';
import { afterAnswer, initialAimd, roomNow } from '../../src/slots/aimd.ts';

const SETTINGS = { initial: 4, max: 64 };

/** A server that answers up to `capacity` creations in 10 ms, more in proportionally longer, and 429 beyond `refuseAbove`. */
function serve(
  capacity: number,
  refuseAbove: number,
  count: number,
): { state: AimdState; ms: number; refused: number } {
  let state = initialAimd(SETTINGS);
  let now = 0;
  let refused = 0;
  for (let done = 0; done < count;) {
    const { room, askAgainAt } = roomNow(state, 0, now);
    if (room === 0) {
      now = askAgainAt ?? now + 1;
      continue;
    }
    const sentAt = now;
    now += 10 * Math.max(1, room / capacity);
    for (let n = 0; n < room; n += 1) {
      const tooMany = n >= refuseAbove;
      if (tooMany) refused += 1;
      else done += 1;
      const answer = tooMany ? ({ kind: 'throttled', retryAfterMs: 100 } as const) : ({ kind: 'answered' } as const);
      state = afterAnswer(state, answer, { sentAt, now, inFlight: room }, SETTINGS);
    }
  }
  return { state, ms: now, refused };
}

test('a willing server is used up to the maximum', () => {
  const { state, ms } = serve(1_000, 1_000, 2_000);
  expect(state.limit).toBe(64);
  expect(ms).toBeLessThan(2_000);
});

test('a server that refuses is asked for less, and the work still gets done', () => {
  const { state, refused } = serve(1_000, 8, 2_000);
  expect(state.limit).toBeLessThanOrEqual(16);
  expect(refused).toBeLessThan(400);
});

test('a server that becomes slow is asked for less', () => {
  let state = initialAimd(SETTINGS);
  state = afterAnswer(state, { kind: 'answered' }, { sentAt: 0, now: 10, inFlight: 4 }, SETTINGS);
  expect(state.limit).toBe(5);
  state = afterAnswer(state, { kind: 'answered' }, { sentAt: 10, now: 1_000, inFlight: 5 }, SETTINGS);
  expect(state.limit).toBe(4);
  // Sent before the cut: no new information.
  state = afterAnswer(state, { kind: 'answered' }, { sentAt: 11, now: 1_001, inFlight: 5 }, SETTINGS);
  expect(state.limit).toBe(4);
});

test('Retry-After holds everybody, then one goes ahead', () => {
  let state = initialAimd(SETTINGS);
  state = afterAnswer(state, { kind: 'throttled', retryAfterMs: 3_000 }, { sentAt: 0, now: 5, inFlight: 4 }, SETTINGS);
  expect(roomNow(state, 0, 100)).toEqual({ room: 0, askAgainAt: 3_005 });
  expect(roomNow(state, 0, 3_005)).toEqual({ room: 1 });
  state = afterAnswer(state, { kind: 'answered' }, { sentAt: 3_005, now: 3_010, inFlight: 1 }, SETTINGS);
  expect(roomNow(state, 0, 3_010)).toEqual({ room: 2 });
});

test('failures of a server that is away double the pause, however many were under way', () => {
  let state = initialAimd(SETTINGS);
  for (let n = 0; n < 4; n += 1)
    state = afterAnswer(state, { kind: 'unavailable' }, { sentAt: 0, now: 10, inFlight: 4 - n }, SETTINGS);
  expect(roomNow(state, 0, 10).askAgainAt).toBe(260);
  state = afterAnswer(state, { kind: 'unavailable' }, { sentAt: 260, now: 261, inFlight: 1 }, SETTINGS);
  expect(roomNow(state, 0, 261).askAgainAt).toBe(761);
  for (let n = 0; n < 20; n += 1)
    state = afterAnswer(state, { kind: 'unavailable' }, { sentAt: 1_000 + n, now: 1_000 + n, inFlight: 1 }, SETTINGS);
  expect((roomNow(state, 0, 1_019).askAgainAt ?? 0) - 1_019).toBe(5_000);
});

test('an idle limit is not raised', () => {
  const state = initialAimd(SETTINGS);
  const after = afterAnswer(state, { kind: 'answered' }, { sentAt: 0, now: 10, inFlight: 1 }, SETTINGS);
  expect(after.limit).toBe(4);
});
