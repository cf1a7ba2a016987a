import { concat, NEVER, of, Subject } from 'rxjs';
import { afterEach, beforeEach, expect, suite, test, vi } from 'vitest';
import { DEAD_AFTER_MS, FENCED_AFTER_MS, GRACE_MS, HEARTBEAT_MS } from '../../src/core/ownership.ts';
import { SHARD_COUNT, SHARDS } from '../../src/core/identity.ts';
import type { Log, Meter } from '../../src/ports/ambient.ts';
import type { ClaimChange, Membership } from '../../src/ports/broker.ts';
import { HAND_OVER_MS, Ownership, takenOverShards$ } from '../../src/trigger/ownership.ts';
import type { Heartbeat, Claim } from '../../src/wire/presence.ts';

const nothing = (): void => undefined;
const log: Log = { debug: nothing, info: nothing, warn: nothing, error: nothing, child: () => log };
const meter: Meter = { count: nothing, gauge: nothing, observeSeconds: nothing };

/** Far more claims than any of these tests needs. */
const MOST_CLAIMS = 5_000;

/**
 * A subject and a bucket that replicas share; what is published arrives at once. Replicas that claim shards from each other without end do so
 * without time passing, which no time-out can stop: beyond `MOST_CLAIMS` claims are not answered any more, and the test fails.
 */
class Exchange {
  #claimsAsked = 0;
  readonly #heartbeats$ = new Subject<Heartbeat>();
  get isExhausted(): boolean {
    return this.#claimsAsked > MOST_CLAIMS;
  }
  /** Messages received now, sent at any time. */
  deliver(heartbeat: Heartbeat): void {
    this.#heartbeats$.next(heartbeat);
  }
  readonly #changes$ = new Subject<ClaimChange>();
  readonly #claims = new Map<string, { readonly claim: Claim; readonly revision: number }>();
  #revision = 0;

