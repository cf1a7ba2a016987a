/**
 * Two executors on one queue, one killed with SIGKILL when half of the commands are launched: `node test/bench/executor-failover.ts [--commands 1000] [--slots 300]`.
 * Then the same with a restart of the API server, where that is possible (see test/support/breaker.ts).
 * Throws if a command did not complete exactly once, an attempt had two pods, or a pod is left.
 */
import { Subject, takeUntil } from 'rxjs';
import { connect } from '../../src/client/index.ts';
import { executorSelector } from '../../src/core/pod/labels.ts';
import { assetsUnder, DEFAULT_ASSET_PREFIX } from '../../src/wire/streams.ts';
import { breakerOf } from '../support/breaker.ts';
import { commandOf } from '../support/commands.ts';
import { slotsOf } from '../support/executor-slots.ts';
import { startInstallation } from '../support/running-installation.ts';
import { aTarget, numberFlags, reportOf, targetName } from './report.ts';
import { subjects, submitAll, until } from './runs.ts';

const { commands, slots } = numberFlags({ commands: 1_000, slots: 300 });
const assets = assetsUnder(DEFAULT_ASSET_PREFIX);
const SETTINGS = { REENTRY_EXECUTOR_PARALLELISM: String(slots) };
await using target = await aTarget();
await using installation = await startInstallation(target, { workers: 0, triggerers: 1 });
await using client = await connect({ servers: installation.nats.url });
using report = reportOf('executor-failover', targetName());
const jsm = await installation.connection.nc.jetstreamManager();

const launched = new Set<string>();
installation.connection.nc.subscribe(subjects.event.ofTenant('default'), {
  callback: (_, { subject }) => {
    const [, , , , runId = '', type] = subject.split('.');
    if (type === 'launched') launched.add(runId);
  },
});
const uidsOf = new Map<string, Set<string>>();
const live = new Set<string>();
const over$ = new Subject<void>();
let most = 0;
target.cluster
  .watchPods$({ namespace: installation.namespace, labelSelector: executorSelector(installation.namespace) })
  .pipe(takeUntil(over$))
  .subscribe((signal) => {
    if (signal.kind === 'gone') live.delete(signal.pod.uid);
    if (signal.kind !== 'pod') return;
    const { runId = '?', attempt = 0, uid, phase } = signal.pod;
    const key = `${runId}/${String(attempt)}`;
    uidsOf.set(key, (uidsOf.get(key) ?? new Set()).add(uid));
    if (phase === 'Succeeded' || phase === 'Failed') live.delete(uid);
    else live.add(uid);
    most = Math.max(most, live.size);
  });

const completed = async (): Promise<Readonly<Record<string, number>>> =>
  (await jsm.streams.info(assets.events, { subjects_filter: subjects.event.completedOf('default') })).state.subjects ??
  {};

/** Submits all commands, calls `disrupt` when half of them are launched, and waits for the end. @throws Error if a promise is broken */
async function round(prefix: string, disrupt: () => Promise<void>): Promise<number> {
  const before = launched.size;
  const ended = Object.keys(await completed()).length;
  const startedAt = performance.now();
  await submitAll(client, commandOf(target, installation, { runForSeconds: 2 }, { getLogs: false }), {
    prefix,
    count: commands,
  });
  await until('half of the launches', () => launched.size >= before + commands / 2);
  await disrupt();
  await until('the end of all commands', async () => Object.keys(await completed()).length >= ended + commands);
  const seconds = (performance.now() - startedAt) / 1_000;
  const notOnce = Object.entries(await completed()).filter(([, times]) => times !== 1);
  const twice = [...uidsOf].filter(([, uids]) => uids.size !== 1);
  if (notOnce.length + twice.length > 0) throw new Error(JSON.stringify({ notOnce, twice: twice.map(([key]) => key) }));
  await until('the end of all pods', async () => {
    const left = await target.cluster.listPods(installation.namespace, executorSelector(installation.namespace));
    return left.length === 0;
  });
  return seconds;
}

const victim = installation.start('executor', SETTINGS);
const survivor = installation.start('executor', SETTINGS);
await until('both executors', async () => (await slotsOf(survivor)).executors === 2);

let rightAfter = Number.NaN;
const seconds = await round('kill', async () => {
  victim.kill('SIGKILL');
  const killedAt = performance.now();
  await until('slots of one executor that agree with the cluster', async () => {
    const { running, executors } = await slotsOf(survivor);
    return executors === 1 && Math.abs(running - live.size) <= Math.max(5, slots / 20);
  });
  rightAfter = (performance.now() - killedAt) / 1_000;
});
const more = { commands, slots, mostLive: most };
report.add({ figure: 'kill -9 at half: slots correct again', unit: 's', values: [rightAfter], bar: 5, more });
report.add({ figure: 'kill -9 at half: all completed once', unit: 's', values: [seconds], more });

const breaker = breakerOf(target);
if (breaker !== undefined) {
  installation.start('executor', SETTINGS);
  const took = await round('restart', () => breaker.restart());
  report.add({ figure: 'API server restarted at half: all completed once', unit: 's', values: [took], more });
}
over$.next();
