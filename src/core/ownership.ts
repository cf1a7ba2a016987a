/**
 * Which triggerer acts on which shard: values and time in, answers out. Every replica computes the same placement from the
 * replicas it hears; the compare-and-set of a claim decides between two that hear differently. A wrong view therefore gives
 * a duplicate (harmless: events carry ids) or a short gap, never a loss. @see spec protocol §7, nats-notes §6
 */
import { SHARDS } from './shard.ts';

/** How often a replica says that it is there. */
export const HEARTBEAT_MS = 500;
/** A replica not heard for this long is dead to the others. */
export const DEAD_AFTER_MS = 2_000;
/** A replica that has not heard itself for this long stops acting: earlier than the others take over. */
export const FENCED_AFTER_MS = 1_500;
/** Nobody is declared dead in the first moments of a connection: after a server's restart all come back at different times. */
export const GRACE_MS = 4_000;

/**
 * How long a replica that does not see yet leaves the shards of a silent one that did: on a machine so busy that heartbeats are late,
 * it is late itself, and would only leave a gap.
 */
export const BLIND_PATIENCE_MS = 10_000;

/** The owner that the last replica to leave writes: nobody, so that the next one need not wait for a death. */
export const NOBODY = '';

/** A replica's last word. */
export interface Heard {
  /** When it was heard, by the hearer's clock. */
  readonly at: number;
  readonly draining: boolean;
  /** It knows who waits and sees their pods. One that does not yet, or no longer, is given nothing while another can act. */
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
  readonly heard: ReadonlyMap<string, Heard>;
  /** By shard. */
  readonly claims: ReadonlyMap<string, HeldClaim>;
  /** When the present connection came up; absent while there is none. */
  readonly connectedAt: number | undefined;
  /** This replica has said goodbye. */
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

/** Whether this replica must not act, having not heard itself. A process that was frozen finds itself fenced when it wakes. */
export function isFenced(lastEchoAt: number | undefined, now: number): boolean {
  return lastEchoAt === undefined || now - lastEchoAt > FENCED_AFTER_MS;
}

/**
 * The replicas among which shards are placed, sorted: those that are ready, or all where none is. In the grace time whoever holds a
 * claim counts as alive, heard or not, unless it said goodbye.
 */
export function liveReplicas(view: View, now: number): readonly string[] {
  const live = new Set<string>();
  for (const [replica, { at, draining }] of view.heard) if (!draining && now - at <= DEAD_AFTER_MS) live.add(replica);
  if (inGrace(view, now)) {
    for (const { owner } of view.claims.values()) {
      if (owner !== NOBODY && view.heard.get(owner)?.draining !== true) live.add(owner);
    }
  }
  if (view.draining) live.delete(view.me);
  // Make before break: who has not read all that waits would leave a gap where another acts already.
  const ready = [...live].filter((replica) => view.heard.get(replica)?.ready !== false);
  return (ready.length > 0 ? ready : [...live]).sort();
}

/** The instant at which the next replica turns dead, or the grace time ends, if nothing more is heard: look again then. */
export function nextChangeAt(view: View, now: number): number | undefined {
  const deaths = [...view.heard.values()].map(({ at }) => at + DEAD_AFTER_MS + 1);
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

/**
 * The claims this replica should make now: shards placed on it that another holds, or nobody. The loser, if it lives, goes
 * on until it sees the claim, so that there is no gap.
 */
export function wantedClaims(view: View, now: number): readonly WantedClaim[] {
  if (view.draining || view.connectedAt === undefined) return [];
  const live = liveReplicas(view, now);
  if (!live.includes(view.me)) return [];
  const isBlind = view.heard.get(view.me)?.ready === false;
  const sawLately = ({ ready, draining, at }: Heard): boolean => ready && !draining && now - at <= BLIND_PATIENCE_MS;
  if (isBlind && [...view.heard.values()].some(sawLately)) return [];
  return SHARDS.flatMap((shard) => {
    const held = view.claims.get(shard);
    if (held?.owner === view.me || ownerOf(shard, live) !== view.me) return [];
    return [{ shard, epoch: (held?.epoch ?? 0) + 1, expectedRevision: held?.revision ?? 0 }];
  });
}

/** The shards this replica acts on, fencing aside: those whose last seen claim names it. */
export function heldShards({ me, claims }: View): ReadonlySet<string> {
  return new Set([...claims].filter(([, { owner }]) => owner === me).map(([shard]) => shard));
}
