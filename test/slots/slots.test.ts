import { expect, test } from 'vitest';
import type { PodProjection } from '../../src/core/pod/projection.ts';
import { LISTEN_MS, Presence } from '../../src/slots/presence.ts';
import { Slots } from '../../src/slots/slots.ts';

const run = (runId: string) => ({ tenant: 'default', runId });
const pod = (runId: string, phase: PodProjection['phase'], uid = `uid-${runId}`): PodProjection => ({
  connection: 'default',
  namespace: 'jobs',
  name: runId,
  uid,
  resourceVersion: '1',
  phase,
  createdAt: 0,
  baseContainer: 'base',
  containers: [],
  tenant: 'default',
  runId,
  attempt: 1,
  queue: 'executor',
  alreadyChecked: false,
});

test('a launch keeps its slot until the watch shows its pod, and the pod until it ends', () => {
  const slots = new Slots('executor', 2);
  expect(slots.begin(run('a'))).toBe(true);
  expect(slots.begin(run('b'))).toBe(true);
  expect(slots.begin(run('c'))).toBe(false);
  slots.created(run('a'), 'uid-a', 0);
  slots.end(run('a'));
  expect(slots.free).toBe(0);
  slots.see(pod('a', 'Pending'));
  expect([slots.live, slots.launching, slots.free]).toEqual([1, 1, 0]);
  slots.see(pod('a', 'Succeeded'));
  expect(slots.free).toBe(1);
  slots.gone(pod('a', 'Succeeded'));
  expect(slots.free).toBe(1);
});

test('a launch that made no pod gives its slot back', () => {
  const slots = new Slots('executor', 1);
  slots.begin(run('a'));
  slots.end(run('a'));
  expect(slots.free).toBe(1);
});

test('a pod that the watch showed, even ended, before the reply to its creation came takes one slot', () => {
  const slots = new Slots('executor', 2);
  slots.begin(run('a'));
  slots.see(pod('a', 'Running'));
  slots.created(run('a'), 'uid-a', 0);
  expect(slots.free).toBe(1);
  slots.begin(run('b'));
  slots.see(pod('b', 'Running'));
  slots.gone(pod('b', 'Failed'));
  slots.created(run('b'), 'uid-b', 0);
  slots.end(run('b'));
  expect([slots.live, slots.launching]).toEqual([1, 0]);
});

test('pods of siblings take slots, pods of other queues do not', () => {
  const slots = new Slots('executor', 3);
  slots.see(pod('x', 'Running'));
  slots.see({ ...pod('y', 'Running'), queue: 'gpu' });
  expect(slots.free).toBe(2);
  expect(slots.share(2)).toBe(1);
  expect(new Slots('executor', 5).share(2)).toBe(3);
  expect(new Slots('executor', 5).share(2, 4)).toBe(1);
});

test('an executor takes no second share before the watch shows what it launched', () => {
  const slots = new Slots('executor', 4);
  expect([slots.begin(run('a'), 2), slots.begin(run('b'), 2), slots.begin(run('c'), 2)]).toEqual([true, true, false]);
  slots.created(run('a'), 'uid-a', 0);
  slots.end(run('a'));
  expect(slots.share(2)).toBe(0);
  slots.see(pod('a', 'Pending'));
  slots.see(pod('x', 'Pending'));
  // Two live, b under way: of the two slots left half is a's executor's, and b has it.
  expect(slots.share(2)).toBe(0);
  slots.see(pod('b', 'Pending'));
  slots.created(run('b'), 'uid-b', 0);
  slots.end(run('b'));
  expect(slots.share(2)).toBe(1);
});

test('a pod that no watch ever shows gives its slot back after a minute', () => {
  const slots = new Slots('executor', 1);
  slots.begin(run('a'));
  slots.created(run('a'), 'uid-a', 1_000);
  slots.end(run('a'));
  slots.forgetUnseen(60_000);
  expect(slots.free).toBe(0);
  slots.forgetUnseen(61_001);
  expect(slots.free).toBe(1);
});

test('executors are counted once all have had time to speak, and no longer after two silent seconds', () => {
  const presence = new Presence('me');
  expect(presence.siblings(0)).toBeUndefined();
  presence.connected(true, 0);
  presence.receive('other', { draining: false, launching: 3 }, 400);
  expect(presence.siblings(400)).toBeUndefined();
  expect(presence.siblings(LISTEN_MS)).toEqual({ executors: 2, launching: 3 });
  expect(presence.siblings(2_401)).toEqual({ executors: 1, launching: 0 });
  presence.receive('other', { draining: false, launching: 0 }, 2_500);
  presence.receive('other', { draining: true, launching: 0 }, 2_600);
  expect(presence.siblings(2_601)?.executors).toBe(1);
});

test('one that drains takes no share, but the slots of the launches it finishes are not free', () => {
  const presence = new Presence('me');
  presence.connected(true, 0);
  presence.receive('other', { draining: false, launching: 5 }, 1_000);
  presence.receive('other', { draining: true, launching: 4 }, 1_100);
  expect(presence.siblings(LISTEN_MS)).toEqual({ executors: 1, launching: 4 });
  presence.receive('other', { draining: true, launching: 0 }, 1_600);
  expect(presence.siblings(1_600)).toEqual({ executors: 1, launching: 0 });
});

test('after a reconnection siblings known before count for the grace time', () => {
  const presence = new Presence('me');
  presence.connected(true, 0);
  presence.receive('other', { draining: false, launching: 0 }, 5_000);
  presence.connected(false, 5_100);
  expect(presence.siblings(9_000)).toBeUndefined();
  presence.connected(true, 10_000);
  expect(presence.siblings(10_000 + LISTEN_MS)?.executors).toBe(2);
  expect(presence.siblings(14_001)?.executors).toBe(1);
});
