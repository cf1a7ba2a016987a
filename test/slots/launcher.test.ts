import { firstValueFrom, timer } from 'rxjs';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { KubernetesError } from '../../src/errors.ts';
import { Launcher } from '../../src/slots/launcher.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** Work that takes so long by the clock that each test turns itself. */
const after = (ms: number) => firstValueFrom(timer(ms), { defaultValue: 0 });

test('never more are in flight than the limit, and all get their turn in order', async () => {
  const launcher = new Launcher({ maxInFlight: 3 });
  let most = 0;
  let now = 0;
  const order: number[] = [];
  const all = Array.from({ length: 9 }, (_, n) =>
    launcher.run(async () => {
      order.push(n);
      now += 1;
      most = Math.max(most, now);
      await after(10);
      now -= 1;
    }),
  );
  await vi.runAllTimersAsync();
  await Promise.all(all);
  expect(most).toBe(3);
  expect(order).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
});

test('a refusal with Retry-After is its caller’s error, and holds up those who wait', async () => {
  const launcher = new Launcher({ maxInFlight: 1 });
  const throttled = new KubernetesError('throttled', 'slow down', {
    status: 429,
    reason: 'TooManyRequests',
    retryAfterMs: 3_000,
  });
  const first = launcher.run(() => Promise.reject(throttled));
  const failed = expect(first).rejects.toBe(throttled);
  let second = false;
  const waiting = launcher.run(() => {
    second = true;
    return Promise.resolve();
  });
  await vi.advanceTimersByTimeAsync(2_900);
  await failed;
  expect(second).toBe(false);
  await vi.advanceTimersByTimeAsync(200);
  await waiting;
  expect(launcher.state).toMatchObject({ inFlight: 0, waiting: 0 });
});

test('a refusal of one request does not reduce the rate', async () => {
  const launcher = new Launcher({ maxInFlight: 4 });
  const invalid = new KubernetesError('invalid', 'no', { status: 422, reason: 'Invalid' });
  await expect(launcher.run(() => Promise.reject(invalid))).rejects.toBe(invalid);
  expect(launcher.state.limit).toBe(4);
});
