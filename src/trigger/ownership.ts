import {
  catchError,
  concat,
  defer,
  delay,
  distinctUntilChanged,
  EMPTY,
  filter,
  from,
  ignoreElements,
  interval,
  map,
  merge,
  mergeMap,
  type Observable,
  of,
  share,
  startWith,
  switchMap,
  take,
  takeUntil,
  takeWhile,
  tap,
  timer,
} from 'rxjs';
import {
  FENCED_AFTER_MS,
  HEARTBEAT_MS,
  heldShards,
  type HeldClaim,
  isFenced,
  type LastHeartbeat,
  liveReplicas,
  nextChangeAt,
  placement,
  NO_OWNER,
  type View,
  type WantedClaim,
  wantedClaims,
} from '../core/ownership.ts';
import type { Log, Meter } from '../ports/ambient.ts';
import type { ClaimChange, Membership } from '../ports/broker.ts';
import { WIRE_VERSION } from '../core/wire-version.ts';
import { keys } from '../wire/subjects.ts';
import type { Heartbeat } from '../wire/presence.ts';

/** All shards are looked at again this often, whatever was received. */
const LOOK_AGAIN_MS = 1_000;
/** Claims under way at a time. */
const CLAIM_CREDITS = 32;
/** A replica that leaves acts on this long for its shards to be taken over; then it releases them. */
export const HAND_OVER_MS = 700;

const SHARD_KEY_PREFIX = keys.shard('');

/** Which shards this replica may act on; asked at the moment of acting, since a frozen process wakes with an old answer. */
export class Ownership {
  #held: ReadonlySet<string> = new Set();
  #lastEchoAt: number | undefined;
  #actingSince = 0;
  /** `mayAct` refused since the last update because of fencing: what was refused has to be looked at again. */
  #hasRefused = false;

  /** Shards whose last seen claim names this replica. */
  get held(): ReadonlySet<string> {
    return this.#held;
  }
  /** When this replica last received its own heartbeat, epoch milliseconds. */
  get lastEchoAt(): number | undefined {
    return this.#lastEchoAt;
  }

  /** When this replica last began to act: at its first echo, or at the first one after a silence. */
  get actingSince(): number {
    return this.#actingSince;
  }

