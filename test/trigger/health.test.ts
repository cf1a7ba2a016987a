import { expect, suite, test } from 'vitest';
import { shardBits, SHARDS, shardsOf } from '../../src/core/identity.ts';
import { summarize } from '../../src/client/triggerers.ts';
import type { PodSignal } from '../../src/ports/cluster.ts';
import { heartbeatFacts, type HealthInputs, triggererHealth } from '../../src/trigger/health.ts';
import { Ownership } from '../../src/trigger/ownership.ts';
import { WatchedPods } from '../../src/trigger/watched-pods.ts';
import { heartbeatSchema } from '../../src/wire/presence.ts';
import { aPod } from '../support/builders.ts';

const A = { connection: 'a', namespace: undefined };
const B = { connection: 'b', namespace: 'jobs' };

/** What a triggerer knows of subscriptions: 7, as of `upToDateAt`. */
const aState = (facts: Partial<HealthInputs['state']> = {}): HealthInputs['state'] => ({
  ...{ isComplete: true, upToDateAt: 1_000, waits: { size: 7 }, logging: { stretched: { rate: 0, floor: 0 } } },
  ...facts,
});

/** A triggerer that works, as of 1,000 ms; then the signals of its watches. */
function working(
  signals: readonly (readonly [scope: typeof A | typeof B, signal: PodSignal])[] = [],
  facts: Partial<HealthInputs> = {},
): HealthInputs {
  const pods = new WatchedPods([A, B]);
  const ownership = new Ownership();
  ownership.update(new Set(SHARDS.slice(0, 3)), 1_000, 1_000);
  for (const scope of [A, B]) pods.apply({ scope, signal: { kind: 'synced' } }, 1_000);
  for (const [scope, signal] of signals) pods.apply({ scope, signal }, 1_000);
  const loopDelay = { p50: 0, p99: 1 };
  return { pods, ownership, state: aState(), loopDelay, unsent: 0, stuck: [], now: 1_000, ...facts };
}

suite('triggererHealth', () => {
  test('of one that works has no problem, and counts pods per watch', () => {
    const first: PodSignal = { kind: 'pod', pod: aPod({ connection: 'a', uid: 'u1' }) };
    const second: PodSignal = { kind: 'pod', pod: aPod({ connection: 'a', uid: 'u2' }) };
    const gone: PodSignal = { kind: 'gone', pod: aPod({ connection: 'a', uid: 'u2' }), confirmed: true };
    const health = triggererHealth(
      working([
        [A, first],
        [A, first],
        [A, second],
        [A, gone],
      ]),
    );
    expect(health).toMatchObject({ alive: true, ready: true, problems: [], waiting: 7, shards: ['00', '01', '02'] });
    expect(health.watches.map(({ connection, pods }) => [connection, pods])).toEqual([
      ['a', 1],
      ['b', 0],
    ]);
  });

  test.each([
    [
      'subscriptions not read',
      working([], { state: aState({ isComplete: false }) }),
      'has not read all subscriptions yet',
    ],
    [
      'subscriptions that may be out of date',
      working([], { state: aState({ upToDateAt: -4_500 }) }),
      'has received nothing about subscriptions for 5500 ms',
    ],
    ['a blocked event loop', working([], { loopDelay: { p50: 3, p99: 2_500 } }), 'its event loop is 2500 ms late'],
    ['a broker that stores nothing', working([], { unsent: 5_000 }), '5000 messages wait to be published'],
    ['no echo', working([], { now: 3_000 }), 'does not receive its own heartbeats, so it acts on nothing'],
  ])('lists what is wrong, while the process lives: %s', (_, inputs, problem) => {
    expect(triggererHealth(inputs)).toMatchObject({ alive: true, ready: false, problems: [problem] });
  });

  test('is ready as long as one watch works, and lists the problems of the others', () => {
    const behind: PodSignal = { kind: 'lagging', why: 'HTTP 403' };
    const problem = 'watch b/jobs is behind: HTTP 403';
    expect(triggererHealth(working([[B, behind]]))).toMatchObject({ alive: true, ready: true, problems: [problem] });
    const none = working([
      [A, behind],
      [B, behind],
    ]);
    const problems = ['watch a/* is behind: HTTP 403', problem];
    expect(triggererHealth(none)).toMatchObject({ alive: true, ready: false, problems });
  });

  test('gives its shards away where its subscriptions may be out of date', () => {
    expect(triggererHealth(working()).sees).toBe(true);
    expect(triggererHealth(working([], { state: aState({ upToDateAt: -4_500 }) })).sees).toBe(false);
  });

  test('requests a restart when it is stuck, with the reason, and not during an outage of the broker', () => {
    const stuck = ['the watch of pods ended by itself'];
    const { alive, ready, problems } = triggererHealth(working([], { stuck }));
    expect({ alive, ready, problems }).toEqual({ alive: false, ready: false, problems: stuck });
    expect(triggererHealth(working([], { now: 24 * 3_600_000 }))).toMatchObject({ alive: true, ready: false });
  });
});

suite('heartbeats', () => {
  const heartbeatOf = (replica: string, inputs: HealthInputs) =>
    heartbeatSchema.parse({
      ...{ v: 1, replica, draining: false, at: 1_000, shards: 3 },
      ...heartbeatFacts(triggererHealth(inputs), 0),
    });

  test('carry what `status --triggerers` shows', () => {
    const { triggerers, unowned, contested } = summarize([heartbeatOf('t2', working()), heartbeatOf('t1', working())]);
    expect(triggerers.map(({ replica }) => replica)).toEqual(['t1', 't2']);
    expect(unowned).toHaveLength(253);
    expect(contested).toEqual(['00', '01', '02']);
    expect(triggerers[0]).toMatchObject({ waiting: 7, problems: [], watches: [{ connection: 'a', ageMs: 0 }, {}] });
  });

  test('carry shards as bits that are read back', () => {
    const some = new Set(['00', '0f', '10', 'a7', 'ff']);
    expect(shardBits(some)).toHaveLength(64);
    expect(shardsOf(shardBits(some))).toEqual(some);
    expect(shardsOf(shardBits(new Set(SHARDS)))).toEqual(new Set(SHARDS));
    expect(shardsOf('')).toEqual(new Set());
  });
});
