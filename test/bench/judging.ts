/**
 * Memory and CPU that a waiting run costs the triggerer, in process, without a broker or an API:
 * `node test/bench/judging.ts [--runs 1] [--waiting 50000]`. The reference, over the same events: one filter per trigger.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { filter, Subject } from 'rxjs';
import { z } from 'zod';
import type { PodProjection } from '../../src/core/pod/projection.ts';
import { SHARDS } from '../../src/core/identity.ts';
import type { PodSignal } from '../../src/ports/cluster.ts';
import { Ownership } from '../../src/trigger/ownership.ts';
import { TriggerState } from '../../src/trigger/trigger-state.ts';
import { WatchedPods } from '../../src/trigger/watched-pods.ts';
import { aContainer, anEndedPod, aPod, aPut } from '../support/builders.ts';
import { DEFAULTS } from '../support/defaults.ts';
import { benchFlags, reportOf } from './report.ts';

/** Promised: under 5 KB of memory. */
const BARS: Readonly<Record<string, { readonly bar: number; readonly atLeast?: boolean }>> = {
  'heap per waiting run, pod included': { bar: 5_000 },
  'speed-up over one filter per run': { bar: 10, atLeast: true },
};

const { waiting: runsCount, runs: rounds } = benchFlags({ waiting: 50_000 });
setFlagsFromString('--expose-gc');
// A function of another realm is no instance of this one's `Function`.
const collect = z.custom<() => void>((value) => typeof value === 'function').parse(runInNewContext('gc'));
using report = reportOf('judging', 'this process');
const figures = new Map<string, { unit: string; values: number[] }>();
const record = (figure: string, value: number, unit: string): void => {
  const known = figures.get(figure) ?? { unit, values: [] };
  known.values.push(value);
  figures.set(figure, known);
};
const heapBytes = (): number => {
  collect();
  return process.memoryUsage().heapUsed;
};
const podOf = (n: number): PodProjection =>
  aPod({ uid: `uid-${n}`, name: `pod-${n}`, runId: `run-${n}`, containers: [aContainer()] });

const SCOPE = { connection: 'default', namespace: undefined };

/** Measures every figure once, on a new state. */
function measure(): void {
  const pods = new WatchedPods([SCOPE]);
  const ownership = new Ownership();
  ownership.update(new Set(SHARDS), Infinity, 0);
  const state = new TriggerState(pods, ownership, 0, DEFAULTS.triggerer);
  const show = (signal: PodSignal, now: number): number => {
    pods.apply({ scope: SCOPE, signal }, now);
    return state.look(state.podChanged({ scope: SCOPE, signal }), now).length;
  };

  const before = heapBytes();
  const loadStarted = performance.now();
  for (let n = 0; n < runsCount; n += 1) {
    show({ kind: 'pod', pod: podOf(n) }, 0);
    const { connection, namespace, name, uid } = podOf(n);
    const pod = { connection, namespace, name, uid };
    const wanted = { terminal: true, timeoutAt: 86_400_000 + n, loggingEveryMs: 600_000 };
    state.look(state.subscriptionChanged(aPut({ pod, await: wanted }, { runId: `run-${n}` }), 0), 0);
  }
  record('subscriptions and pods loaded', (runsCount / (performance.now() - loadStarted)) * 1_000, 'per second');
  record('heap per waiting run, pod included', (heapBytes() - before) / runsCount, 'bytes');

  const restStarted = process.cpuUsage();
  for (let now = 0; now < 600_000; now += 100) {
    state.look(state.deadlines.turn(now), now);
    state.look(state.logging.turn(now), now);
  }
  const rest = process.cpuUsage(restStarted);
  record('CPU in ten minutes at rest', (rest.user + rest.system) / 1_000, 'ms');

  const changes = 200_000;
  const changesStarted = performance.now();
  for (let n = 0; n < changes; n += 1) show({ kind: 'pod', pod: podOf((n * 7_919) % runsCount) }, 600_000);
  const ours = (changes / (performance.now() - changesStarted)) * 1_000;
  record('pod changes evaluated', ours, 'per second');

  const naive$ = new Subject<PodProjection>();
  let seen = 0;
  for (let n = 0; n < runsCount; n += 1) {
    const uid = `uid-${n}`;
    naive$.pipe(filter((pod) => pod.uid === uid)).subscribe(() => {
      seen += 1;
    });
  }
  const few = 200;
  const naiveStarted = performance.now();
  for (let n = 0; n < few; n += 1) naive$.next(podOf((n * 7_919) % runsCount));
  const naive = (few / (performance.now() - naiveStarted)) * 1_000;
  if (seen !== few) throw new Error(`${seen} of ${few} changes were seen`);
  record('reference: one filter per run', naive, 'per second');
  record('speed-up over one filter per run', ours / naive, 'times');

  const stormStarted = performance.now();
  let fired = 0;
  for (let n = 0; n < runsCount; n += 1) {
    fired += show({ kind: 'pod', pod: anEndedPod(0, { ...podOf(n), containers: anEndedPod(0).containers }) }, 600_001);
  }
  if (fired !== runsCount) throw new Error(`${fired} of ${runsCount} ends fired`);
  record('all pods end at once', performance.now() - stormStarted, 'ms');
}

for (let round = 0; round < rounds; round += 1) measure();
for (const [figure, { unit, values }] of figures) {
  const bar = BARS[figure];
  report.add({ figure, unit, values, more: { waiting: runsCount }, ...bar });
}