  mayAct(shard: string, now: number): boolean {
    if (!this.#held.has(shard)) return false;
    const fenced = isFenced(this.#lastEchoAt, now);
    this.#hasRefused ||= fenced;
    return !fenced;
  }

  /** Takes in the newest view; gives the shards that may be acted on now and could not be before. */
  update(held: ReadonlySet<string>, lastEchoAt: number | undefined, now: number): ReadonlySet<string> {
    // What was refused counts, too: the clock may have been set back a little in between.
    const wasFenced = this.#hasRefused || isFenced(this.#lastEchoAt, now);
    const before = wasFenced ? new Set<string>() : this.#held;
    if (!isFenced(lastEchoAt, now)) {
      if (wasFenced) this.#actingSince = now;
      this.#hasRefused = false;
    }
    this.#held = held;
    this.#lastEchoAt = lastEchoAt;
    return isFenced(lastEchoAt, now) ? new Set() : held.difference(before);
  }
}

/** What a heartbeat carries beside membership: enough for `status --triggerers`. */
export type HeartbeatFacts = Omit<Heartbeat, 'v' | 'replica' | 'draining' | 'at' | 'shards'>;

/** What membership is made of. */
export interface OwnershipInputs {
  readonly me: string;
  readonly membership: Membership;
  readonly connected$: Observable<boolean>;
  readonly stop$: Observable<unknown>;
  readonly now: () => number;
  /** What a heartbeat carries beside membership. */
  readonly facts: () => HeartbeatFacts;
  readonly log: Log;
  readonly meter: Meter;
}

/**
 * Keeps this replica a member and gives the shards it begins to act on, keeping `ownership` true meanwhile.
 *
 * ```
 * heartbeats$  ─a──b──a──b──a─────a─────a──      b dies
 * claims$      ─s────────────────────c──────
 * connected$   t────────────────────────────
 * looks        ─x──x──x──x──x─────x──x──x───     on each change, each second, and when the next replica turns dead
 * claims made  ─────────────────────▲            by compare-and-set; the loser acts until it sees them
 * out          ─o────────────────────o──────     shards begun
 * ```
 *
 * After `stop$` it announces that it leaves (others take over at once), acts on until its shards are claimed, at most `HAND_OVER_MS`, and
 * completes. Errors of a claim are a reason to try at the next look, never to end.
 */
export function takenOverShards$(ownership: Ownership, inputs: OwnershipInputs): Observable<ReadonlySet<string>> {
  const { me, membership, connected$, stop$, now, facts, meter } = inputs;
  return defer(() => {
    const observed = new Observed(me);
    const underWay = new Set<string>();
    const placed = placementMemo();
    const sendHeartbeat = (): void => {
      const { draining } = observed;
      const shards = ownership.held.size;
      membership.publishHeartbeat({ v: WIRE_VERSION, replica: me, draining, at: now(), shards, ...facts() });
    };

    const heartbeats$ = membership.heartbeats$.pipe(
      tap((heartbeat) => {
        observed.heartbeat(heartbeat, now());
      }),
    );
    const claims$ = membership.claims$().pipe(
      tap((change) => {
        observed.claimChanged(change);
      }),
    );
    const connection$ = connected$.pipe(
      distinctUntilChanged(),
      tap((isConnected) => {
        observed.connectedAt = isConnected ? now() : undefined;
      }),
    );
    const goodbye$ = stop$.pipe(
      take(1),
      tap(() => {
        observed.draining = true;
        sendHeartbeat();
      }),
    );
    const sentHeartbeats$ = timer(0, HEARTBEAT_MS).pipe(tap(sendHeartbeat), ignoreElements());

    const changes$ = merge(heartbeats$, claims$, connection$, goodbye$, interval(LOOK_AGAIN_MS)).pipe(share());
    /** Each change, and the moment at which the next replica turns dead if nothing else happens. */
    const looks$ = changes$.pipe(
      startWith(undefined),
      switchMap(() => {
        const at = nextChangeAt(observed.view, now());
        return at === undefined ? of(undefined) : concat(of(undefined), timer(at - now()));
      }),
    );
    const claiming$ = looks$.pipe(
      filter(() => observed.isSynced),
      mergeMap(() => {
        const wanted = wantedClaims(observed.view, now(), placed).filter(({ shard }) => !underWay.has(shard));
        for (const { shard } of wanted) underWay.add(shard);
        return wanted;
      }),
      // At most 256 wait here: a shard under way is not wanted again.
      mergeMap((wanted) => {
        const over = (): void => {
          underWay.delete(wanted.shard);
        };
        return claimed$(wanted, me, observed, inputs).pipe(tap({ next: over, complete: over }));
      }, CLAIM_CREDITS),
      share(),
    );
    const begun$ = merge(changes$, claiming$).pipe(
      map(() => {
        const begun = ownership.update(heldShards(observed.view), observed.lastEchoAt, now());
        // Left: the other replicas have what was ours, or there are none.
        const isLeft =
          observed.draining && (ownership.held.size === 0 || liveReplicas(observed.view, now()).length === 0);
        return { begun, isLeft };
      }),
      tap(() => {
        observed.forget(now());
        meter.gauge('shards_owned', ownership.held.size);
      }),
      takeWhile(({ isLeft }) => !isLeft),
      map(({ begun }) => begun),
      filter((shards) => shards.size > 0),
    );
    /** The last to leave releases its shards, or its successor would wait until it counts as dead. */
    const released$ = defer(() => (liveReplicas(observed.view, now()).length > 0 ? EMPTY : from(ownership.held))).pipe(
      mergeMap((shard) => {
        const held = observed.claims.get(shard);
        if (held === undefined) return EMPTY;
        return claimed$({ shard, epoch: held.epoch + 1, expectedRevision: held.revision }, NO_OWNER, observed, inputs);
      }, CLAIM_CREDITS),
      ignoreElements(),
      takeUntil(timer(HAND_OVER_MS)),
    );
    return concat(
      merge(begun$, sentHeartbeats$.pipe(takeUntil(stop$))).pipe(takeUntil(stop$.pipe(take(1), delay(HAND_OVER_MS)))),
      released$,
    );
  });
}

/** What this replica has received about the others, and about itself. */
class Observed {
  readonly heartbeats = new Map<string, LastHeartbeat>();
  readonly claims = new Map<string, HeldClaim>();
  /** Since when it is connected, epoch milliseconds. */
  connectedAt: number | undefined;
  /** When it last received its own heartbeat, epoch milliseconds. */
  lastEchoAt: number | undefined;
  /** All claims have been read. */
  isSynced = false;
  /** It leaves. */
  draining = false;
  readonly #me: string;

  constructor(me: string) {
    this.#me = me;
  }

  get view(): View {
    const { heartbeats, claims, connectedAt, draining } = this;
    return { me: this.#me, heartbeats, claims, connectedAt, draining };
  }

  heartbeat({ replica, draining, at, ready = true }: Heartbeat, now: number): void {
    const isOwn = replica === this.#me;
    // The own heartbeat counts from when it was sent: an echo that waited in a socket while this process was frozen proves nothing.
    this.heartbeats.set(replica, { at: isOwn ? Math.min(at, now) : now, draining, ready });
    if (isOwn) this.lastEchoAt = Math.max(this.lastEchoAt ?? 0, Math.min(at, now));
  }

  claimChanged(change: ClaimChange): void {
    if (change.kind === 'synced') this.isSynced = true;
    else if (change.key.startsWith(SHARD_KEY_PREFIX)) {
      const shard = change.key.slice(SHARD_KEY_PREFIX.length);
      if (change.kind === 'deleted') this.claims.delete(shard);
      else this.claim(shard, { owner: change.claim.owner, epoch: change.claim.epoch, revision: change.revision });
    }
  }

  /** A claim as it is stored; an older one than what is known counts for nothing. */
  claim(shard: string, claim: HeldClaim): void {
    const known = this.claims.get(shard);
    if (known === undefined || known.revision < claim.revision) this.claims.set(shard, claim);
  }

  /** Replicas that are long dead go; times after `now` are those of a clock that was set back since. */
  forget(now: number): void {
    forgetLongDead(this.heartbeats, now);
    notInFuture(this.heartbeats, now);
    this.lastEchoAt = notAfter(this.lastEchoAt, now);
    this.connectedAt = notAfter(this.connectedAt, now);
  }
}

/** One compare-and-set; its outcome counts at once, not only when the watch shows it. An error is a reason to try at the next look. */
function claimed$(
  { shard, epoch, expectedRevision }: WantedClaim,
  owner: string,
  observed: Observed,
  { membership, meter, log }: Pick<OwnershipInputs, 'membership' | 'meter' | 'log'>,
): Observable<undefined> {
  return defer(async () => {
    const revision = await membership.claim(keys.shard(shard), { owner, epoch }, expectedRevision);
    meter.count('shard_claims_total', { outcome: revision === undefined ? 'lost' : 'won' });
    if (revision !== undefined) observed.claim(shard, { owner, epoch, revision });
    else {
      const current = await membership.readClaim(keys.shard(shard));
      // The refused revision is not the last one: a bucket that was lost has none, or begins again with lower ones.
      if (observed.claims.get(shard)?.revision === expectedRevision) observed.claims.delete(shard);
      if (current !== undefined) observed.claim(shard, { ...current.value, revision: current.revision });
    }
    return undefined;
  }).pipe(
    catchError((error: unknown) => {
      log.debug({ shard, err: error }, 'claiming a shard failed; it is retried');
      return EMPTY;
    }),
  );
}

/** `placement`, computed anew only when the replicas change: there is a look at each of hundreds of claims. */
function placementMemo(): typeof placement {
  let of: readonly string[] = [];
  let last = placement(of);
  return (replicas) => {
    if (replicas.length === of.length && replicas.every((replica, n) => replica === of[n])) return last;
    of = replicas;
    last = placement(replicas);
    return last;
  };
}

/** After the clock was set back, a heartbeat from the future would count as fresh until then, and a death would go unnoticed. */
function notInFuture(heartbeats: Map<string, LastHeartbeat>, now: number): void {
  for (const [replica, last] of heartbeats) if (last.at > now) heartbeats.set(replica, { ...last, at: now });
}

const notAfter = (at: number | undefined, now: number): number | undefined =>
  at === undefined ? undefined : Math.min(at, now);

/** A replica that is long dead is forgotten; the map is bounded by the replicas of the last minute. */
function forgetLongDead(heartbeats: Map<string, LastHeartbeat>, now: number): void {
  for (const [replica, { at }] of heartbeats) if (now - at > 40 * FENCED_AFTER_MS) heartbeats.delete(replica);
}
