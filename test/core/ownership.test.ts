import { expect, suite, test } from 'vitest';
import {
  UNSYNCED_CLAIM_DELAY_MS,
  DEAD_AFTER_MS,
  FENCED_AFTER_MS,
  GRACE_MS,
  type LastHeartbeat,
  type HeldClaim,
  heldShards,
  isFenced,
  liveReplicas,
  nextChangeAt,
  NO_OWNER,
  ownerOf,
  type View,
  wantedClaims,
} from '../../src/core/ownership.ts';
import { SHARDS } from '../../src/core/identity.ts';

const NOW = 100_000;

function aView(facts: Partial<View> = {}): View {
  return { me: 'a', heartbeats: new Map(), claims: new Map(), connectedAt: 0, draining: false, ...facts };
}
const heartbeatsOf = (...replicas: readonly string[]): Map<string, LastHeartbeat> =>
  new Map(replicas.map((replica) => [replica, { at: NOW, draining: false, ready: true }]));
const claimed = (owner: string, shards: readonly string[] = SHARDS): Map<string, HeldClaim> =>
  new Map(shards.map((shard) => [shard, { owner, epoch: 3, revision: 9 }]));

suite('ownership', () => {
  test('places the shards evenly, and moves only the share of a replica that joins or leaves', () => {
    const three = ['a', 'b', 'c'];
    const counts = new Map<string, number>();
    let moved = 0;
    for (const shard of SHARDS) {
      const owner = ownerOf(shard, three) ?? '';
      counts.set(owner, (counts.get(owner) ?? 0) + 1);
      const withFour = ownerOf(shard, [...three, 'd']);
      if (withFour !== owner) {
        expect(withFour).toBe('d');
        moved += 1;
      }
    }
    for (const count of counts.values()) expect(count).toBeGreaterThan(60);
    expect(moved).toBeGreaterThan(40);
    expect(moved).toBeLessThan(90);
  });

  test('does not depend on the order in which heartbeats are received', () => {
    for (const shard of SHARDS) expect(ownerOf(shard, ['a', 'b', 'c'])).toBe(ownerOf(shard, ['c', 'a', 'b']));
  });

  test('counts a replica as dead after two seconds of silence, and as gone at its goodbye', () => {
    const view = aView({ heartbeats: heartbeatsOf('a', 'b') });
    expect(liveReplicas(view, NOW + DEAD_AFTER_MS)).toEqual(['a', 'b']);
    expect(liveReplicas(view, NOW + DEAD_AFTER_MS + 1)).toEqual([]);
    const leaving = new Map(view.heartbeats).set('b', { at: NOW, draining: true, ready: true });
    expect(liveReplicas(aView({ heartbeats: leaving }), NOW)).toEqual(['a']);
  });

  test('gives nothing to a replica that is not ready while another is', () => {
    const joining = { at: NOW, draining: false, ready: false };
    expect(liveReplicas(aView({ heartbeats: new Map(heartbeatsOf('a', 'b')).set('c', joining) }), NOW)).toEqual([
      'a',
      'b',
    ]);
    expect(liveReplicas(aView({ me: 'c', heartbeats: new Map([['c', joining]]) }), NOW)).toEqual(['c']);
    // The ready one dies: a replica that is not ready is better than none.
    const after = aView({
      me: 'c',
      heartbeats: new Map(heartbeatsOf('a')).set('c', { ...joining, at: NOW + DEAD_AFTER_MS }),
    });
    expect(liveReplicas(after, NOW + DEAD_AFTER_MS + 1)).toEqual(['c']);
  });

  test('a replica whose watches are not ready takes no shard of one that has just fallen silent', () => {
    const blind = (now: number) => new Map(heartbeatsOf('a')).set('b', { at: now, draining: false, ready: false });
    const wantedAt = (now: number) =>
      wantedClaims(aView({ me: 'b', heartbeats: blind(now), claims: claimed('a') }), now);
    expect(wantedAt(NOW + DEAD_AFTER_MS + 1)).toEqual([]);
    expect(wantedAt(NOW + UNSYNCED_CLAIM_DELAY_MS + 1)).toHaveLength(256);
    const sees = new Map(heartbeatsOf('a')).set('b', { at: NOW + DEAD_AFTER_MS, draining: false, ready: true });
    const seeing = aView({ me: 'b', heartbeats: sees, claims: claimed('a') });
    expect(wantedClaims(seeing, NOW + DEAD_AFTER_MS + 1)).toHaveLength(256);
  });

  test('counts no replica as dead in the grace time of a connection', () => {
    const view = aView({ heartbeats: heartbeatsOf('a'), claims: claimed('b'), connectedAt: NOW - GRACE_MS + 1 });
    expect(liveReplicas(view, NOW)).toEqual(['a', 'b']);
    expect(liveReplicas({ ...view, connectedAt: NOW - GRACE_MS }, NOW)).toEqual(['a']);
  });

  test('does not wait when the last replica left in order', () => {
    const view = aView({ heartbeats: heartbeatsOf('a'), claims: claimed(NO_OWNER), connectedAt: NOW });
    expect(wantedClaims(view, NOW)).toHaveLength(256);
  });

  test('claims shards that are placed on it and owned by another, with the next epoch', () => {
    const wanted = wantedClaims(aView({ heartbeats: heartbeatsOf('a', 'b'), claims: claimed('b') }), NOW);
    expect(wanted.length).toBeGreaterThan(90);
    expect(wanted.length).toBeLessThan(166);
    expect(wanted[0]).toMatchObject({ epoch: 4, expectedRevision: 9 });
    for (const { shard } of wanted) expect(ownerOf(shard, ['a', 'b'])).toBe('a');
  });

  test('two replicas with the same view never claim the same shard', () => {
    const both = heartbeatsOf('a', 'b');
    const mine = new Set(wantedClaims(aView({ heartbeats: both }), NOW).map(({ shard }) => shard));
    const theirs = new Set(wantedClaims(aView({ me: 'b', heartbeats: both }), NOW).map(({ shard }) => shard));
    expect(mine.isDisjointFrom(theirs)).toBe(true);
    expect(mine.size + theirs.size).toBe(256);
  });

  test('claims nothing while disconnected, without own heartbeat or leaving', () => {
    expect(wantedClaims(aView({ heartbeats: heartbeatsOf('a'), connectedAt: undefined }), NOW)).toEqual([]);
    expect(wantedClaims(aView({ heartbeats: heartbeatsOf('b') }), NOW)).toEqual([]);
    expect(wantedClaims(aView({ heartbeats: heartbeatsOf('a'), draining: true }), NOW)).toEqual([]);
  });

  test('owns a shard until another claim is seen, wherever it is placed', () => {
    expect(heldShards(aView({ heartbeats: heartbeatsOf('b'), claims: claimed('a') })).size).toBe(256);
  });

  test('stops acting before the others take over', () => {
    expect(FENCED_AFTER_MS).toBeLessThan(DEAD_AFTER_MS);
    expect(isFenced(undefined, NOW)).toBe(true);
    expect(isFenced(NOW - FENCED_AFTER_MS, NOW)).toBe(false);
    expect(isFenced(NOW - FENCED_AFTER_MS - 1, NOW)).toBe(true);
  });

  test('returns when to evaluate again: at the next death or the end of the grace time', () => {
    expect(nextChangeAt(aView({ heartbeats: heartbeatsOf('a', 'b') }), NOW)).toBe(NOW + DEAD_AFTER_MS + 1);
    expect(nextChangeAt(aView({ heartbeats: heartbeatsOf('a'), connectedAt: NOW - GRACE_MS + 5 }), NOW)).toBe(NOW + 5);
    expect(nextChangeAt(aView(), NOW)).toBeUndefined();
  });
});
