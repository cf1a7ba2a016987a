/**
 * Three executors share the 8 slots of a queue, undisturbed and while they are frozen and killed. Executors are processes; the verdict on slots is taken from
 * the pods of the cluster alone, in the order in which the API server changed them.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { Subject, takeUntil } from 'rxjs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connect } from '../../src/client/index.ts';
import { executorSelector } from '../../src/core/pod/labels.ts';
import { assetsUnder, DEFAULT_ASSET_PREFIX } from '../../src/wire/streams.ts';
import { DEFAULT_SUBJECT_ROOT, subjectsUnder } from '../../src/wire/subjects.ts';
import { commandOf } from '../support/commands.ts';
import { type ClusterUnderTest, TARGETS } from '../support/kubernetes.ts';
import { startInstallation, type RunningInstallation } from '../support/running-installation.ts';

const subjects = subjectsUnder(DEFAULT_SUBJECT_ROOT);
const assets = assetsUnder(DEFAULT_ASSET_PREFIX);
const SLOTS = 8;
const EXECUTORS = 3;
/** Longer than an unacknowledged message stays with a process: another executor takes over what a frozen one holds. */
const FREEZE_MS = 14_000;

let target: ClusterUnderTest;
beforeAll(async () => {
  const [local] = TARGETS;
  if (local === undefined) throw new Error('there is always a local cluster');
  target = await local.start();
});
afterAll(() => target[Symbol.asyncDispose]());

/** Ends every fault that it began, and returns their number. */
type Faults = (installation: RunningInstallation, completed: () => Promise<number>) => Promise<number>;

const calm: Faults = () => Promise.resolve(0);

const freezes: Faults = async (installation, completed) => {
  const executors = executorsOf(installation);
  let faults = 0;
  for (const [n, { process }] of executors.entries()) {
    await expect.poll(completed, { timeout: 60_000 }).toBeGreaterThan(n * 8);
    process.kill('SIGSTOP');
    faults += 1;
    await delay(FREEZE_MS);
    process.kill('SIGCONT');
  }
  return faults;
};

const kills: Faults = async (installation, completed) => {
  let faults = 0;
  for (let n = 0; n < EXECUTORS; n += 1) {
    await expect.poll(completed, { timeout: 60_000 }).toBeGreaterThan(n * 12);
    installation.replace(installation.roles.findIndex(({ name }) => name === 'executor') + n);
    faults += 1;
    await delay(3_000);
  }
  return faults;
};

const executorsOf = (installation: RunningInstallation) => installation.roles.filter(({ name }) => name === 'executor');

test.each([
  { name: 'calm', runs: 48, inject: calm },
  { name: 'freezes', runs: 96, inject: freezes },
  { name: 'kills', runs: 72, inject: kills },
])('never more live pods than slots, over three executors: $name', async ({ name, runs, inject }) => {
  await using installation = await startInstallation(target, { workers: 0, triggerers: 1 });
  for (let n = 0; n < EXECUTORS; n += 1)
    installation.start('executor', { REENTRY_EXECUTOR_PARALLELISM: String(SLOTS) });
  await using client = await connect({ servers: installation.nats.url });
  const jsm = await installation.connection.nc.jetstreamManager();
  const completions = async (): Promise<readonly number[]> => {
    const info = await jsm.streams.info(assets.events, { subjects_filter: subjects.event.completedOf('default') });
    return Object.values(info.state.subjects ?? {});
  };
  const watched = watchPods(installation);
  const request = commandOf(target, installation, { runForSeconds: 1 });
  const runIds = Array.from({ length: runs }, (_, n) => `${name}-${String(n)}`);
  await Promise.all(runIds.map((runId) => client.submit(request, { runId, checked: false })));

  const faults = await inject(installation, async () => (await completions()).length);
  const healedAt = performance.now();
  const probe = await client.submit(commandOf(target, installation, { runForSeconds: 0.3 }), { checked: false });
  expect(await client.waitFor(probe.runId)).toMatchObject({ state: 'succeeded' });
  const recoverySeconds = Math.round(performance.now() - healedAt) / 1_000;

  await expect.poll(async () => (await completions()).length, { timeout: 200_000, interval: 200 }).toBe(runs + 1);
  watched.stop();
  const twice = (await completions()).filter((times) => times !== 1).length;
  const lost = runs + 1 - (await completions()).length;
  const over = Math.max(0, watched.most() - SLOTS);
  process.stdout.write(
    `${JSON.stringify({ case: `slots-${name}`, faults, runs: runs + 1, lost, twice, over, recoverySeconds })}\n`,
  );
  expect({ lost, twice, over }).toEqual({ lost: 0, twice: 0, over: 0 });
  // They are used, too.
  expect(watched.most()).toBe(SLOTS);
});

/** The most pods that lived at once. */
function watchPods(installation: RunningInstallation) {
  const done$ = new Subject<void>();
  const live = new Set<string>();
  let most = 0;
  target.cluster
    .watchPods$({ namespace: installation.namespace, labelSelector: executorSelector(installation.namespace) })
    .pipe(takeUntil(done$))
    .subscribe((signal) => {
      if (signal.kind === 'gone') live.delete(signal.pod.uid);
      if (signal.kind !== 'pod') return;
      const { uid, phase } = signal.pod;
      if (phase === 'Succeeded' || phase === 'Failed') live.delete(uid);
      else live.add(uid);
      most = Math.max(most, live.size);
    });
  const stop = () => {
    done$.next();
  };
  return { most: () => most, stop };
}
