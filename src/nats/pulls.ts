/**
 * A pull consumer that requests exactly as many messages as can be handled. The library's `consume` buffers a fixed number on the client while
 * their ack deadline runs. Here each pull has a reply subject of its own and asks for the free credits.
 */
import { createInbox } from 'nats';
import type { Msg, Subscription } from 'nats';
import type { Link } from './link.ts';

/** How long a pull stays open at the server: a frozen process swallows messages no longer than this. */
const EXPIRES_MS = 5_000;
const IDLE_HEARTBEAT_MS = 500;
/** A pull silent for this long (three heartbeats) is given up: its server or leader is gone. */
const SILENT_MS = 1_750;
const CHECK_EVERY_MS = 500;
/** Pause after the server refused a pull, so that a missing consumer does not cause a busy loop. */
const REFUSED_PAUSE_MS = 1_000;
/** A refusal is logged at most this often. */
const REFUSED_LOG_EVERY_MS = 10_000;

interface Pull {
  readonly subscription: Subscription;
  remaining: number;
  lastSeenAt: number;
  /** Whether `remaining` messages may still come. */
  counts: boolean;
}

/** What to pull, and where messages go. */
export interface PullOptions {
  readonly stream: string;
  readonly consumer: string;
  /** Most messages held at a time. */
  readonly credits: number;
  /** How many messages may come now, beyond those already given to `take`. */
  readonly free: () => number;
  readonly take: (message: Msg) => void;
}

/** A running source of messages. */
export interface PullSource {
  /** Pulls more where there is room; call it when a message has been settled. */
  refill(): void;
  /** Ends all pulls. Resolves when messages that the server had already sent have been given to `take`. */
  stop(): Promise<void>;
}

/** Pulls from a durable consumer until it is stopped. */
export function pullFrom(link: Link, options: PullOptions): PullSource {
  return new Pulls(link, options);
}

class Pulls implements PullSource {
  readonly #link: Link;
  readonly #options: PullOptions;
  readonly #api: string;
  readonly #open = new Set<Pull>();
  readonly #check: NodeJS.Timeout;
  readonly #reconnects: { unsubscribe(): void };
  #stopped = false;
  #notBefore = 0;
  #refusalLoggedAt = 0;

  constructor(link: Link, options: PullOptions) {
    this.#link = link;
    this.#options = options;
    const { stream, consumer, credits } = options;
    this.#api = `$JS.API.CONSUMER.MSG.NEXT.${stream}.${consumer}`;
    this.#check = setInterval(() => {
      this.#giveUpSilent();
    }, CHECK_EVERY_MS);
    // After a reconnect the server knows none of the old pulls.
    this.#reconnects = link.connected$.subscribe({
      next: (connected) => {
        for (const pull of this.#open) this.#giveUp(pull);
        if (connected) this.refill();
      },
      error: (error: unknown) => link.log?.error({ consumer, error: String(error) }, 'connection state lost'),
    });
    link.log?.debug({ stream, consumer, credits }, 'pulling');
  }

  refill(): void {
    this.#shrink();
    const { nc, isConnected, inboxPrefix } = this.#link;
    const mayPull = isConnected() && !nc.isClosed() && !nc.isDraining();
    if (this.#stopped || !mayPull || performance.now() < this.#notBefore) return;
    const requested = this.#requested();
    const room = this.#options.free() - requested;
    // One pull per free credit would cost a subscription per message; so wait for a quarter of them, unless nothing is requested.
    if (room < 1 || (requested > 0 && room < Math.ceil(this.#options.credits / 4))) return;
    const inbox = createInbox(inboxPrefix);
    const pull: Pull = {
      remaining: room,
      lastSeenAt: performance.now(),
      counts: true,
      subscription: nc.subscribe(inbox, {
        callback: (error, message) => {
          if (error === null) this.#receive(pull, message);
          else {
            this.#end(pull);
            this.#refused(0, error.message);
          }
        },
      }),
    };
    this.#open.add(pull);
    const request = { batch: room, expires: EXPIRES_MS * 1e6, idle_heartbeat: IDLE_HEARTBEAT_MS * 1e6 };
    nc.publish(this.#api, JSON.stringify(request), { reply: inbox });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#check);
    this.#reconnects.unsubscribe();
    const { nc, isConnected } = this.#link;
    const subscriptions = [...this.#open].map(({ subscription }) => subscription);
    // Draining sends UNSUB and then lets through what the server had sent before it received that.
    if (isConnected() && !nc.isClosed() && !nc.isDraining())
      await Promise.allSettled(subscriptions.map((subscription) => subscription.drain()));
    else for (const subscription of subscriptions) subscription.unsubscribe();
    this.#open.clear();
  }

  /** Messages that were requested and may still come. */
  #requested(): number {
    let sum = 0;
    for (const pull of this.#open) if (pull.counts) sum += pull.remaining;
    return sum;
  }

  #receive(pull: Pull, message: Msg): void {
    pull.lastSeenAt = performance.now();
    const status = message.data.length === 0 && message.headers !== undefined ? message.headers.code : 0;
    const description = message.headers?.description ?? '';
    switch (status) {
      case 0:
        pull.remaining -= 1;
        this.#options.take(message);
        if (pull.remaining <= 0) this.#end(pull);
        return;
      case 100: // idle heartbeat
        return;
      case 404: // no messages
      case 408: // expired
        this.#end(pull);
        break;
      case 409: // leadership change, shutdown, consumer deleted, too many pulls: all end this pull
        this.#end(pull);
        if (!description.includes('Leadership')) this.#refused(status, description);
        break;
      default: // 503: no responders
        this.#end(pull);
        this.#refused(status, message.headers?.description ?? 'no responders');
    }
    this.refill();
  }

  #end(pull: Pull): void {
    if (this.#open.delete(pull)) pull.subscription.unsubscribe();
  }

  /** Requests again what the pull had requested. Its late messages are still taken until the server must have forgotten it. */
  #giveUp(pull: Pull): void {
    if (!pull.counts) return;
    pull.counts = false;
    setTimeout(() => {
      this.#end(pull);
    }, 2 * EXPIRES_MS).unref();
  }

  #giveUpSilent(): void {
    const now = performance.now();
    for (const pull of this.#open) if (now - pull.lastSeenAt > SILENT_MS) this.#giveUp(pull);
    this.refill();
  }

  /** Cancels pulls where more was requested than is free now. What the server had already sent is still taken. */
  #shrink(): void {
    for (const pull of this.#open) {
      if (this.#requested() <= Math.max(0, this.#options.free())) return;
      if (!pull.counts) continue;
      pull.counts = false;
      const end = () => {
        this.#end(pull);
      };
      pull.subscription.drain().then(end, end);
    }
  }

  #refused(status: number, description: string): void {
    const now = performance.now();
    this.#notBefore = now + REFUSED_PAUSE_MS;
    if (now - this.#refusalLoggedAt <= REFUSED_LOG_EVERY_MS) return;
    this.#refusalLoggedAt = now;
    const { stream, consumer } = this.#options;
    this.#link.log?.warn(
      { stream, consumer, status, description },
      `consumer ${consumer} refuses pulls; if this continues, run \`reentry setup\``,
    );
  }
}
