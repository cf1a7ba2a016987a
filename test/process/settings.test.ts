import { expect, test } from 'vitest';
import { engineSettings } from '../../src/process/settings.ts';
import { parseConfig } from '../../src/config.ts';

test('workers and executors hold runs to the same limits and keep pods for the same time', () => {
  const env = {
    REENTRY_CONCURRENCY_LIMITS: 'db=3',
    REENTRY_KEEP_POD_SECONDS: '604800',
    REENTRY_RUN_RETENTION_DAYS: '2',
    REENTRY_START_CREDITS: '7',
  };
  expect(engineSettings(parseConfig({ env }))).toMatchObject({
    concurrencyLimits: { db: 3 },
    keepPodMs: 604_800_000,
    retentionMs: 172_800_000,
    credits: { start: 7 },
  });
});
