import { expect, suite, test } from 'vitest';
import { answered, CheckRation, left, shown } from '../../src/trigger/absence-checks.ts';
import { type Known, look } from '../../src/trigger/look.ts';
import { LoggingInterval } from '../../src/trigger/logging-interval.ts';
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
  test('a look at a running pod returns the same wait and the next deadline', () => {
    const wait = aWait({ await: { terminal: true, timeoutAt: 90_000 } });
    const looked = look(wait, known(), 1_000, SETTINGS);
    expect(looked).toEqual({ wait, at: 90_000, logsAt: undefined, effect: undefined });
    expect(looked.wait).toBe(wait);
  });

  test('is pure: two calls return the same, and the given wait is not modified', () => {
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

suite('a deadline without proof', () => {
  const overdue = aWait({ await: { terminal: true, timeoutAt: 5_000 } });

  test('is checked, and fires once the watch has received anything after it', () => {
    const before = known({ watch: { ...watch, receivedAt: 5_000 } });
    expect(look(overdue, before, 6_000, SETTINGS).effect).toMatchObject({ kind: 'check', sentAt: 6_000 });
    const after = known({ watch: { ...watch, receivedAt: 5_001 } });
    expect(look(overdue, after, 6_000, SETTINGS).effect).toMatchObject({ event: { reason: 'EXECUTION_TIMEOUT' } });
  });

  test('is not proven by events received within a second after a freeze of this process', () => {
    const woken = (receivedAt: number) => known({ watch: { ...watch, receivedAt }, actingSince: 20_000 });
    expect(look(overdue, woken(21_000), 21_100, SETTINGS).effect?.kind).toBe('check');
    expect(look(overdue, woken(21_001), 21_100, SETTINGS).effect?.kind).toBe('fire');
  });

  test('has one GET under way at a time', () => {
    const { wait } = look(overdue, known(), 6_000, SETTINGS);
    expect(look(wait, known(), 7_000, SETTINGS)).toEqual({ wait, at: 17_000, logsAt: undefined, effect: undefined });
  });
});

suite('a pod that the watch does not show', () => {
  const missing = known({ shown: undefined });

  test('has one GET under way at a time', () => {
    const { wait, effect } = look(aWait(), missing, 10_000, SETTINGS);
    expect(effect?.kind).toBe('check');
    expect(look(wait, missing, 11_000, SETTINGS)).toMatchObject({ wait, at: 21_000, effect: undefined });
  });

  const check = { kind: 'check', run: aPut().run, pod: aPod(), sentAt: 0, departed: undefined } as const;

  test('is checked again after 10 s, then after twice as long, at most 60 s', () => {
    let absence = answered(undefined, { ...check, shown: undefined }, { kind: 'failed' }, undefined, 0, SETTINGS);
    const pauses = [absence.checkAt];
    for (let n = 0; n < 4; n += 1) {
      absence = answered(absence, { ...check, shown: undefined }, { kind: 'failed' }, undefined, 0, SETTINGS);
      pauses.push(absence.checkAt);
    }
    expect(pauses).toEqual([10_000, 20_000, 40_000, 60_000, 60_000]);
  });

  test('starts these pauses again once the watch shows it: the next deadline is checked at once', () => {
    const pod = aPod();
    const failed = answered(undefined, { ...check, shown: pod }, { kind: 'failed' }, pod, 0, SETTINGS);
    const absence = answered(failed, { ...check, shown: pod }, { kind: 'present', pod }, pod, 0, SETTINGS);
    expect(absence).toMatchObject({ checkAt: undefined, checks: 0 });
  });

  test('is present again once the watch shows it, regardless of earlier absence', () => {
    const gone = left(undefined, { pod: aPod(), confirmed: true });
    const absent = answered(gone, { ...check, shown: undefined }, { kind: 'absent' }, undefined, 0, SETTINGS);
    expect(absent).toMatchObject({ isConfirmed: true });
    expect(shown(absent)).toMatchObject({ isConfirmed: false, departed: undefined });
  });

  test('stays known as it left, for a later revision of the subscription', () => {
    const departed = { pod: anEndedPod(0), confirmed: true };
    const wait = { ...aWait(), absence: left(undefined, departed) };
    const next = waitOf(aPut({ step: 1 }, { revision: 2 }), wait, undefined, 90_000);
    expect(look(next, missing, 90_000, SETTINGS).effect).toMatchObject({ event: { kind: 'success' } });
    const { connection, namespace, name } = aPod();
    const other = aPut({ pod: { connection, namespace, name, uid: 'u2' } }, { revision: 2 });
    expect(waitOf(other, wait, undefined, 90_000).absence).toBeUndefined();
  });
});

suite('LoggingInterval', () => {
  test('keeps a reservation while looks schedule others', () => {
    const logging = new LoggingInterval(1, 0);
    logging.schedule('a', 1_000);
    logging.schedule('b', 1_000);
    expect(logging.turn(1_000)).toEqual(['a']);
    logging.schedule('b', 1_000);
    expect(logging.turn(1_500)).toEqual([]);
    expect(logging.turn(2_000)).toEqual(['b']);
    expect(logging.stretched.rate).toBe(1);
  });

  test('a run is due until a look has processed it', () => {
    const logging = new LoggingInterval(1, 0);
    logging.schedule('a', 1_000);
    logging.turn(1_000);
    logging.schedule('a', 1_000);
    expect(logging.isDue('a')).toBe(true);
    logging.schedule('a', undefined);
    expect(logging.isDue('a')).toBe(false);
    expect(logging.turn(9_000)).toEqual([]);
  });
});

suite('CheckRation', () => {
  test('has at most 20 GETs under way, regardless of the rate', () => {
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
