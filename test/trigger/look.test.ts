import { expect, suite, test } from 'vitest';
import { CheckRation } from '../../src/trigger/absence-checks.ts';
import { type Known, look } from '../../src/trigger/look.ts';
import { waitOf } from '../../src/trigger/waits.ts';
import type { WatchState } from '../../src/trigger/watched-pods.ts';
import { aContainer, anEndedPod, aPod, aPut } from '../support/builders.ts';

const SETTINGS = { absentAfterMs: 10_000, maxCheckIntervalMs: 60_000, minLoggingEveryMs: 5_000 };
const watch: WatchState = {
  scope: { connection: 'default', namespace: 'jobs' },
  ...{ syncedAt: 0, lagging: undefined, laggingSince: undefined, receivedAt: 0, upSince: 0, pods: 1 },
};
const known = (facts: Partial<Known> = {}): Known => ({
  ...{ shown: aPod(), watch, isAdmitted: true, logsAreDue: false, actingSince: 0 },
  ...facts,
});
const aWait = (...put: Parameters<typeof aPut>) => waitOf(aPut(...put), undefined, undefined, 0);

suite('look', () => {
  test('a look at a pod that still runs changes nothing: it gives the same wait and the next deadline', () => {
    const wait = aWait({ await: { terminal: true, timeoutAt: 90_000 } });
    const looked = look(wait, known(), 1_000, SETTINGS);
    expect(looked).toEqual({ wait, at: 90_000, logsAt: undefined, effect: undefined });
    expect(looked.wait).toBe(wait);
  });

  test('is pure: asked twice it answers the same, and the wait it was given stays as it was', () => {
    const wait = aWait();
    const before = structuredClone(wait);
    const ended = known({ shown: anEndedPod(0) });
    expect(look(wait, ended, 1_000, SETTINGS)).toEqual(look(wait, ended, 1_000, SETTINGS));
    expect(wait).toEqual(before);
  });

  test('an end is fired once, and from the next wait on only when its repeat is due', () => {
    const ended = known({ shown: anEndedPod(0) });
    const first = look(aWait(), ended, 1_000, SETTINGS);
    expect(first.effect).toMatchObject({ kind: 'fire', id: 'fire:default.r1:0:1.success.0' });
    expect(look(first.wait, ended, 2_000, SETTINGS)).toEqual({ ...first, effect: undefined });
    expect(look(first.wait, ended, 61_000, SETTINGS).effect).toMatchObject({ id: 'fire:default.r1:0:1.success.1' });
  });

  test('the logging interval fires only when its clock has come to it, and once per step', () => {
    const wait = aWait({ await: { terminal: true, loggingEveryMs: 10_000 } });
    const shown = aPod({ containers: [aContainer({ startedAt: 0 })] });
    const { logsAt = 0, effect } = look(wait, known({ shown }), 1_000, SETTINGS);
    expect(effect).toBeUndefined();
    expect(logsAt).toBeGreaterThanOrEqual(10_000);
    const due = look(wait, known({ shown, logsAreDue: true }), logsAt, SETTINGS);
    expect(due).toMatchObject({ effect: { event: { kind: 'running' } }, logsAt: undefined });
    expect(look(due.wait, known({ shown, logsAreDue: true }), logsAt + 1, SETTINGS).effect).toBeUndefined();
  });
});

suite('CheckRation', () => {
  test('has at most 20 GETs under way, whatever the rate allows', () => {
    const ration = new CheckRation(1_000);
    for (let n = 0; n < 20; n += 1) expect(ration.take(false, 0).at).toBe(0);
    expect(ration.take(false, 0)).toEqual({ at: 1_000, isReserved: false });
    ration.giveBack();
    expect(ration.take(false, 0).at).toBe(0);
  });

  test('a reservation is used once, and needs no second one', () => {
    const ration = new CheckRation(1);
    expect(ration.take(false, 0)).toEqual({ at: 0, isReserved: false });
    expect(ration.take(false, 0)).toEqual({ at: 1_000, isReserved: true });
    expect(ration.take(true, 1_000)).toEqual({ at: 1_000, isReserved: false });
    expect(ration.take(false, 1_000)).toMatchObject({ isReserved: true });
  });
});
