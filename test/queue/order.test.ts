import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { queuePositions, startOrder } from '../../src/queue/order.ts';
import type { Gated, Gates } from '../../src/queue/order.ts';
import { limitOf, slotFor, slotsWithout } from '../../src/queue/concurrency.ts';

const aRun = (tenant: string, runId: string, more: Partial<Gated> = {}): Gated => ({
  id: `${tenant}/${runId}`,
  tenant,
  runId,
  priority: 'normal',
  since: 0,
  ...more,
});
const open: Gates = { paused: false, window: 256, slotsOf: () => undefined };
const ids = (runs: readonly Gated[]) => runs.map(({ runId }) => runId);

describe('the order of a queue', () => {
  test("a tenant's own runs: by priority, then by age", () => {
    const runs = [
      aRun('a', 'young', { since: 2 }),
      aRun('a', 'low', { priority: 'low' }),
      aRun('a', 'old', { since: 1 }),
      aRun('a', 'high', { priority: 'high', since: 3 }),
    ];
    expect(ids(startOrder(runs))).toEqual(['high', 'old', 'young', 'low']);
  });

  test("one run of a tenant is right behind the first of another's 10,000, at any priority", () => {
    const flood = Array.from({ length: 10_000 }, (_, n) => aRun('a', `a${n}`, { since: n, priority: 'high' }));
    expect(ids(startOrder([...flood, aRun('b', 'only', { since: 99_999 })])).indexOf('only')).toBe(1);
  });

  const anyRun = fc
    .record({
      tenant: fc.constantFrom('a', 'b', 'c'),
      n: fc.nat(500),
      priority: fc.constantFrom('high' as const, 'normal' as const, 'low' as const),
      since: fc.nat(20),
      concurrencyKey: fc.option(fc.constantFrom('x', 'y'), { nil: undefined }),
    })
    .map(({ tenant, n, ...more }) => aRun(tenant, String(n), more));
  const anyRuns = fc.uniqueArray(anyRun, { selector: ({ id }) => id, maxLength: 60 });

  test('does not depend on the order in which runs arrived', () => {
    fc.assert(
      fc.property(anyRuns, fc.infiniteStream(fc.nat()), (runs, random) => {
        const shuffled = runs
          .map((run) => ({ run, at: random.next().value }))
          .sort((one, other) => one.at - other.at)
          .map(({ run }) => run);
        expect(ids(startOrder(shuffled))).toEqual(ids(startOrder(runs)));
      }),
    );
  });

  test('no tenant has two more runs ahead of a position than another that waits there', () => {
    fc.assert(
      fc.property(anyRuns, (runs) => {
        const order = startOrder(runs);
        const ahead: Record<string, number> = { a: 0, b: 0, c: 0 };
        for (const { tenant } of order) {
          for (const other of Object.values(ahead)) expect(other - (ahead[tenant] ?? 0)).toBeLessThanOrEqual(1);
          ahead[tenant] = (ahead[tenant] ?? 0) + 1;
        }
      }),
    );
  });

  test('never admits more than the window, nor more of a key than it has slots', () => {
    fc.assert(
      fc.property(anyRuns, fc.nat(20), fc.integer({ min: 1, max: 3 }), (runs, window, limit) => {
        const found = queuePositions(runs, { ...open, window, slotsOf: () => ({ limit, holders: ['another'] }) });
        const admitted = found.filter(({ verdict }) => verdict === 'admitted').map(({ gated }) => gated);
        expect(admitted.length).toBeLessThanOrEqual(window);
        for (const tenant of ['a', 'b', 'c'])
          for (const key of ['x', 'y']) {
            const same = admitted.filter((run) => run.tenant === tenant && run.concurrencyKey === key);
            expect(same.length).toBeLessThanOrEqual(limit - 1);
          }
        // No run is held back without a reason.
        if (admitted.length < window) expect(found.filter(({ verdict }) => verdict === 'turn')).toEqual([]);
      }),
    );
  });
});

describe('gates', () => {
  const verdicts = (runs: readonly Gated[], gates: Partial<Gates>) =>
    queuePositions(runs, { ...open, ...gates }).map(({ gated, verdict }) => `${gated.runId} ${verdict}`);

  test('a paused queue admits no run, and still has an order', () => {
    const found = queuePositions([aRun('a', '2', { since: 2 }), aRun('a', '1', { since: 1 })], {
      ...open,
      paused: true,
    });
    expect(found.map(({ gated, position, verdict }) => [gated.runId, position, verdict])).toEqual([
      ['1', 1, 'paused'],
      ['2', 2, 'paused'],
    ]);
  });

  test('a full key does not block runs of others', () => {
    const runs = ['1', '2', '3'].map((id, n) =>
      aRun('a', id, { since: n, ...(id === '3' ? {} : { concurrencyKey: 'k' }) }),
    );
    expect(verdicts(runs, {})).toEqual(['1 admitted', '2 key', '3 admitted']);
    expect(verdicts(runs, { slotsOf: () => ({ limit: 1, holders: ['9'] }) })).toEqual(['1 key', '2 key', '3 admitted']);
    expect(verdicts(runs, { slotsOf: () => ({ limit: 2, holders: ['2'] }) })).toEqual([
      '1 admitted',
      '2 admitted',
      '3 admitted',
    ]);
  });
});

describe('slots of a key', () => {
  test('the narrowest name of a limit wins', () => {
    const limits = { '*': 2, gpu: 3, 'sales/gpu': 4 };
    expect([limitOf(limits, 'sales', 'gpu'), limitOf(limits, 'x', 'gpu'), limitOf(limits, 'x', 'y')]).toEqual([
      4, 3, 2,
    ]);
    expect(limitOf({}, 'x', 'y')).toBe(1);
    expect(limitOf({}, 'x', 'constructor')).toBe(1);
  });

  test('are taken once, refused when full, and released', () => {
    const one = slotFor(undefined, 'r1', 1);
    expect(one).toEqual({ kind: 'taken', slots: { limit: 1, holders: ['r1'] } });
    const slots = { limit: 1, holders: ['r1'] };
    expect([slotFor(slots, 'r1', 1).kind, slotFor(slots, 'r2', 1).kind, slotFor(slots, 'r2', 2).kind]).toEqual([
      'held',
      'full',
      'taken',
    ]);
    expect(slotsWithout(slots, ['r1'])).toBeUndefined();
    expect(slotsWithout({ limit: 2, holders: ['r1', 'r2'] }, ['r1'])).toEqual({ limit: 2, holders: ['r2'] });
  });
});
