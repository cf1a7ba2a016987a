/**
 * Workers and triggerers as separate processes, one of them killed with -9 every two seconds, checked from outside: by the events that
 * the broker stored and by a separate watch of the pods. Only real processes show what a killed one leaves behind.
 */
import { interval, takeUntil, Subject } from 'rxjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { installationSelector } from '../../src/core/pod/labels.ts';
import { DEFAULT_SUBJECT_ROOT, subjectsUnder } from '../../src/wire/subjects.ts';
import { assetsUnder, DEFAULT_ASSET_PREFIX } from '../../src/wire/streams.ts';
import { type ClusterUnderTest, TARGETS } from '../support/kubernetes.ts';
import { startInstallation } from '../support/running-installation.ts';

const subjects = subjectsUnder(DEFAULT_SUBJECT_ROOT);
const assets = assetsUnder(DEFAULT_ASSET_PREFIX);
/** On a real API server pods are no processes of this machine. */
const RUNS: Readonly<Record<string, number>> = { 'the local cluster': 100 };
const RUNS_ELSEWHERE = 500;
const KILL_EVERY_MS = 2_000;

describe.each(TARGETS)('on $name', ({ name, start }) => {
  let target: ClusterUnderTest;
  beforeAll(async () => {
    target = await start();
  });
  afterAll(async () => {
    await target[Symbol.asyncDispose]();
  });

  test('every run completes once and no attempt has two pods while processes are killed', async () => {
    const count = RUNS[name] ?? RUNS_ELSEWHERE;
    await using installation = await startInstallation(target, { workers: 2, triggerers: 2 });
    const done$ = new Subject<void>();
    const podsOfAttempt = new Map<string, Set<string>>();
    const podNames = new Set<string>();
    target.cluster
      .watchPods$({ namespace: installation.namespace, labelSelector: installationSelector(installation.namespace) })
      .pipe(takeUntil(done$))
      .subscribe((signal) => {
        if (signal.kind !== 'pod') return;
        const { runId = '?', attempt = 0, uid } = signal.pod;
        const key = `${runId}/${String(attempt)}`;
        podNames.add(signal.pod.name);
        podsOfAttempt.set(key, (podsOfAttempt.get(key) ?? new Set()).add(uid));
      });

    const jsm = await installation.connection.nc.jetstreamManager();
    const js = installation.connection.nc.jetstream();
    const pod = target.pod({ runForSeconds: 1 });
    const request = JSON.stringify({
      params: { image: 'busybox', fullPodSpec: pod, namespace: installation.namespace, getLogs: false },
    });
    const runIds = Array.from({ length: count }, (_, n) => `run-${String(n)}`);
    for (const runId of runIds) await js.publish(subjects.run.of('default', { tenant: 'default', runId }), request);

    let victim = 0;
    interval(KILL_EVERY_MS)
      .pipe(takeUntil(done$))
      .subscribe(() => {
        installation.replace(victim++ % installation.roles.length);
      });
    const completed = async (): Promise<Map<string, number>> => {
      const info = await jsm.streams.info(assets.events, { subjects_filter: subjects.event.completedOf('default') });
      return new Map(Object.entries(info.state.subjects ?? {}));
    };
    await expect.poll(async () => (await completed()).size, { timeout: 240_000, interval: 1_000 }).toBe(count);
    done$.next();

    expect([...(await completed()).values()].filter((times) => times !== 1)).toEqual([]);
    const states = await Promise.all(
      runIds.map(async (runId) => {
        const subject = subjects.event.of({ tenant: 'default', runId }, 'completed');
        const message = await jsm.streams.getMessage(assets.events, { last_by_subj: subject });
        const event: { data: { state: string; attempt: number; diagnosis?: unknown } } = message.json();
        return event.data;
      }),
    );
    expect(states.filter(({ state }) => state !== 'succeeded')).toEqual([]);
    expect([...podsOfAttempt].filter(([, uids]) => uids.size !== 1)).toEqual([]);
    expect(podsOfAttempt.size).toBe(count);
    // A watch may miss a pod that existed between two lists only; the API server's audit log does not.
    if (target.podCreations !== undefined) {
      const creations = await target.podCreations(installation.namespace);
      // A client that was killed while it sent its request: the server did not learn the pod's name, and created none.
      expect(creations.filter(({ name, status }) => name === '' && status === 201)).toEqual([]);
      const answers = creations.filter(({ name }) => name !== '');
      const created = answers.filter(({ status }) => status === 201).map(({ name }) => name);
      expect(answers.filter(({ name }) => !podNames.has(name))).toEqual([]);
      expect(new Set(answers.map(({ name }) => name)).size).toBe(count);
      expect(new Set(created).size).toBe(created.length);
      // The creation of a killed client is answered 504 and may have happened; all others are 201 once, then `AlreadyExists`.
      expect(answers.filter(({ status }) => ![201, 409, 504].includes(status))).toEqual([]);
    }

    const left = async (): Promise<Record<string, number>> => ({
      pods: (await target.cluster.listPods(installation.namespace, installationSelector(installation.namespace)))
        .length,
      requests: (await jsm.streams.info(assets.runs)).state.messages,
      steps: (await jsm.streams.info(assets.steps)).state.messages,
      subscriptions: await subscriptionsLeft(),
    });
    const subscriptionsLeft = async (): Promise<number> => {
      const bucket = await js.views.kv(assets.subscriptionBucket.bucket, { bindOnly: true });
      let keys = 0;
      for await (const key of await bucket.keys()) if (!key.startsWith('heartbeat.')) keys += 1;
      return keys;
    };
    await expect
      .poll(left, { timeout: 60_000, interval: 1_000 })
      .toEqual({ pods: 0, requests: 0, steps: 0, subscriptions: 0 });
  });
});
