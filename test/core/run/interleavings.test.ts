import fc from 'fast-check';
import { expect, test } from 'vitest';
import { diagnosisOf } from '../../../src/core/run/diagnosis.ts';
import type { Message as MessageKind, MessageId, OwnerChange, StepMessage } from '../../../src/core/run/transitions.ts';
import { decide, isAllowed, isTerminal, owns } from '../../../src/core/run/transitions.ts';
import type { Draft } from '../../../src/core/run/state-changes.ts';
import {
  accepted,
  cancelMarked,
  deferred,
  ended,
  gated,
  postponed,
  retrying,
  stoppingBegun,
  taken,
} from '../../../src/core/run/state-changes.ts';
import type { Outcome } from '../../../src/wire/outcome.ts';
import type { Phase, RunState } from '../../../src/wire/run-state.ts';

/** A delivered message, and the worker that processes it. */
interface Message {
  readonly id: MessageId;
  readonly body: StepMessage;
}
interface Worker {
  readonly message: Message;
  /** The state as read: it may be old by now. */
  state: RunState | undefined;
  revision: number;
  epoch: number | undefined;
  phase: 'read' | 'work' | 'gone';
}

/** A model of one run: its state with compare-and-set, its pods, its messages, and workers at any point of their step. */
class Model {
  state: RunState | undefined;
  revision = 0;
  old: { readonly state: RunState | undefined; readonly revision: number } = { state: undefined, revision: 0 };
  readonly messages: Message[] = [];
  readonly workers: Worker[] = [];
  readonly pods = new Map<number, { alive: boolean; created: number }>();
  readonly phases: Phase[] = [];
  #seq = 0;

  deliver(body: StepMessage): void {
    this.#seq += 1;
    this.messages.push({ id: { stream: 'STEPS', seq: this.#seq }, body });
  }

  /** A worker receives a message, perhaps not for the first time, and reads the state, perhaps an old one. */
  read(n: number, stale: boolean): void {
    const message = this.messages[n % Math.max(1, this.messages.length)];
    if (message === undefined) return;
    // Only a first delivery may read an old state; a redelivery reads from the leader.
    const again = this.workers.some((worker) => worker.message === message);
    const seen = stale && !again ? this.old : { state: this.state, revision: this.revision };
    this.workers.push({ message, ...seen, epoch: undefined, phase: 'read' });
  }

  write(on: MessageKind | OwnerChange, draft: Draft, expected: number): boolean {
    if (expected !== this.revision) return false;
    const before = this.state;
    // The check of a worker's store before it writes.
    expect(isAllowed(before?.phase ?? 'none', on, draft.phase)).toBe(true);
    if (before !== undefined) {
      expect(isTerminal(before.phase)).toBe(false);
      expect(draft.step).toBeGreaterThanOrEqual(before.step);
      expect(draft.attempt).toBeGreaterThanOrEqual(before.attempt);
    }
    this.old = { state: before, revision: this.revision };
    this.state = draft;
    this.revision += 1;
    if (before?.phase !== draft.phase) this.phases.push(draft.phase);
    return true;
  }

  /** One worker makes its next move. */
  move(n: number, work: number): void {
    const alive = this.workers.filter(({ phase }) => phase !== 'gone');
    const worker = alive[n % Math.max(1, alive.length)];
    if (worker === undefined) return;
    if (worker.phase === 'read') this.#begin(worker);
    else this.#work(worker, work);
  }

  #begin(worker: Worker): void {
    const { message, state, revision } = worker;
    const action = decide(state, message.body, message.id, 10);
    worker.phase = 'gone';
    const holder = { ...message.id, by: 'w' };
    const facts = { queue: 'q', fence: { ...holder, epoch: 1 }, requestHash: 'h', now: 10 };
    if (action === 'create') this.write('request', accepted({ operator: 'pod' }, facts), 0);
    if (state === undefined) return;
    if (action === 'mark') this.write('cancel', cancelMarked(state, 10, undefined), revision);
    if (action === 'end') {
      const outcome: Outcome = { state: message.body.on === 'cancel' ? 'cancelled' : 'failed' };
      this.write(
        message.body.on,
        { ...ended(state, outcome, 10), fence: { ...holder, epoch: state.fence.epoch + 1 } },
        revision,
      );
    }
    if (action === 'take' && message.body.on === 'start' && state.phase === 'Queued' && revision % 4 === 1) {
      this.write('gate', gated(state, 'turn', holder, 10), revision);
      return;
    }
    if (action === 'take') {
      const marked =
        message.body.on === 'cancel' && state.cancel === undefined ? cancelMarked(state, 10, undefined) : state;
      const next = taken(marked, message.body.on === 'start' ? 'Starting' : 'Resuming', holder);
      if (!this.write(message.body.on, next, revision)) return;
      worker.phase = 'work';
      worker.state = next;
      worker.epoch = next.fence.epoch;
    }
  }

  /** The owner reads, acts and writes: as `OwnedRun` does, it stops when the fence is not its own. */
  #work(worker: Worker, work: number): void {
    worker.phase = 'gone';
    const { state } = this;
    if (state === undefined || !owns(state.fence, worker.message.id) || state.fence.epoch !== worker.epoch) return;
    const ref = (attempt: number) => ({ connection: 'c', namespace: 'n', name: `p${attempt}`, uid: `u${attempt}` });
    const pod = this.pods.get(state.attempt);
    if (state.cancel !== undefined || state.stopping !== undefined) {
      const why =
        state.cancel === undefined && state.stopping !== undefined ? state.stopping : { state: 'cancelled' as const };
      if (pod?.alive !== true || work % 2 === 0) {
        if (pod !== undefined) pod.alive = false;
        this.#go('end', ended(state, { state: why.state }, 10));
      } else this.#go('stop', stoppingBegun(state, ref(state.attempt), why));
      return;
    }
    if (state.phase === 'Starting') {
      if (work % 4 === 0) {
        this.#go('postpone', postponed(state, 10, state.infraFailures, diagnosisOf('API_THROTTLED')));
        return;
      }
      if (pod === undefined) this.pods.set(state.attempt, { alive: true, created: 1 });
      for (const [attempt, one] of this.pods) expect(one.alive && attempt !== state.attempt).toBe(false);
      this.#go('defer', deferred(state, { pod: ref(state.attempt), await: { terminal: true } }, { now: 10 }));
      return;
    }
    if (work % 3 === 0) {
      this.#go('defer', deferred(state, { pod: ref(state.attempt), await: { terminal: true } }, { now: 10 }));
      return;
    }
    if (pod !== undefined) pod.alive = false;
    const again = { userFailures: state.userFailures + 1, infraFailures: 0, notBefore: 10, untilGone: false };
    if (work % 3 === 1 && state.attempt < 3) this.#go('retry', retrying(state, { state: 'failed' }, undefined, again));
    else this.#go('end', ended(state, { state: 'succeeded' }, 10));
  }

  #go(on: OwnerChange, draft: Draft): void {
    expect(this.write(on, draft, this.revision)).toBe(true);
  }
}

