/**
 * Which triggerer acts on which shard: a pure decision. Every replica computes the same placement from the heartbeats it
 * receives; the compare-and-set of a claim decides between two that received different ones. A wrong view therefore gives
 * a duplicate (harmless: events carry ids) or a short gap, never a loss. `src/wire/README.md`, "Ownership", has the protocol.
 */
import { SHARDS } from './identity.ts';

/** How often a replica publishes a heartbeat. */
export const HEARTBEAT_MS = 500;
/** A replica without a heartbeat for this long counts as dead. */
export const DEAD_AFTER_MS = 2_000;
/** A replica that has not received its own heartbeat for this long stops acting: earlier than the others take over. */
export const FENCED_AFTER_MS = 1_500;
/** No replica counts as dead in the first moments of a connection: after a server's restart all come back at different times. */
export const GRACE_MS = 4_000;

/**
 * A replica whose watches are not synced waits this long before it claims the shards of a silent one whose watches were: an overloaded
 * machine delays heartbeats and this replica alike.
 */
export const UNSYNCED_CLAIM_DELAY_MS = 10_000;

/** The owner that the last replica to leave writes, so that the next one need not wait until it counts as dead. */
export const NO_OWNER = '';

/** A replica's last heartbeat. */
export interface LastHeartbeat {
  /** When it was received, by the receiver's clock. */
  readonly at: number;
  readonly draining: boolean;
  /** It knows all subscriptions and sees their pods. One that does not yet, or no longer, is given nothing while another can act. */
  readonly ready: boolean;
}

/** Who holds a shard, as last seen. */
export interface HeldClaim {
  readonly owner: string;
  readonly epoch: number;
  readonly revision: number;
}

/** What one replica knows of all. */
export interface View {
  readonly me: string;
  readonly heartbeats: ReadonlyMap<string, LastHeartbeat>;
  /** By shard. */
  readonly claims: ReadonlyMap<string, HeldClaim>;
  /** When the present connection came up; absent while there is none. */
  readonly connectedAt: number | undefined;
  /** This replica leaves. */
  readonly draining: boolean;
}

/** A claim to be made by compare-and-set; revision 0: the key must not exist. */
export interface WantedClaim {
  readonly shard: string;
  readonly epoch: number;
  readonly expectedRevision: number;
}

const inGrace = ({ connectedAt }: View, now: number): boolean =>
  connectedAt === undefined || now - connectedAt < GRACE_MS;

/** Whether this replica must not act, since it does not receive its own heartbeats. A process that was frozen finds itself fenced when it wakes. */
export function isFenced(lastEchoAt: number | undefined, now: number): boolean {
  return lastEchoAt === undefined || now - lastEchoAt > FENCED_AFTER_MS;
}

/**
 * The replicas among which shards are placed, sorted: those that are ready, or all where none is. In the grace time the holder of a
 * claim counts as alive, with or without a heartbeat, unless it announced that it leaves.
 */
export function liveReplicas(view: View, now: number): readonly string[] {
  const live = new Set<string>();
  for (const [replica, { at, draining }] of view.heartbeats)
    if (!draining && now - at <= DEAD_AFTER_MS) live.add(replica);
  if (inGrace(view, now)) {
    for (const { owner } of view.claims.values()) {
      if (owner !== NO_OWNER && view.heartbeats.get(owner)?.draining !== true) live.add(owner);
    }
  }
  if (view.draining) live.delete(view.me);
  // Make before break: one that has not read all subscriptions would leave a gap where another acts already.
  const ready = [...live].filter((replica) => view.heartbeats.get(replica)?.ready !== false);
  return (ready.length > 0 ? ready : [...live]).sort();
}

/** The instant at which the next replica turns dead, or the grace time ends, if nothing more is received: look again then. */
export function nextChangeAt(view: View, now: number): number | undefined {
  const deaths = [...view.heartbeats.values()].map(({ at }) => at + DEAD_AFTER_MS + 1);
  const ends = view.connectedAt === undefined ? deaths : [...deaths, view.connectedAt + GRACE_MS];
  const ahead = ends.filter((at) => at > now);
  return ahead.length === 0 ? undefined : Math.min(...ahead);
}

/** FNV-1a over the text, then a finalizer: FNV alone leaves neighbours close, and rendezvous needs them independent. */
function weight(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** The replica that should own a shard: the highest of one weight per replica, so that a change of members moves only its share. */
export function ownerOf(shard: string, replicas: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestWeight = -1;
  for (const replica of replicas) {
    const its = weight(`${shard}/${replica}`);
    if (its > bestWeight || (its === bestWeight && best !== undefined && replica < best)) {
      best = replica;
      bestWeight = its;
    }
  }
  return best;
}

/** The owner of every shard. Costs a hash per shard and replica: callers that look often keep it while the replicas stay the same. */
export function placement(replicas: readonly string[]): ReadonlyMap<string, string | undefined> {
  return new Map(SHARDS.map((shard) => [shard, ownerOf(shard, replicas)]));
}

/**
 * The claims this replica should make now: shards placed on it that another holds, or none. The loser, if it lives, goes
 * on until it sees the claim, so that there is no gap.
 */
export function wantedClaims(view: View, now: number, placed = placement): readonly WantedClaim[] {
  if (view.draining || view.connectedAt === undefined) return [];
  const live = liveReplicas(view, now);
  if (!live.includes(view.me)) return [];
  const isUnsynced = view.heartbeats.get(view.me)?.ready === false;
  const sawLately = ({ ready, draining, at }: LastHeartbeat): boolean =>
    ready && !draining && now - at <= UNSYNCED_CLAIM_DELAY_MS;
  if (isUnsynced && [...view.heartbeats.values()].some(sawLately)) return [];
  const owners = placed(live);
  return SHARDS.flatMap((shard) => {
    const held = view.claims.get(shard);
    if (held?.owner === view.me || owners.get(shard) !== view.me) return [];
    return [{ shard, epoch: (held?.epoch ?? 0) + 1, expectedRevision: held?.revision ?? 0 }];
  });
}

/** The shards this replica acts on, fencing aside: those whose last seen claim names it. */
export function heldShards({ me, claims }: View): ReadonlySet<string> {
  return new Set([...claims].filter(([, { owner }]) => owner === me).map(([shard]) => shard));
}
