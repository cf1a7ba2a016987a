import { expect, test } from 'vitest';
import { simulate } from '../support/simulation.ts';

test('every run ends in exactly one completed event under crashes, stalls and duplicates', async () => {
  const report = await simulate({
    runs: 300,
    workers: 4,
    odds: { crash: 0.04, stall: 0.01, duplicate: 0.05 },
    cancels: 0.1,
    duplicateRequests: 0.2,
    serverKills: 3,
    seed: 20260101,
    deadlineMs: 150_000,
  });

  expect(report).toMatchObject({
    notOnce: [],
    secondWon: [],
    podsTwice: [],
    keyShared: [],
    slotsLeft: [],
    podsLeft: [],
    subscriptionsLeft: [],
    messagesLeft: 0,
    errors: [],
  });
  expect(report.injected.crashes).toBeGreaterThan(100);
  expect(report.injected.stalls).toBeGreaterThan(10);
});
