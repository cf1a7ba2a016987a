/**
 * Streams logs live to clients. Clients request a follow of a run and renew it; the installation has one follow per run, which ends when it is no
 * longer renewed. @see src/wire/README.md, "Logs"
 */
import { isTerminal } from '../core/run/transitions.ts';
import type { Log, Meter } from '../ports/ambient.ts';
import type { FollowRequest, LiveChunk, LiveLogs } from '../ports/broker.ts';
import type { RunStore } from '../ports/stores.ts';
import type { RunState } from '../wire/run-state.ts';
import { keys } from '../wire/subjects.ts';
import type { RunKey } from '../wire/subjects.ts';

/** Maximum follows of one process, shared fairly between tenants. Beyond it, a client sees the stored log only. */
export const MAX_FOLLOWS = 64;
/** A follow ends this many milliseconds after its last renewal. Clients renew every 5 s. */
export const LEASE_MS = 15_000;

/** Publishes a run's live text until `signal` aborts or the pod has ended. */
export type FollowRun = (
  run: RunKey,
  state: RunState,
  publish: (chunk: LiveChunk) => Promise<void>,
  signal: AbortSignal,
) => Promise<void>;

/** What `LiveFollows` is given. */
export interface FollowParts {
  readonly live: LiveLogs;
  readonly runs: RunStore;
  /** This worker's id, unique among the live ones. */
  readonly id: string;
  readonly follow: FollowRun;
  readonly log: Log;
  readonly meter: Meter;
  /** Default `LEASE_MS`. */
  readonly leaseMs?: number;
}

interface Follow {
  readonly tenant: string;
  handle(request: FollowRequest): void;
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
   * Starts or renews the follow of a run, here or on another worker. `join`: publish from the end of the stored log again, for a client that is new or
   * has missed lines. `false`: the run cannot be followed now.
   */
  async ask(run: RunKey, join: boolean): Promise<boolean> {
    const { live, runs, meter } = this.#parts;
    const key = keys.run(run);
    const request: FollowRequest = { kind: 'renew', join };
    const here = this.#follows.get(key);
    if (here !== undefined) {
      here.handle(request);
      return true;
    }
    if (await live.requestFollow(run, request)) return true;
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

  /** Ends all follows: this worker stops, and another one serves the next request. */
  stop(): void {
    this.#stopped = true;
    for (const follow of this.#follows.values()) follow.end();
  }

  /** Ends the oldest follow of the tenant with the most, if the requesting tenant then still has fewer than that one. */
  #makeRoomFor(tenant: string): boolean {
    const byTenant = Map.groupBy(this.#follows, ([, follow]) => follow.tenant);
    const most = [...byTenant.values()].reduce((one, other) => (other.length > one.length ? other : one), []);
    const own = byTenant.get(tenant)?.length ?? 0;
    const oldest = most.length > own + 1 ? most[0] : undefined;
    if (oldest === undefined) return false;
    const [key, follow] = oldest;
    follow.end();
    // Its loop ends a moment later; its room is free now.
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
    const handle = (request: FollowRequest): void => {
      if (request.kind === 'renew') {
        clearTimeout(lease);
        lease = setTimeout(end, leaseMs);
        if (request.join) reading.abort();
      } else if (request.by < id) {
        // Two workers started at once: the one with the smaller id goes on.
        end();
      } else if (request.by !== id) live.claimFollow(run, id);
    };
    const own: Follow = { tenant: run.tenant, handle, end };
    this.#follows.set(key, own);
    meter.gauge('live_follows', this.#follows.size);
    const answering = live.onFollowRequest(run, handle);
    live.claimFollow(run, id);
    try {
      for (;;) {
        reading = new AbortController();
        const state = (await runs.read(run))?.value;
        if (state?.pod === undefined || isTerminal(state.phase) || over.signal.aborted) break;
        const signal = AbortSignal.any([reading.signal, over.signal]);
        await follow(run, state, (chunk) => live.publish(run, chunk), signal);
        // The pod has ended. Clients that still listen renew, and may find another attempt.
        if (!reading.signal.aborted) break;
      }
    } catch (error) {
      log.warn({ ...run, err: error }, 'a live follow failed');
    } finally {
      clearTimeout(lease);
      answering[Symbol.dispose]();
      // If it was ended to make room, there may be a new follow of the same run by now.
      if (this.#follows.get(key) === own) this.#follows.delete(key);
      meter.gauge('live_follows', this.#follows.size);
    }
  }
}
