import { expect, test } from 'vitest';
import { START_WINDOW } from '../../src/queue/order.ts';
import { queueLoads } from '../../src/queue/loads.ts';
import { Queues } from '../../src/queue/queues.ts';
import type { Subscription } from '../../src/wire/triggers.ts';

const waitingFor = (queue: string, since: number, concurrencyKey?: string): Subscription => ({
  ...{ v: 1, queue, attempt: 1, step: 0, stateRev: 1, then: 'start' },
  await: { gate: { why: 'turn', since, ...(concurrencyKey === undefined ? {} : { concurrencyKey }) } },
});

test('the load of a queue counts its runs by what holds them back; those whose gate is open are not held back', () => {
  const queues = new Queues();
  const waits: { readonly subscription: Subscription }[] = [];
  const put = (count: number, queue: string, concurrencyKey?: string) => {
    for (let n = 0; n < count; n += 1) {
      const subscription = waitingFor(queue, waits.length, concurrencyKey);
      const run = { tenant: 't', runId: `r${waits.length}` };
      waits.push({ subscription });
      queues.put(`t/${run.runId}`, run, subscription, 0);
    }
  };
  put(START_WINDOW + 44, 'long');
  put(3, 'keyed', 'db');
  put(2, 'paused');
  queues.gate({ kind: 'queue', queue: 'paused', record: { v: 1, paused: true, at: 1 } }, 0);
  queues.complete(1_000_000);
  const none = { turn: 0, key: 0, paused: 0 };
  expect(queueLoads(queues, waits)).toMatchObject([
    { queue: 'long', waiting: START_WINDOW + 44, heldBack: { ...none, turn: 44 } },
    { queue: 'keyed', waiting: 3, heldBack: { ...none, key: 2 } },
    { queue: 'paused', waiting: 2, heldBack: { ...none, paused: 2 } },
  ]);
});
