import { expect, suite, test } from 'vitest';
import { Queues } from '../../src/queue/queues.ts';
import type { Subscription } from '../../src/wire/triggers.ts';

const waiting = (since: number): Subscription => ({
  ...{ v: 1, queue: 'q', attempt: 1, step: 0, stateRev: 1, then: 'start' },
  await: { gate: { why: 'turn', since } },
});
const run = (runId: string) => ({ tenant: 't', runId });

suite('Queues', () => {
  test('no gate is open before all subscriptions and gates are known: a pause might arrive last', () => {
    const queues = new Queues();
    expect(queues.put('a', run('a'), waiting(1), 0)).toEqual([]);
    expect(queues.admits('a')).toBe(false);
    expect(queues.gate({ kind: 'queue', queue: 'q', record: { v: 1, paused: true, at: 1 } }, 0)).toEqual([]);
    expect(queues.complete(0)).toEqual([]);
    expect(queues.positionOf('a')).toMatchObject({ position: 1, why: 'paused' });
    expect(queues.gate({ kind: 'queue', queue: 'q', record: undefined }, 1)).toEqual(['a']);
    expect(queues.admits('a')).toBe(true);
  });

  test('a run that waits for no gate is admitted', () => {
    expect(new Queues().admits('unknown')).toBe(true);
  });

  test('a long queue that was just ordered is ordered again later, once, and then opens its gates', () => {
    const queues = new Queues();
    for (let n = 0; n < 1_000; n += 1) queues.put(`r${n}`, run(`r${n}`), waiting(n), 0);
    expect(queues.complete(0)).toHaveLength(256);
    // 1,000 runs: at most every 10 ms.
    expect(queues.remove('r0', 5)).toEqual([]);
    expect(queues.remove('r1', 6)).toEqual([]);
    expect(queues.due(8)).toEqual([]);
    expect(queues.due(10)).toEqual(['r256', 'r257']);
    expect(queues.due(20)).toEqual([]);
  });
});
