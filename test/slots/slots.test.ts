import { expect, test } from 'vitest';
import type { PodProjection } from '../../src/core/pod/projection.ts';
import { LISTEN_MS, Presence } from '../../src/slots/presence.ts';
import { type RunAttempt, Slots, type SlotWrite } from '../../src/slots/slots.ts';

const run = (runId: string, attempt = 1): RunAttempt => ({ tenant: 'default', runId, attempt });
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

/** The bucket of slots and the executors that watch it. Changes arrive when `deliver` is called. */
class Bucket {
  readonly #records = new Map<number, SlotWrite>();
  readonly #executors: Slots[] = [];
  #revision = 0;
  #pending: SlotWrite[] = [];

  executor(id: string, parallelism: number): Slots {
    const slots = new Slots({ id, queue: 'executor', parallelism });
    this.#executors.push(slots);
    return slots;
  }

  /** Slots with a holder. */
  get held(): number {
    return [...this.#records.values()].filter(({ holder }) => holder !== undefined).length;
  }

  write(by: Slots, write: SlotWrite, now = 0): boolean {
    if ((this.#records.get(write.slot)?.revision ?? 0) !== write.revision) {
      by.lost(write, now);
      return false;
    }
    this.#revision += 1;
    const stored = { ...write, revision: this.#revision };
    this.#records.set(write.slot, stored);
    this.#pending.push(stored);
    return by.written(write, this.#revision, now);
  }

  deliver(now = 0): void {
    for (const stored of this.#pending)
      for (const slots of this.#executors) slots.change({ kind: 'slot', queue: 'executor', ...stored }, now);
    this.#pending = [];
  }

  /** Takes a slot for a launch; `false`: none was free. */
  launch(by: Slots, attempt: RunAttempt, now = 0): boolean {
    const choice = by.choose(attempt, now);
    if (choice === undefined) return false;
    if (choice.kind !== 'has' && !this.write(by, choice.write, now)) return false;
    by.begin(attempt, choice.kind === 'take');
    return true;
  }

  writeAll(by: Slots, writes: readonly SlotWrite[]): void {
    for (const write of writes) this.write(by, write);
  }
}

test('an attempt occupies its slot from before its launch until its pod has ended', () => {
  const bucket = new Bucket();
  const slots = bucket.executor('a', 2);
  expect([run('a'), run('b'), run('c')].map((attempt) => bucket.launch(slots, attempt))).toEqual([true, true, false]);
  slots.created(run('a'), 'uid-a');
  expect(slots.end(run('a'))).toEqual([]);
  slots.see(pod('a', 'Pending'), 0);
  expect([slots.live, slots.launching, slots.free]).toEqual([1, 1, 0]);
  bucket.writeAll(slots, slots.see(pod('a', 'Succeeded'), 0));
  expect([slots.free, bucket.held]).toEqual([1, 1]);
  expect(slots.gone(pod('a', 'Succeeded'), 0)).toEqual([]);
  expect(bucket.launch(slots, run('c'))).toBe(true);
});

test('executors without knowledge of each other take no more slots than there are', () => {
  const bucket = new Bucket();
  const executors = ['a', 'b', 'c'].map((id) => bucket.executor(id, 8));
  let launched = 0;
  for (let n = 0; n < 20; n += 1)
    for (const [e, slots] of executors.entries())
      if (bucket.launch(slots, run(`${String(e)}-${String(n)}`))) launched += 1;
  expect([bucket.held <= 8, launched === bucket.held]).toEqual([true, true]);
  bucket.deliver();
  for (const [e, slots] of executors.entries())
    for (let n = 0; n < 20; n += 1) if (bucket.launch(slots, run(`${String(e)}+${String(n)}`))) launched += 1;
  expect([bucket.held, launched]).toEqual([8, 8]);
});

test('after a lost race a slot is not tried again before the winner is known, or may have been missed', () => {
  const bucket = new Bucket();
  const [a, b] = [bucket.executor('a', 1), bucket.executor('b', 1)];
  expect([bucket.launch(a, run('x')), bucket.launch(b, run('y'))]).toEqual([true, false]);
  expect([b.choose(run('y'), 4_999), b.choose(run('y'), 5_000)?.kind]).toEqual([undefined, 'take']);
});

test('a launch that surely created no pod frees its slot, one whose outcome is unknown does not', () => {
  const bucket = new Bucket();
  const slots = bucket.executor('a', 2);
  bucket.launch(slots, run('a'));
  bucket.launch(slots, run('b'));
  slots.uncertain(run('b'));
  bucket.writeAll(slots, slots.end(run('a')));
  expect(slots.end(run('b'))).toEqual([]);
  expect(slots.free).toBe(1);
  // Its message is redelivered, and finds its slot.
  expect(bucket.launch(slots, run('b'))).toBe(true);
  expect([slots.free, bucket.held]).toEqual([1, 1]);
  expect(slots.end(run('b'))).toEqual([]);
});

test('a pod that ended before the response to its creation frees its slot when the launch is settled', () => {
  const bucket = new Bucket();
  const slots = bucket.executor('a', 2);
  bucket.launch(slots, run('a'));
  slots.see(pod('a', 'Running'), 0);
  expect(slots.gone(pod('a', 'Failed'), 0)).toEqual([]);
  slots.created(run('a'), 'uid-a');
  bucket.writeAll(slots, slots.end(run('a')));
  expect([slots.free, slots.live, slots.launching]).toEqual([2, 0, 0]);
});

test('another attempt of a run takes another slot while the pod of the first is live', () => {
  const bucket = new Bucket();
  const slots = bucket.executor('a', 1);
  bucket.launch(slots, run('a'));
  slots.see(pod('a', 'Running'), 0);
  slots.end(run('a'));
  expect(bucket.launch(slots, run('a', 2))).toBe(false);
});

test('a launch that another executor took over can no longer be freed by the first', () => {
  const bucket = new Bucket();
  const [a, b] = [bucket.executor('a', 1), bucket.executor('b', 1)];
  bucket.launch(a, run('x'));
  bucket.deliver();
  expect(bucket.launch(b, run('x'))).toBe(true);
  // It was frozen, and has not received the take-over.
  for (const write of a.end(run('x'))) expect(bucket.write(a, write)).toBe(false);
  bucket.deliver();
  expect([a.free, b.free, bucket.held]).toEqual([0, 0, 1]);
  // Only that it lost its own pod is for the executor that has the slot.
  b.see(pod('x', 'Running'), 0);
  a.see(pod('x', 'Running'), 0);
  b.created(run('x'), 'uid-x');
  b.end(run('x'));
  expect(a.gone(pod('x', 'Succeeded'), 0)).toEqual([]);
  expect(b.gone(pod('x', 'Succeeded'), 0)).toHaveLength(1);
});

test('live pods without a slot count, and get one once their own could have been received', () => {
  const slots = new Bucket().executor('a', 3);
  slots.see(pod('x', 'Running'), 1_000);
  slots.see({ ...pod('y', 'Running'), queue: 'gpu' }, 1_000);
  expect([slots.free, slots.unslotted(2_999), slots.unslotted(2_999, true)]).toEqual([2, [], [run('x')]]);
  expect(slots.unslotted(3_000)).toEqual([run('x')]);
  const choice = slots.choose(run('x'), 3_000);
  if (choice?.kind !== 'take') throw new Error(`no slot for it: ${String(choice?.kind)}`);
  slots.written(choice.write, 1, 3_000);
  expect([slots.free, slots.unslotted(9_000)]).toEqual([2, []]);
});

test('a held slot without a live pod is checked with growing pauses, and not freed if it has changed meanwhile', () => {
  const bucket = new Bucket();
  const [a, b] = [bucket.executor('a', 2), bucket.executor('b', 2)];
  bucket.launch(a, run('x'));
  bucket.deliver();
  expect(b.idle(1_499)).toEqual([]);
  const [held] = b.idle(1_500);
  if (held === undefined) throw new Error('it is not idle');
  expect([b.idle(4_499), b.idle(4_500).length, b.idle(10_499)]).toEqual([[], 1, []]);
  expect(a.idle(10_000)).toEqual([]);
  bucket.launch(b, run('x'), 11_000);
  expect(b.release(held)).toBeUndefined();
  b.end(run('x'));
  const [again] = b.idle(20_000);
  if (again === undefined) throw new Error('it is not idle');
  const write = b.release(again);
  expect(write !== undefined && bucket.write(b, write)).toBe(true);
  expect(b.free).toBe(2);
});

test('a slot of a recreated bucket is free', () => {
  const bucket = new Bucket();
  const slots = bucket.executor('a', 1);
  bucket.launch(slots, run('x'));
  slots.change({ kind: 'lost', queue: 'executor', slot: 0 }, 0);
  expect(slots.choose(run('y'), 0)).toMatchObject({ kind: 'take', write: { revision: 0 } });
});

test('after a reduction below the held slots none is free', () => {
  const bucket = new Bucket();
  const before = bucket.executor('a', 4);
  const after = bucket.executor('b', 2);
  for (const runId of ['w', 'x', 'y']) bucket.launch(before, run(runId));
  bucket.deliver();
  expect([after.free, bucket.launch(after, run('z'))]).toEqual([0, false]);
});

test('executors are counted once all have had time to send a heartbeat, and no longer after two silent seconds', () => {
  const presence = new Presence('me');
  expect(presence.executors(0)).toBeUndefined();
  presence.connected(true, 0);
  presence.receive('other', { draining: false }, 400);
  expect(presence.executors(400)).toBeUndefined();
  expect(presence.executors(LISTEN_MS)).toBe(2);
  expect(presence.executors(2_401)).toBe(1);
  presence.receive('other', { draining: false }, 2_500);
  expect(presence.executors(2_501)).toBe(2);
  presence.receive('other', { draining: true }, 2_600);
  expect(presence.executors(2_601)).toBe(1);
});

test('after a reconnection executors known before count for the grace time', () => {
  const presence = new Presence('me');
  presence.connected(true, 0);
  presence.receive('other', { draining: false }, 5_000);
  presence.connected(false, 5_100);
  expect(presence.executors(9_000)).toBeUndefined();
  presence.connected(true, 10_000);
  expect(presence.executors(10_000 + LISTEN_MS)).toBe(2);
  expect(presence.executors(14_001)).toBe(1);
});
