import { AsyncLocalStorage } from 'node:async_hooks';
import { ReentryError } from '../../src/errors.ts';
import type { Broker, Delivery } from '../../src/ports/broker.ts';
import type { CompletedData, LifecycleData } from '../../src/wire/events.ts';
import type { EventType, RunKey } from '../../src/wire/subjects.ts';

/** Probability of each fault at a write, 0 to 1. */
export interface Odds {
  /** The process crashes before the write, or right after it. */
  readonly crash: number;
  /** The process stalls until its message was delivered to another, then continues. */
  readonly stall: number;
  /** A message is published a second time under another id. */
  readonly duplicate: number;
}

/** Numbers of injected faults. */
export interface Injected {
  writes: number;
  crashes: number;
  stalls: number;
  duplicates: number;
}

interface Handler {
  dead: boolean;
  stalled: boolean;
  readonly delivery: Delivery;
}

/** A broker with injected faults: writes during the handling of a message may crash, stall or happen twice. After a crash the handler's reads fail, too. */
export interface FaultyBroker {
  readonly broker: Broker;
  readonly injected: Injected;
  /** Injects faults at a write outside the broker (the creation of a pod): `crash` only, before or after. */
  around<T>(write: () => Promise<T>): Promise<T>;
  /** Injects no more faults. */
  stopFaults(): void;
}

/** Injects faults into `broker`. `random`: 0 to 1. `stallMs`: longer than the consumers' `ack_wait`. */
export function faultyBroker(broker: Broker, odds: Odds, stallMs: number, random: () => number): FaultyBroker {
  const handlers = new AsyncLocalStorage<Handler>();
  const injected: Injected = { writes: 0, crashes: 0, stalls: 0, duplicates: 0 };
  let faultsAreOff = false;

  const died = () => new ReentryError('INTERNAL', 'crashed by the test', { transient: true });
  const crash = (handler: Handler) => {
    injected.crashes += 1;
    handler.dead = true;
    handler.delivery.abandon();
    throw died();
  };
  const alive = () => {
    if (handlers.getStore()?.dead === true) throw died();
  };
  const around = async <T>(write: () => Promise<T>, mayStall: boolean): Promise<T> => {
    const handler = handlers.getStore();
    if (handler === undefined) return write();
    alive();
    injected.writes += 1;
    const dice = faultsAreOff ? 1 : random();
    if (dice < odds.crash / 2) crash(handler);
    if (mayStall && dice > 1 - odds.stall && !faultsAreOff && !handler.stalled) {
      injected.stalls += 1;
      handler.stalled = true;
      handler.delivery.abandon();
      await new Promise((resolve) => setTimeout(resolve, stallMs));
    }
    const answer = await write();
    if (dice < odds.crash && dice >= odds.crash / 2) crash(handler);
    return answer;
  };
  const write = <T>(act: () => Promise<T>) => around(act, true);
  /** A message that may be published twice. */
  const publish = async (send: (id: string) => Promise<void>, id: string) => {
    await write(() => send(id));
    if (faultsAreOff || handlers.getStore() === undefined || random() >= odds.duplicate) return;
    injected.duplicates += 1;
    await write(() => send(`${id}:again:${random()}`));
  };
  const read = <T>(act: () => Promise<T>): Promise<T> => {
    alive();
    return act();
  };
  const guarded = (handle: (delivery: Delivery) => Promise<void>) => async (delivery: Delivery) => {
    const handler: Handler = { dead: false, stalled: false, delivery };
    // A crashed handler does not ack; it may crash between its last write and the ack, too.
    const answered = async (act: () => Promise<void>) => {
      if (!handler.dead) await write(act);
    };
    const watched: Delivery = {
      ...delivery,
      ack: () => answered(() => delivery.ack()),
      nak: (delayMs) => answered(() => delivery.nak(delayMs)),
    };
    await handlers.run(handler, async () => {
      try {
        await handle(watched);
      } catch (error) {
        if (!handler.dead) throw error;
      }
    });
  };

  const { runs, requests, subscriptions, queues, results, membership } = broker;
  const publisher = broker.publish;
  // The port's overloads tie the data to the type of the event; the arguments are passed on unchanged.
  async function event(run: RunKey, type: 'completed', step: number, data: CompletedData): Promise<void>;
  async function event(
    run: RunKey,
    type: Exclude<EventType, 'completed'>,
    step: number,
    data: LifecycleData,
  ): Promise<void>;
  async function event(
    ...args:
      | [run: RunKey, type: 'completed', step: number, data: CompletedData]
      | [run: RunKey, type: Exclude<EventType, 'completed'>, step: number, data: LifecycleData]
  ): Promise<void> {
    const [run, type, step, data] = args;
    await write(() =>
      type === 'completed' ? publisher.event(run, type, step, data) : publisher.event(run, type, step, data),
    );
  }
  return {
    injected,
    around: (act) => around(act, false),
    stopFaults: () => {
      faultsAreOff = true;
    },
    broker: {
      ...broker,
      [Symbol.asyncDispose]: () => broker[Symbol.asyncDispose](),
      queues: {
        ...queues,
        // Between this check and the writes that follow from it the holder may die, or stand still.
        firstRequest: async (run) => {
          const first = await read(() => queues.firstRequest(run));
          await write(() => Promise.resolve());
          return first;
        },
        intake$: (queue, credits, handle, stop$) => queues.intake$(queue, credits, guarded(handle), stop$),
        steps$: (queue, lane, credits, handle, stop$) => queues.steps$(queue, lane, credits, guarded(handle), stop$),
      },
      // A crashed handler does not correct the delivery count.
      membership: {
        ...membership,
        claim: (key, claim, revision) => read(() => membership.claim(key, claim, revision)),
        readClaim: (key) => read(() => membership.readClaim(key)),
        dropClaim: (key, revision) => read(() => membership.dropClaim(key, revision)),
      },
      runs: {
        ...runs,
        read: (run, options) => read(() => runs.read(run, options)),
        write: (run, state, revision) => write(() => runs.write(run, state, revision)),
      },
      requests: {
        ...requests,
        claim: (run, request) => write(() => requests.claim(run, request)),
        read: (run) => read(() => requests.read(run)),
      },
      subscriptions: {
        ...subscriptions,
        read: (run) => read(() => subscriptions.read(run)),
        put: (run, subscription, revision) => write(() => subscriptions.put(run, subscription, revision)),
        delete: (run) => write(() => subscriptions.delete(run)),
      },
      gates: {
        ...broker.gates,
        queue: (queue) => read(() => broker.gates.queue(queue)),
        concurrencySlots: (tenant, key) => read(() => broker.gates.concurrencySlots(tenant, key)),
        setConcurrencySlots: (tenant, key, slots, revision) =>
          write(() => broker.gates.setConcurrencySlots(tenant, key, slots, revision)),
      },
      results: { ...results, put: (run, attempt, name, data) => write(() => results.put(run, attempt, name, data)) },
      publish: {
        ...publisher,
        event,
        start: (run, queue, message, id) => publish((key) => publisher.start(run, queue, message, key), id),
        resume: (run, queue, message, id) => publish((key) => publisher.resume(run, queue, message, key), id),
        ctl: (run, queue, message, id) => publish((key) => publisher.ctl(run, queue, message, key), id),
        deadLetter: (kind, run, data, why, of) => write(() => publisher.deadLetter(kind, run, data, why, of)),
      },
    },
  };
}
