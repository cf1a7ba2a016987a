import { AsyncLocalStorage } from 'node:async_hooks';
import { ReentryError } from '../../src/errors.ts';
import type { Broker, Delivery } from '../../src/ports/broker.ts';
import type { CompletedData, LifecycleData } from '../../src/wire/events.ts';
import type { EventType, RunKey } from '../../src/wire/subjects.ts';

/** How often, of 1, a write meets each fault. */
export interface Odds {
  /** The holder dies before the write, or right after it. */
  readonly crash: number;
  /** The holder stands still until its message was given to another, then goes on as if nothing had been. */
  readonly stall: number;
  /** A message is published a second time under another id. */
  readonly duplicate: number;
}

/** What was injected. */
export interface Injected {
  writes: number;
  crashes: number;
  stalls: number;
  duplicates: number;
}

interface Holder {
  dead: boolean;
  stalled: boolean;
  readonly delivery: Delivery;
}

/** A broker whose writes, made while a message is handled, may crash, stall or happen twice. Reads of the dead fail as well: nobody is there any more. */
export interface FaultLine {
  readonly broker: Broker;
  readonly injected: Injected;
  /** Faults at a write that is not the broker's (a pod created): `crash` only, before or after. */
  around<T>(write: () => Promise<T>): Promise<T>;
  /** Injects nothing from now on. */
  calm(): void;
}

/** Draws a fault line through `broker`. `random`: 0 to 1. `stallMs`: longer than the consumers' `ack_wait`. */
export function faultLine(broker: Broker, odds: Odds, stallMs: number, random: () => number): FaultLine {
  const holders = new AsyncLocalStorage<Holder>();
  const injected: Injected = { writes: 0, crashes: 0, stalls: 0, duplicates: 0 };
  let calm = false;

  const died = () => new ReentryError('INTERNAL', 'crashed by the test', { transient: true });
  const crash = (holder: Holder) => {
    injected.crashes += 1;
    holder.dead = true;
    holder.delivery.abandon();
    throw died();
  };
  const alive = () => {
    if (holders.getStore()?.dead === true) throw died();
  };
  const around = async <T>(write: () => Promise<T>, mayStall: boolean): Promise<T> => {
    const holder = holders.getStore();
    if (holder === undefined) return write();
    alive();
    injected.writes += 1;
    const dice = calm ? 1 : random();
    if (dice < odds.crash / 2) crash(holder);
    if (mayStall && dice > 1 - odds.stall && !calm && !holder.stalled) {
      injected.stalls += 1;
      holder.stalled = true;
      holder.delivery.abandon();
      await new Promise((resolve) => setTimeout(resolve, stallMs));
    }
    const answer = await write();
    if (dice < odds.crash && dice >= odds.crash / 2) crash(holder);
    return answer;
  };
  const write = <T>(act: () => Promise<T>) => around(act, true);
  /** A message that may be published twice. */
  const publish = async (send: (id: string) => Promise<void>, id: string) => {
    await write(() => send(id));
    if (calm || holders.getStore() === undefined || random() >= odds.duplicate) return;
    injected.duplicates += 1;
    await write(() => send(`${id}:again:${random()}`));
  };
  const read = <T>(act: () => Promise<T>): Promise<T> => {
    alive();
    return act();
  };
  const guarded = (handle: (delivery: Delivery) => Promise<void>) => async (delivery: Delivery) => {
    const holder: Holder = { dead: false, stalled: false, delivery };
    // An answer of the dead is none; between the last write and the ack is a place to die, too.
    const answered = async (act: () => Promise<void>) => {
      if (!holder.dead) await write(act);
    };
    const watched: Delivery = {
      ...delivery,
      ack: () => answered(() => delivery.ack()),
      nak: (delayMs) => answered(() => delivery.nak(delayMs)),
    };
    await holders.run(holder, async () => {
      try {
        await handle(watched);
      } catch (error) {
        if (!holder.dead) throw error;
      }
    });
  };

  const { runs, requests, subscriptions, queues, results, membership } = broker;
  const said = broker.publish;
  // The port's overloads tie the data to the type of the event; what comes in one way goes out the same.
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
    await write(() => (type === 'completed' ? said.event(run, type, step, data) : said.event(run, type, step, data)));
  }
  return {
    injected,
    around: (act) => around(act, false),
    calm: () => {
      calm = true;
    },
    broker: {
      ...broker,
      [Symbol.asyncDispose]: () => broker[Symbol.asyncDispose](),
      queues: {
        ...queues,
        intake$: (queue, credits, handle, stop$) => queues.intake$(queue, credits, guarded(handle), stop$),
        steps$: (queue, lane, credits, handle, stop$) => queues.steps$(queue, lane, credits, guarded(handle), stop$),
      },
      // The dead take back no count of deaths.
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
        create: (run, request) => write(() => requests.create(run, request)),
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
        ...said,
        event,
        start: (run, queue, message, id) => publish((key) => said.start(run, queue, message, key), id),
        resume: (run, queue, message, id) => publish((key) => said.resume(run, queue, message, key), id),
        ctl: (run, queue, message, id) => publish((key) => said.ctl(run, queue, message, key), id),
        deadLetter: (kind, run, data, why, of) => write(() => said.deadLetter(kind, run, data, why, of)),
      },
    },
  };
}
