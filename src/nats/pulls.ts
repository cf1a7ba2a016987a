/**
 * A pull consumer that asks for exactly as many messages as there are free hands. The library's `consume` keeps a client-side buffer of a
 * fixed size while `ack_wait` runs; so the pulls are made here, each with a reply subject of its own. @see spec nats-notes §2.5
 */
import { createInbox } from 'nats';
import type { Msg, Subscription } from 'nats';
import type { Link } from './link.ts';

/** How long a pull stays open at the server: a frozen process swallows messages no longer than this. */
const EXPIRES_MS = 5_000;
const IDLE_HEARTBEAT_MS = 500;
/** A pull that is silent for so long (three heartbeats) is given up: its server or leader is gone. */
const SILENT_MS = 1_750;
const CHECK_EVERY_MS = 500;
/** Pause after the server refused a pull, so that a missing consumer is no busy loop. */
const REFUSED_PAUSE_MS = 1_000;

interface Pull {
  subscription: Subscription;
  remaining: number;
  lastSeenAt: number;
  counts: boolean;
}

/** A running source of messages. */
export interface PullSource {
  /** Asks for more where there is room; call it when a hand became free. */
  refill(): void;
  /** No new pulls; resolves when what the server had already sent has been given to `take`. */
  stop(): Promise<void>;
}

/** Pulls from a durable consumer. `free()` says how many messages may come now, beyond those already given to `take`. */
export function pullFrom(
  {
    nc,
    connected$,
    isConnected,
    log,
    inboxPrefix,
  }: Pick<Link, 'nc' | 'connected$' | 'isConnected' | 'log' | 'inboxPrefix'>,
  stream: string,
  consumer: string,
  credits: number,
  free: () => number,
  take: (message: Msg) => void,
): PullSource {
  const pulls = new Set<Pull>();
  const api = `$JS.API.CONSUMER.MSG.NEXT.${stream}.${consumer}`;
  let stopped = false;
  let notBefore = 0;
  let refusedAt = 0;

  const outstanding = () => {
    let sum = 0;
    for (const pull of pulls) if (pull.counts) sum += pull.remaining;
    return sum;
  };

  const end = (pull: Pull) => {
    if (!pulls.delete(pull)) return;
    pull.subscription.unsubscribe();
  };

  /** Its answers no longer count, but stragglers are still taken until the server must have forgotten it. */
  const giveUp = (pull: Pull) => {
    if (!pull.counts) return;
    pull.counts = false;
    setTimeout(() => {
      end(pull);
    }, 2 * EXPIRES_MS).unref();
  };

  const refused = (status: number, description: string) => {
    notBefore = performance.now() + REFUSED_PAUSE_MS;
    if (performance.now() - refusedAt > 10_000) {
      refusedAt = performance.now();
      log?.warn(
        { stream, consumer, status, description },
        `consumer ${consumer} does not answer; if this goes on, run \`reentry setup\``,
      );
    }
  };

  const seen = (pull: Pull, message: Msg) => {
    pull.lastSeenAt = performance.now();
    const status = message.data.length === 0 && message.headers !== undefined ? message.headers.code : 0;
    switch (status) {
      case 0:
        pull.remaining -= 1;
        take(message);
        if (pull.remaining <= 0) end(pull);
        return;
      case 100: // idle heartbeat
        return;
      case 404: // nothing there
      case 408: // expired
        end(pull);
        break;
      case 409: {
        // Leadership change, shutdown, consumer deleted, too many pulls: all end this pull.
        end(pull);
        if (!(message.headers?.description ?? '').includes('Leadership'))
          refused(status, message.headers?.description ?? '');
        break;
      }
      default: // 503: nobody there
        end(pull);
        refused(status, message.headers?.description ?? 'no responders');
    }
    refill();
  };

  /** Fewer hands than were asked for: the rest is taken back. What the server had sent before it hears that is still taken. */
  const shrink = () => {
    for (const pull of pulls) {
      if (outstanding() <= Math.max(0, free())) return;
      if (!pull.counts) continue;
      pull.counts = false;
      pull.subscription.drain().then(
        () => {
          end(pull);
        },
        () => {
          end(pull);
        },
      );
    }
  };

  const refill = () => {
    shrink();
    if (stopped || !isConnected() || nc.isClosed() || nc.isDraining() || performance.now() < notBefore) return;
    const open = outstanding();
    const room = free() - open;
    // One pull per free hand would cost a subscription per message; so wait for a quarter, unless nothing is asked for.
    if (room < 1 || (open > 0 && room < Math.ceil(credits / 4))) return;
    const inbox = createInbox(inboxPrefix);
    const pull: Pull = {
      remaining: room,
      lastSeenAt: performance.now(),
      counts: true,
      subscription: nc.subscribe(inbox, {
        callback: (error, message) => {
          if (error === null) seen(pull, message);
          else {
            end(pull);
            refused(0, error.message);
          }
        },
      }),
    };
    pulls.add(pull);
    const ask = { batch: room, expires: EXPIRES_MS * 1e6, idle_heartbeat: IDLE_HEARTBEAT_MS * 1e6 };
    nc.publish(api, JSON.stringify(ask), { reply: inbox });
  };

  const check = setInterval(() => {
    const now = performance.now();
    for (const pull of pulls) if (now - pull.lastSeenAt > SILENT_MS) giveUp(pull);
    refill();
  }, CHECK_EVERY_MS);
  // After a reconnect the server knows none of the old pulls.
  const reconnects = connected$.subscribe({
    next: (connected) => {
      for (const pull of pulls) giveUp(pull);
      if (connected) refill();
    },
    error: (error: unknown) => log?.error({ consumer, error: String(error) }, 'connection state lost'),
  });
  log?.debug({ stream, consumer, credits }, 'pulling');

  return {
    refill,
    async stop() {
      stopped = true;
      clearInterval(check);
      reconnects.unsubscribe();
      const open = [...pulls];
      // Draining says UNSUB and then lets through what the server had sent before it heard that.
      if (isConnected() && !nc.isClosed() && !nc.isDraining())
        await Promise.allSettled(open.map(({ subscription }) => subscription.drain()));
      else for (const { subscription } of open) subscription.unsubscribe();
      pulls.clear();
    },
  };
}
