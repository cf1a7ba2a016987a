/** Executors as processes on a cluster: commands, slots, and both when an executor is killed. */
import { Subject, takeUntil } from 'rxjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connect } from '../../src/client/index.ts';
import { executorSelector } from '../../src/core/pod/labels.ts';
import type { PodProjection } from '../../src/core/pod/projection.ts';
import { DEFAULT_SUBJECT_ROOT, subjectsUnder } from '../../src/wire/subjects.ts';
import { assetsUnder, DEFAULT_ASSET_PREFIX } from '../../src/wire/streams.ts';
import { commandOf } from '../support/commands.ts';
import { type ClusterUnderTest, TARGETS } from '../support/kubernetes.ts';
import { slotsOf } from '../support/executor-slots.ts';
import { startInstallation, type RunningInstallation } from '../support/running-installation.ts';

const subjects = subjectsUnder(DEFAULT_SUBJECT_ROOT);
const assets = assetsUnder(DEFAULT_ASSET_PREFIX);
const SOON = { timeout: 30_000, interval: 100 } as const;

describe.each(TARGETS)('on $name', ({ start }) => {
  let target: ClusterUnderTest;
  beforeAll(async () => {
    target = await start();
  });
  afterAll(async () => {
    await target[Symbol.asyncDispose]();
  });

  const podsOf = (installation: RunningInstallation): Promise<readonly PodProjection[]> =>
    target.cluster.listPods(installation.namespace, executorSelector(installation.namespace));
  const isLive = ({ phase }: PodProjection): boolean => phase !== 'Succeeded' && phase !== 'Failed';

  test('a command succeeds, fails, is cancelled; its pod is deleted or retained as configured', async () => {
    await using installation = await startInstallation(target, { workers: 0, triggerers: 1 });
    installation.start('executor');
    await using client = await connect({ servers: installation.nats.url });

    const good = commandOf(target, installation, { script: 'echo "to $WHO"; echo 42 > /airflow/xcom/return.json' });
    const params = { ...good.params, envVars: { WHO: 'you' }, doXcomPush: true };
    const first = await client.submit({ ...good, params, context: { dagId: 'd', taskId: 't' } });
    expect(first.queue).toBe('executor');
    expect(await client.waitFor(first.runId)).toMatchObject({ state: 'succeeded', exitCode: 0, result: 42 });
    const lines: string[] = [];
    for await (const { text } of client.logs(first.runId)) lines.push(text);
    expect(lines).toEqual(['to you']);
    await expect.poll(() => podsOf(installation), SOON).toEqual([]);

    const second = await client.submit({
      ...commandOf(target, installation, { script: 'exit 3' }),
      retries: 1,
      retryDelaySeconds: 0,
    });
    expect(await client.waitFor(second.runId)).toMatchObject({
      state: 'failed',
      attempt: 2,
      exitCode: 3,
      diagnosis: { code: 'CONTAINER_FAILED' },
    });
    // Retained by default, and marked, so that no triggerer reports it as an orphan.
    await expect
      .poll(
        async () =>
          (await podsOf(installation)).map(({ attempt, phase, alreadyChecked }) => ({
            attempt,
            phase,
            alreadyChecked,
          })),
        SOON,
      )
      .toContainEqual({ attempt: 2, phase: 'Failed', alreadyChecked: true });

    const third = await client.submit(commandOf(target, installation, { runForSeconds: 3_600 }));
    await expect.poll(async () => (await podsOf(installation)).filter(isLive).length, SOON).toBe(1);
    await client.cancel(third.runId);
    expect(await client.waitFor(third.runId)).toMatchObject({ state: 'cancelled' });
    expect((await podsOf(installation)).filter(isLive)).toEqual([]);
    expect(await client.explain(third.runId)).toMatchObject({ operator: 'command', queue: 'executor' });
  });

  test('a failed pod with a proxy that still runs is not retained: it would occupy its slot', async () => {
    await using installation = await startInstallation(target, { workers: 0, triggerers: 1 });
    const executor = installation.start('executor');
    await using client = await connect({ servers: installation.nats.url });
    const proxy = { name: 'proxy', image: 'busybox', command: ['sh', '-c', 'sleep 3600'] };
    const { runId } = await client.submit(commandOf(target, installation, { script: 'exit 3' }, {}, [proxy]));
    expect(await client.waitFor(runId)).toMatchObject({ state: 'failed', exitCode: 3 });
    await expect.poll(() => podsOf(installation), SOON).toEqual([]);
    await expect.poll(() => slotsOf(executor), SOON).toMatchObject({ open: 32, running: 0 });
  });

  test('a request of the other kind is refused, with the name of the right queue', async () => {
    await using installation = await startInstallation(target, { workers: 1, triggerers: 1 });
    installation.start('executor');
    await using client = await connect({ servers: installation.nats.url });
    const pod = { params: { image: 'busybox' } };
    const command = { operator: 'command', params: { command: ['true'], image: 'busybox' } };
    for (const [request, queue, right] of [
      [pod, 'executor', 'default'],
      [command, 'default', 'executor'],
    ] as const) {
      const { runId } = await client.submit(request, { queue, checked: false });
      const { diagnosis } = await client.waitFor(runId);
      expect(diagnosis).toMatchObject({ code: 'INVALID_REQUEST' });
      expect(JSON.stringify(diagnosis?.problems)).toContain(`default queue: ${right}`);
      await expect(client.submit(request, { queue })).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
    }
    // Whichever process answers, a command without a queue goes to the executor's.
    expect((await client.submit(command)).queue).toBe('executor');
  });

  test('two executors together run no more pods than there are slots', async () => {
    await using installation = await startInstallation(target, { workers: 0, triggerers: 1 });
    const slots = { REENTRY_EXECUTOR_PARALLELISM: '4' };
    installation.start('executor', slots);
    installation.start('executor', slots);
    await using client = await connect({ servers: installation.nats.url });
    const watched = watchLive(installation);
    const runIds = await submitAll(client, installation, 'slot', 16);
    for (const runId of runIds) expect(await client.waitFor(runId)).toMatchObject({ state: 'succeeded' });
    watched.stop();
    expect(watched.most()).toBe(4);
  });

  test('one of two executors killed with -9 at half: every run completes once, no attempt has two pods', async () => {
    const count = 100;
    await using installation = await startInstallation(target, { workers: 0, triggerers: 1 });
    const settings = { REENTRY_EXECUTOR_PARALLELISM: '20' };
    const victim = installation.start('executor', settings);
    const survivor = installation.start('executor', settings);
    await using client = await connect({ servers: installation.nats.url });
    const watched = watchLive(installation);
    const launched = new Set<string>();
    installation.connection.nc.subscribe(subjects.event.ofTenant('default'), {
      callback: (_, { subject }) => {
        const [, , , , runId = '', type] = subject.split('.');
        if (type === 'launched') launched.add(runId);
      },
    });
    await submitAll(client, installation, 'kill', count);
    await expect.poll(() => launched.size, { timeout: 120_000, interval: 20 }).toBeGreaterThanOrEqual(count / 2);
    victim.kill('SIGKILL');

    const jsm = await installation.connection.nc.jetstreamManager();
    const completed = async (): Promise<Map<string, number>> => {
      const info = await jsm.streams.info(assets.events, { subjects_filter: subjects.event.completedOf('default') });
      return new Map(Object.entries(info.state.subjects ?? {}));
    };
    await expect.poll(async () => (await completed()).size, { timeout: 240_000, interval: 500 }).toBe(count);
    watched.stop();
    expect([...(await completed()).values()].filter((times) => times !== 1)).toEqual([]);
    expect([...watched.podsOfAttempt].filter(([, uids]) => uids.size !== 1)).toEqual([]);
    expect(watched.podsOfAttempt.size).toBe(count);
    const left = async () => ({
      pods: (await podsOf(installation)).length,
      requests: (await jsm.streams.info(assets.runs)).state.messages,
      steps: (await jsm.streams.info(assets.steps)).state.messages,
    });
    await expect.poll(left, { timeout: 60_000, interval: 500 }).toEqual({ pods: 0, requests: 0, steps: 0 });
    // The survivor is the only executor, and all slots are free again.
    await expect.poll(() => slotsOf(survivor), { timeout: 20_000 }).toEqual({ open: 20, running: 0, executors: 1 });
  });

  test('pods that ended while no executor ran are settled, live ones are adopted', async () => {
    await using installation = await startInstallation(target, { workers: 0, triggerers: 1 });
    const before = installation.start('executor');
    await using client = await connect({ servers: installation.nats.url });
    const short = await client.submit(commandOf(target, installation, { runForSeconds: 1 }));
    const long = await client.submit(commandOf(target, installation, { runForSeconds: 8 }));
    await expect.poll(async () => (await podsOf(installation)).length, SOON).toBe(2);
    before.kill('SIGKILL');
    await expect
      .poll(async () => (await podsOf(installation)).filter(({ phase }) => phase === 'Succeeded').length, {
        timeout: 30_000,
      })
      .toBeGreaterThanOrEqual(1);
    const after = installation.start('executor', { REENTRY_EXECUTOR_PARALLELISM: '7' });
    expect(await client.waitFor(short.runId)).toMatchObject({ state: 'succeeded', attempt: 1 });
    await expect.poll(() => slotsOf(after), { timeout: 20_000 }).toMatchObject({ executors: 1 });
    expect(await client.waitFor(long.runId)).toMatchObject({ state: 'succeeded', attempt: 1 });
    after.kill('SIGTERM');
    expect(await after.ended).toBe(0);
  });

  async function submitAll(
    client: Awaited<ReturnType<typeof connect>>,
    installation: RunningInstallation,
    prefix: string,
    count: number,
  ): Promise<readonly string[]> {
    const runIds = Array.from({ length: count }, (_, n) => `${prefix}-${String(n)}`);
    const request = commandOf(target, installation, { runForSeconds: 1 });
    await Promise.all(runIds.map((runId) => client.submit(request, { runId, checked: false })));
    return runIds;
  }

  function watchLive(installation: RunningInstallation) {
    const done$ = new Subject<void>();
    const live = new Set<string>();
    const podsOfAttempt = new Map<string, Set<string>>();
    let most = 0;
    target.cluster
      .watchPods$({ namespace: installation.namespace, labelSelector: executorSelector(installation.namespace) })
      .pipe(takeUntil(done$))
      .subscribe((signal) => {
        if (signal.kind === 'gone') live.delete(signal.pod.uid);
        if (signal.kind !== 'pod') return;
        const { runId = '?', attempt = 0, uid } = signal.pod;
        const key = `${runId}/${String(attempt)}`;
        podsOfAttempt.set(key, (podsOfAttempt.get(key) ?? new Set()).add(uid));
        if (isLive(signal.pod)) live.add(uid);
        else live.delete(uid);
        most = Math.max(most, live.size);
      });
    return {
      podsOfAttempt,
      most: () => most,
      stop: () => {
        done$.next();
      },
    };
  }
});