  /** Deletes the bucket and creates it again, empty; `seen`: the watches have read it again. */
  wipe(seen: boolean): void {
    const keys = [...this.#claims.keys()];
    this.#claims.clear();
    this.#revision = 0;
    if (seen) for (const key of keys) this.#changes$.next({ kind: 'deleted', key });
  }
  readonly membership: Membership = {
    publishHeartbeat: (heartbeat) => {
      this.#heartbeats$.next(heartbeat);
    },
    heartbeats$: this.#heartbeats$,
    claims$: () =>
      concat(
        of<ClaimChange[]>(...[...this.#claims].map(([key, held]) => ({ kind: 'put', key, ...held }) as const), {
          kind: 'synced',
        }),
        this.#changes$,
      ),
    claim: (key, claim, expectedRevision) => {
      this.#claimsAsked += 1;
      if (this.isExhausted) return new Promise(() => undefined);
      if ((this.#claims.get(key)?.revision ?? 0) !== expectedRevision) return Promise.resolve(undefined);
      this.#revision += 1;
      this.#claims.set(key, { claim, revision: this.#revision });
      this.#changes$.next({ kind: 'put', key, claim, revision: this.#revision });
      return Promise.resolve(this.#revision);
    },
    readClaim: (key) => {
      const held = this.#claims.get(key);
      return Promise.resolve(held === undefined ? undefined : { value: held.claim, revision: held.revision });
    },
    dropClaim: (key, expectedRevision) =>
      Promise.resolve(this.#claims.get(key)?.revision === expectedRevision && this.#claims.delete(key)),
  };
}

/** One replica over the exchange. */
class Replica {
  readonly id: string;
  readonly ownership = new Ownership();
  readonly begun: string[] = [];
  readonly #stop$ = new Subject<void>();
  isDone = false;
  readonly #end: () => void;

  /** It knows all subscriptions. */
  isReady = true;

  constructor(id: string, exchange: Exchange, membership: Partial<Membership> = {}) {
    this.id = id;
    const running = takenOverShards$(this.ownership, {
      me: id,
      membership: { ...exchange.membership, ...membership },
      connected$: concat(of(true), NEVER),
      stop$: this.#stop$,
      now: Date.now,
      facts: () => ({ ready: this.isReady }),
      log,
      meter,
    }).subscribe({
      next: (shards) => this.begun.push(...shards),
      complete: () => {
        this.isDone = true;
      },
    });
    this.#end = () => {
      running.unsubscribe();
    };
  }
  /** Shards it may act on now. */
  get acts(): readonly string[] {
    return SHARDS.filter((shard) => this.ownership.mayAct(shard, Date.now()));
  }
  /** SIGTERM. */
  stop(): void {
    this.#stop$.next();
  }
  /** As kill -9 does it. */
  kill(): void {
    this.#end();
  }
}

test('a run refused while fenced is evaluated again, although the clock was set back since', () => {
  const ownership = new Ownership();
  const held = new Set(['00', '01']);
  ownership.update(held, 0, 0);
  expect(ownership.mayAct('00', FENCED_AFTER_MS + 1)).toBe(false);
  expect(ownership.update(held, FENCED_AFTER_MS - 100, FENCED_AFTER_MS - 10)).toEqual(held);
  expect(ownership.update(held, FENCED_AFTER_MS, FENCED_AFTER_MS)).toEqual(new Set());
});

suite('takenOverShards$', () => {
  let replicas: Replica[] = [];
  const exchanges = new Set<Exchange>();
  const start = (id: string, exchange: Exchange, membership?: Partial<Membership>): Replica => {
    exchanges.add(exchange);
    const replica = new Replica(id, exchange, membership);
    replicas.push(replica);
    return replica;
  };
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    for (const replica of replicas) replica.kill();
    replicas = [];
    expect(vi.getTimerCount()).toBe(0);
    vi.useRealTimers();
    const exhausted = [...exchanges].filter(({ isExhausted }) => isExhausted);
    exchanges.clear();
    expect(exhausted, `replicas made more than ${MOST_CLAIMS} claims`).toEqual([]);
  });

  test('a replica alone owns everything after its first heartbeat', async () => {
    const one = start('a', new Exchange());
    await vi.advanceTimersByTimeAsync(HEARTBEAT_MS);
    expect(one.acts).toHaveLength(SHARD_COUNT);
    expect(one.begun.toSorted()).toEqual([...SHARDS]);
  });

  test('from one to six and back: every shard has an owner at each moment, and in the end it is the first', async () => {
    const exchange = new Exchange();
    const first = start('r0', exchange);
    await vi.advanceTimersByTimeAsync(GRACE_MS);
    const uncovered = (): readonly string[] =>
      SHARDS.filter((shard) => !replicas.some(({ ownership }) => ownership.mayAct(shard, Date.now())));
    for (let n = 1; n < 6; n += 1) {
      start(`r${n}`, exchange);
      for (let ms = 0; ms < 2_000; ms += 100) {
        await vi.advanceTimersByTimeAsync(100);
        expect(uncovered()).toEqual([]);
      }
      expect(replicas.flatMap(({ acts }) => acts)).toHaveLength(SHARD_COUNT);
    }
    for (const one of replicas) expect(one.acts.length).toBeGreaterThan(20);
    for (const leaver of replicas.slice(1)) {
      leaver.stop();
      for (let ms = 0; ms < HAND_OVER_MS; ms += 10) {
        await vi.advanceTimersByTimeAsync(10);
        expect(uncovered()).toEqual([]);
      }
      expect(leaver.isDone).toBe(true);
    }
    expect(first.acts).toHaveLength(SHARD_COUNT);
  });

  test('a replica takes over only once it knows all subscriptions, and loses its shards when it no longer does', async () => {
    const exchange = new Exchange();
    const one = start('a', exchange);
    await vi.advanceTimersByTimeAsync(GRACE_MS);
    const two = start('b', exchange);
    two.isReady = false;
    await vi.advanceTimersByTimeAsync(2 * GRACE_MS);
    expect([one.acts.length, two.acts.length]).toEqual([SHARD_COUNT, 0]);
    two.isReady = true;
    await vi.advanceTimersByTimeAsync(2 * HEARTBEAT_MS);
    expect(two.acts.length).toBeGreaterThan(80);
    one.isReady = false;
    await vi.advanceTimersByTimeAsync(2 * HEARTBEAT_MS);
    expect([one.acts.length, two.acts.length]).toEqual([0, SHARD_COUNT]);
    // No replica sees anything: the shards are shared as before, and the first that sees acts.
    two.isReady = false;
    await vi.advanceTimersByTimeAsync(2 * HEARTBEAT_MS);
    expect(one.acts.length + two.acts.length).toBe(SHARD_COUNT);
    expect(one.acts.length).toBeGreaterThan(80);
  });

  test('a death is noticed at its instant, not at the next round', async () => {
    const exchange = new Exchange();
    const one = start('a', exchange);
    const two = start('b', exchange);
    await vi.advanceTimersByTimeAsync(2 * GRACE_MS);
    expect(one.acts.length + two.acts.length).toBe(SHARD_COUNT);
    two.kill();
    await vi.advanceTimersByTimeAsync(DEAD_AFTER_MS + 50);
    expect(one.acts).toHaveLength(SHARD_COUNT);
  });

  test('a replica that no longer receives its own heartbeats acts on nothing, before the others act for it', async () => {
    const exchange = new Exchange();
    let isMute = false;
    const one = start('a', exchange, {
      publishHeartbeat: (heartbeat) => {
        if (!isMute) exchange.membership.publishHeartbeat(heartbeat);
      },
    });
    const two = start('b', exchange);
    await vi.advanceTimersByTimeAsync(2 * GRACE_MS);
    const before = one.acts.length;
    expect(before).toBeGreaterThan(50);
    isMute = true;
    await vi.advanceTimersByTimeAsync(FENCED_AFTER_MS + 1);
    expect(one.acts).toEqual([]);
    expect(two.acts).toHaveLength(SHARD_COUNT - before);
    await vi.advanceTimersByTimeAsync(DEAD_AFTER_MS);
    expect(two.acts).toHaveLength(SHARD_COUNT);
    // Reconnected, it takes its share, and evaluates it as after a take-over.
    isMute = false;
    one.begun.length = 0;
    await vi.advanceTimersByTimeAsync(2_000);
    expect(one.acts).toHaveLength(before);
    expect(one.begun.length).toBeGreaterThanOrEqual(before);
  });

  test('an echo that waited while the process was frozen does not unfence it', async () => {
    const exchange = new Exchange();
    const late: Heartbeat[] = [];
    let isFrozen = false;
    const one = start('a', exchange, {
      publishHeartbeat: (heartbeat) => {
        if (isFrozen) late.push(heartbeat);
        else exchange.membership.publishHeartbeat(heartbeat);
      },
    });
    await vi.advanceTimersByTimeAsync(GRACE_MS);
    isFrozen = true;
    await vi.advanceTimersByTimeAsync(HEARTBEAT_MS);
    vi.setSystemTime(Date.now() + 10_000);
    for (const heartbeat of late) exchange.deliver(heartbeat);
    expect(one.acts).toEqual([]);
  });

  test('a replica that starts after all others left in order takes over at once', async () => {
    const exchange = new Exchange();
    const one = start('a', exchange);
    await vi.advanceTimersByTimeAsync(GRACE_MS);
    one.stop();
    await vi.advanceTimersByTimeAsync(HAND_OVER_MS);
    expect(one.isDone).toBe(true);
    const two = start('b', exchange);
    await vi.advanceTimersByTimeAsync(HEARTBEAT_MS);
    expect(two.acts).toHaveLength(SHARD_COUNT);
  });

  test.each([true, false])(
    'claims that are lost with their bucket are made again (watches read it: %s)',
    async (seen) => {
      const exchange = new Exchange();
      const [a, b] = [start('a', exchange), start('b', exchange)];
      await vi.advanceTimersByTimeAsync(GRACE_MS + 1_000);
      exchange.wipe(seen);
      b.kill();
      await vi.advanceTimersByTimeAsync(DEAD_AFTER_MS + 2_000);
      expect(a.acts).toEqual(SHARDS);
      const c = start('c', exchange);
      await vi.advanceTimersByTimeAsync(2_000);
      expect([...a.acts, ...c.acts].sort()).toEqual(SHARDS);
    },
  );

  test('a death is noticed after the clock was set back', async () => {
    const exchange = new Exchange();
    const [a, b] = [start('a', exchange), start('b', exchange)];
    await vi.advanceTimersByTimeAsync(GRACE_MS + 1_000);
    vi.setSystemTime(Date.now() - 60_000);
    b.kill();
    // A connection that seems to have come up only then has its grace time.
    await vi.advanceTimersByTimeAsync(GRACE_MS + 1_500);
    expect(a.acts).toEqual(SHARDS);
  });

  test('a claim that fails is tried again, and ends nothing', async () => {
    const exchange = new Exchange();
    let failures = 100;
    const one = start('a', exchange, {
      claim: (key, claim, revision) => {
        failures -= 1;
        if (failures >= 0) return Promise.reject(new Error('no responders'));
        return exchange.membership.claim(key, claim, revision);
      },
    });
    await vi.advanceTimersByTimeAsync(2_000);
    expect(one.acts).toHaveLength(SHARD_COUNT);
    expect(one.isDone).toBe(false);
  });
});