const body: fc.Arbitrary<StepMessage> = fc.oneof(
  fc.constant({ on: 'request' as const }),
  fc.record({ on: fc.constant('start' as const), attempt: fc.integer({ min: 1, max: 3 }) }),
  fc.record({
    on: fc.constant('resume' as const),
    step: fc.nat(6),
    event: fc.constantFrom(
      { kind: 'success' as const },
      { kind: 'running' as const },
      { kind: 'gone' as const },
      { kind: 'timeout' as const, reason: 'EXPIRED' },
    ),
  }),
  fc.constant({ on: 'cancel' as const }),
);
const anyMove = fc.oneof(
  {
    weight: 3,
    arbitrary: body.map((message) => (model: Model) => {
      model.deliver(message);
    }),
  },
  {
    weight: 4,
    arbitrary: fc.tuple(fc.nat(40), fc.boolean()).map(([n, stale]) => (model: Model) => {
      model.read(n, stale);
    }),
  },
  {
    weight: 6,
    arbitrary: fc.tuple(fc.nat(20), fc.nat(11)).map(([n, work]) => (model: Model) => {
      model.move(n, work);
    }),
  },
);

test('any interleaving of messages, redeliveries, stale reads and unfinished steps leaves a run consistent', () => {
  let endings = 0;
  fc.assert(
    fc.property(fc.array(anyMove, { minLength: 20, maxLength: 150 }), (moves) => {
      const model = new Model();
      model.deliver({ on: 'request' });
      model.read(0, false);
      model.move(0, 0);
      model.deliver({ on: 'start', attempt: 1 });
      for (const move of moves) move(model);
      const ends = model.phases.filter(isTerminal);
      expect(ends.length).toBeLessThanOrEqual(1);
      if (ends.length === 1) {
        endings += 1;
        expect(model.phases.at(-1)).toBe(ends[0]);
      }
    }),
    { numRuns: 2_000 },
  );
  // The property would hold for a run that never changes.
  expect(endings).toBeGreaterThan(200);
});
