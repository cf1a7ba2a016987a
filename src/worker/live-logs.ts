/** Live follows of runs: asked for by clients, one per run in the installation, ended when nobody asks any more. @see spec protocol §9 */
import { isTerminal } from '../core/run/transitions.ts';
import type { Log, Meter } from '../ports/ambient.ts';
import type { FollowRequest, LiveChunk, LiveLogs } from '../ports/broker.ts';
import type { RunStore } from '../ports/stores.ts';
import type { RunState } from '../wire/run-state.ts';
import { keys } from '../wire/subjects.ts';
import type { RunKey } from '../wire/subjects.ts';

/** Follows of one process at most, shared fairly between tenants; who asks for one more sees the stored log only. */
export const MAX_FOLLOWS = 64;
/** A client asks again every 5 s; one that has not for so long, in milliseconds, has gone. */
export const LEASE_MS = 15_000;

/** Sends a run's live text until `signal` says so or its pod has ended. */
export type FollowRun = (
  run: RunKey,
  state: RunState,
  publish: (chunk: LiveChunk) => Promise<void>,
  signal: AbortSignal,
) => Promise<void>;

/** What follows are made with. */
export interface FollowParts {
  readonly live: LiveLogs;
  readonly runs: RunStore;
  /** This worker, unique among the live ones. */
  readonly id: string;
  readonly follow: FollowRun;
  readonly log: Log;
  readonly meter: Meter;
  /** Default `LEASE_MS`. */
  readonly leaseMs?: number;
}

interface Follow {
  readonly tenant: string;
  heard(ask: FollowRequest): void;
  end(): void;
}

/** The follows of one worker. */
export class LiveFollows {
  readonly #parts: FollowParts;
  readonly #follows = new Map<string, Follow>();
  #stopped = false;

  constructor(parts: FollowParts) {
    this.#parts = parts;
  }

  /**
   * Sees to it that somebody follows the run for a while more. `join`: from the end of its stored log again, for a listener who is new or has lost
   * something. False: nobody can, now.
   */
  async ask(run: RunKey, join: boolean): Promise<boolean> {
    const { live, runs, meter } = this.#parts;
    const key = keys.run(run);
    const ask: FollowRequest = { kind: 'renew', join };
    const here = this.#follows.get(key);
    if (here !== undefined) {
      here.heard(ask);
      return true;
    }
    if (await live.requestFollow(run, ask)) return true;
    const state = (await runs.read(run))?.value;
    if (this.#stopped || state?.pod === undefined || isTerminal(state.phase)) return false;
    if (this.#follows.has(key)) return true;
    if (this.#follows.size >= MAX_FOLLOWS && !this.#makeRoomFor(run.tenant)) {
      meter.count('live_follows_refused_total');
      return false;
    }
    void this.#begin(run, key);
    return true;
  }

  /** Ends them all: the worker stops, and a sibling is asked next time. */
  stop(): void {
    this.#stopped = true;
    for (const follow of this.#follows.values()) follow.end();
  }

  /** Ends the oldest follow of the tenant with the most, where the asker stays below that tenant even so. */
  #makeRoomFor(tenant: string): boolean {
    const byTenant = Map.groupBy(this.#follows, ([, follow]) => follow.tenant);
    const most = [...byTenant.values()].reduce((one, other) => (other.length > one.length ? other : one), []);
    const own = byTenant.get(tenant)?.length ?? 0;
    const oldest = most.length > own + 1 ? most[0] : undefined;
    if (oldest === undefined) return false;
    const [key, follow] = oldest;
    follow.end();
    // Its loop ends a moment later; its place is free now.
    this.#follows.delete(key);
    return true;
  }

  async #begin(run: RunKey, key: string): Promise<void> {
    const { live, runs, id, follow, log, meter, leaseMs = LEASE_MS } = this.#parts;
    const over = new AbortController();
    let reading = new AbortController();
    const end = (): void => {
      over.abort();
    };
    let lease = setTimeout(end, leaseMs);
    const heard = (ask: FollowRequest): void => {
      if (ask.kind === 'renew') {
        clearTimeout(lease);
        lease = setTimeout(end, leaseMs);
        if (ask.join) reading.abort();
      } else if (ask.by < id) {
        // Two began at once: the one with the smaller id goes on, and says so to the other.
        end();
      } else if (ask.by !== id) live.claimFollow(run, id);
    };
    const own: Follow = { tenant: run.tenant, heard, end };
    this.#follows.set(key, own);
    meter.gauge('live_follows', this.#follows.size);
    const answering = live.onFollowRequest(run, heard);
    live.claimFollow(run, id);
    try {
      for (;;) {
        reading = new AbortController();
        const state = (await runs.read(run))?.value;
        if (state?.pod === undefined || isTerminal(state.phase) || over.signal.aborted) break;
        const signal = AbortSignal.any([reading.signal, over.signal]);
        await follow(run, state, (chunk) => live.publish(run, chunk), signal);
        // Ended by itself: the pod has. Whoever still listens asks again, and there may be another attempt then.
        if (!reading.signal.aborted) break;
      }
    } catch (error) {
      log.warn({ ...run, err: error }, 'a live follow broke off');
    } finally {
      clearTimeout(lease);
      answering[Symbol.dispose]();
      // Ended to make room, its run may have been asked for again meanwhile.
      if (this.#follows.get(key) === own) this.#follows.delete(key);
      meter.gauge('live_follows', this.#follows.size);
    }
  }
}
