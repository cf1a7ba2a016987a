import { expect, suite, test } from 'vitest';
import { FULL_LIMIT_MS, type LivenessFacts, SILENT_LIMIT_MS, stuckReasons } from '../../src/core/liveness.ts';

const HOURS = 3_600_000;
const facts = (some: Partial<LivenessFacts> = {}): LivenessFacts => ({
  ...{ ended: [], connectedForMs: 24 * HOURS, silentForMs: { 'its own heartbeat': 500 }, fullForMs: {} },
  ...some,
});

suite('a role is stuck', () => {
  test('not while it works', () => {
    expect(stuckReasons(facts())).toEqual([]);
  });

  test('where a pipeline ended, connected or not', () => {
    for (const connectedForMs of [undefined, HOURS])
      expect(stuckReasons(facts({ ended: ['the janitor'], connectedForMs }))).toEqual(['the janitor ended by itself']);
  });

  test('where a loop stands still although the broker is connected', () => {
    const silentForMs = { 'its own heartbeat': SILENT_LIMIT_MS + 1_000 };
    expect(stuckReasons(facts({ silentForMs }))).toEqual([
      'its own heartbeat has not turned for 121 s although NATS is connected',
    ]);
  });

  test('not by an outage of the broker, however long, nor right after it', () => {
    const ages = { silentForMs: { heartbeat: 10 * HOURS }, fullForMs: { 'lane ctl': 10 * HOURS } };
    for (const connectedForMs of [undefined, 0, SILENT_LIMIT_MS])
      expect(stuckReasons(facts({ ...ages, connectedForMs }))).toEqual([]);
  });

  test('where a lane that is full settles nothing for longer than any step takes', () => {
    expect(stuckReasons(facts({ fullForMs: { 'lane ctl': FULL_LIMIT_MS } }))).toEqual([]);
    expect(stuckReasons(facts({ fullForMs: { 'lane ctl': FULL_LIMIT_MS + 1 } }))).toHaveLength(1);
  });
});
