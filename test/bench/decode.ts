/**
 * Watch events through a whole triggerer, from the socket to the verdict: `node test/bench/decode.ts [--runs 1] [--waiting 10000] [--changes 100000]`.
 * Per second of this process's CPU time, that is, of one core. The reference, over the same bytes: a pipeline of one RxJS filter per trigger.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { filter, map, share, type Observable, type Subscription as Running } from 'rxjs';
import { SHARDS } from '../../src/core/identity.ts';
import { openClusters } from '../../src/kubernetes/clusters.ts';
import type { PodSignal } from '../../src/ports/cluster.ts';
import { orphanReports$, Orphans } from '../../src/trigger/orphans.ts';
import { Ownership } from '../../src/trigger/ownership.ts';
import { triggerEvents$ } from '../../src/trigger/trigger-events.ts';
import { TriggerState } from '../../src/trigger/trigger-state.ts';
import { WatchedPods, watchedPods$, watchScopes } from '../../src/trigger/watched-pods.ts';
import { NEVER, from, merge } from 'rxjs';
import { aPut } from '../support/builders.ts';
import { SILENT_LOG } from '../../src/airflow/defaults.ts';
import { DEFAULTS } from '../support/defaults.ts';
import { startScript } from '../support/processes.ts';
import { benchFlags, reportOf } from './report.ts';
import { until } from './runs.ts';

const { runs: rounds, waiting, changes } = benchFlags({ waiting: 10_000, changes: 100_000 });
const FEW = 2_000;
using report = reportOf('decode', 'this process');
const meter = { count: () => undefined, gauge: () => undefined, observeSeconds: () => undefined };

/** Starts a server that sends `count` changes, runs a pipeline over them, and measures events per CPU second and per second. */
async function measured(
  count: number,
  pipeline: (pods$: Observable<PodSignal>, counted: () => void) => Running,
): Promise<{ readonly perCpuSecond: number; readonly perSecond: number }> {
  const directory = await mkdtemp(join(tmpdir(), 'reentry-decode-'));
  await using server = startScript(new URL('event-server.ts', import.meta.url), [String(waiting), String(count)]);
  await until('the server', () => server.stdout().includes('\n'));
  const kubeconfig = join(directory, 'kubeconfig');
  await writeFile(
    kubeconfig,
    JSON.stringify({
      'current-context': 'x',
      contexts: [{ name: 'x', context: { cluster: 'x', user: 'x' } }],
      clusters: [{ name: 'x', cluster: { server: server.stdout().trim() } }],
      users: [{ name: 'x', user: {} }],
    }),
  );
  await using clusters = openClusters({ connections: { default: { kubeconfig } } });
  let pods = 0;
  let begun: { readonly at: number; readonly cpu: NodeJS.CpuUsage } | undefined;
  let over: { readonly ms: number; readonly cpuMs: number } | undefined;
  const running = pipeline(clusters.get('default').watchPods$({ namespace: 'bench', labelSelector: 'a=b' }), () => {
    pods += 1;
    // The initial list is not counted.
    if (pods === waiting) begun = { at: performance.now(), cpu: process.cpuUsage() };
    if (pods !== waiting + count || begun === undefined) return;
    const { user, system } = process.cpuUsage(begun.cpu);
    over = { ms: performance.now() - begun.at, cpuMs: (user + system) / 1_000 };
  });
  await until('all changes', () => over !== undefined);
  running.unsubscribe();
  await rm(directory, { recursive: true });
  const { ms, cpuMs } = over ?? { ms: Number.NaN, cpuMs: Number.NaN };
  return { perCpuSecond: (count / cpuMs) * 1_000, perSecond: (count / ms) * 1_000 };
}

const ours: number[] = [];
const oursWall: number[] = [];
const naive: number[] = [];
for (let round = 0; round < rounds; round += 1) {
  const scopes = watchScopes(['default'], ['bench']);
  const one = await measured(changes, (pods$, counted) => {
    const pods = new WatchedPods(scopes);
    const ownership = new Ownership();
    ownership.update(new Set(SHARDS), Infinity, 0);
    const state = new TriggerState(pods, ownership, Date.now(), DEFAULTS.triggerer);
    const { waits } = state;
    const orphans = new Orphans(ownership, waits, Date.now(), { defaultQueue: 'default', log: SILENT_LOG, meter });
    const subscriptions$ = from(
      Array.from({ length: waiting }, (_, n) => {
        const pod = { connection: 'default', namespace: 'bench', name: `p${String(n)}`, uid: `u${String(n)}` };
        return aPut({ pod, await: { terminal: true, timeoutAt: Date.now() + 86_400_000 } }, { runId: `r${String(n)}` });
      }),
    );
    const cluster = { watchPods$: () => pods$ };
    const watched$ = watchedPods$(scopes, () => cluster, 'bench', pods, { now: Date.now, meter }).pipe(share());
    const counted$ = watched$.pipe(
      filter(({ signal }) => signal.kind === 'pod'),
      map(counted),
    );
    const now = Date.now;
    const events$ = triggerEvents$(
      { subscriptions$: merge(subscriptions$, NEVER), pods$: watched$, shardsTakenOver$: NEVER },
      state,
      { now, findPod$: () => NEVER },
    );
    const reports$ = orphanReports$(orphans, { pods$: watched$, pods, waits, isComplete: () => true, now });
    return merge(reports$, events$, counted$).subscribe();
  });
  ours.push(one.perCpuSecond);
  oursWall.push(one.perSecond);
  const other = await measured(FEW, (pods$, counted) => {
    const shared$ = pods$.pipe(share());
    const running = shared$.pipe(filter((signal) => signal.kind === 'pod')).subscribe(counted);
    for (let n = 0; n < waiting; n += 1) {
      const uid = `u${String(n)}`;
      running.add(shared$.pipe(filter((signal) => signal.kind === 'pod' && signal.pod.uid === uid)).subscribe());
    }
    return running;
  });
  naive.push(other.perCpuSecond);
}
const more = { waiting, changes };
report.add({
  figure: 'watch events decoded and evaluated',
  unit: 'per core second',
  values: ours,
  bar: 20_000,
  atLeast: true,
  more,
});
report.add({ figure: 'watch events decoded and evaluated', unit: 'per second', values: oursWall, more });
report.add({ figure: 'reference: one filter per trigger', unit: 'per core second', values: naive, more });
report.add({
  figure: 'speed-up over one filter per trigger',
  unit: 'times',
  values: ours.map((value, n) => value / (naive[n] ?? Number.NaN)),
  bar: 5,
  atLeast: true,
  more,
});
