/** Edge cases of running a pod, E45–E108 (see edge-cases.test.ts), against a cluster of scripted responses. */
import { describe, expect, test } from 'vitest';
import { retryAfterSeconds } from '../../src/airflow/api-retry.ts';
import { SILENT_LOG } from '../../src/airflow/defaults.ts';
import {
  definePodContainerState,
  detectPodTerminateEarlyIssues,
  reconcileRequestedLogContainers,
} from '../../src/airflow/containers.ts';
import { judge } from '../../src/core/pod/judge.ts';
import { projectPod } from '../../src/core/pod/projection.ts';
import type { Cluster, Manifest } from '../../src/ports/cluster.ts';
import { PodGenerator } from '../../src/airflow/pod-generator.ts';
import { KubernetesPodTrigger } from '../../src/airflow/kubernetes-pod-trigger.ts';
import { TaskFailed, TaskSkipped } from '../../src/airflow/exceptions.ts';
import { hookOf } from '../../src/airflow/pod-operator-hook-protocol.ts';
import { KubernetesPodOperator } from '../../src/airflow/kubernetes-pod-operator.ts';
import { fetchContainerLogs, parseLogLine } from '../../src/airflow/pod-logs.ts';
import { PodManager } from '../../src/airflow/pod-manager.ts';
import type { KubernetesPodOperatorParams } from '../../src/airflow/kubernetes-pod-operator-params.ts';
import { apiError, failureOf, SimulatedClock, stubCluster } from '../oracle/stub-cluster.ts';
import { aPod, aSubscription } from '../support/builders.ts';

interface PodFacts {
  readonly phase?: string;
  readonly exit?: number;
  readonly message?: string;
  readonly istio?: boolean;
  readonly waiting?: string;
  readonly statuses?: boolean;
  readonly sidecar?: boolean;
}
function aPodObject({
  phase = 'Succeeded',
  exit,
  message,
  istio = false,
  waiting,
  statuses = true,
  sidecar = false,
}: PodFacts = {}): Manifest {
  const state =
    waiting !== undefined
      ? { waiting: { reason: waiting } }
      : exit === undefined
        ? { running: {} }
        : { terminated: { exitCode: exit, ...(message === undefined ? {} : { message }) } };
  const runningSidecar = sidecar ? [{ name: 'airflow-xcom-sidecar', state: { running: {} } }] : [];
  return {
    metadata: { name: 'pod', namespace: 'ns', uid: 'u' },
    spec: { containers: [{ name: 'base' }, ...(istio ? [{ name: 'istio-proxy' }] : [])] },
    status: { phase, ...(statuses ? { containerStatuses: [{ name: 'base', state }, ...runningSidecar] } : {}) },
  };
}

/** An operator over a scripted pod; actions on it are recorded. */
function aTask(pod: Manifest, params: Partial<KubernetesPodOperatorParams> = {}, more: Partial<Cluster> = {}) {
  const done: string[] = [];
  const pushed: unknown[] = [];
  const patches: unknown[] = [];
  const cluster = stubCluster({
    getPod: () => Promise.resolve(pod),
    listPods: () => Promise.resolve([]),
    createPod: (_, request) => (
      done.push('create'),
      Promise.resolve({ kind: 'created', pod: { ...pod, spec: request['spec'] } })
    ),
    deletePod: () => (done.push('delete'), Promise.resolve('asked')),
    patchPod: (_, patch) => (done.push('patch'), patches.push(patch), Promise.resolve('patched')),
    logs: async function* (_, container) {
      await Promise.resolve();
      done.push(`log ${container}`);
      yield { at: { nanos: 1n, lines: 1 }, text: 'line' };
    },
    exec: () => (
      done.push('exec'),
      Promise.resolve({ kind: 'ended', exitCode: 0, stdout: new TextEncoder().encode('{"a": 1}'), stderr: '' })
    ),
    ...more,
  });
  const operator = new KubernetesPodOperator({
    image: 'i',
    deferrable: false,
    clock: new SimulatedClock(),
    hook: hookOf(cluster),
    ...params,
  });
  return {
    operator,
    done,
    pushed,
    patches,
    cluster,
    context: { xcomPush: (key: string, value: unknown) => void pushed.push([key, value]) },
  };
}
const failure = async (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => undefined,
    (error: unknown) => error,
  );

test('E45 a generator takes a pod or a template, and exactly one of them', () => {
  expect(() => new PodGenerator({})).toThrow('exactly one');
  expect(() => new PodGenerator({ pod: {}, template: {} })).toThrow('exactly one');
});

describe('ends', () => {
  test('E52 the pod is marked by exactly one label', async () => {
    const { operator, patches } = aTask(aPodObject());
    await operator.patchAlreadyChecked(aPodObject());
    expect(patches).toEqual([{ metadata: { labels: { already_checked: 'True' } } }]);
  });

  test('E53 E54 E104 the pod’s name is always pushed; without doXcomPush the sidecar is not called; the log is read once', async () => {
    const { operator, done, pushed, context } = aTask(aPodObject({ exit: 0 }));
    expect(await operator.execute(context)).toEqual({ kind: 'returned', result: undefined });
    expect(pushed).toEqual([
      ['pod_name', 'pod'],
      ['pod_namespace', 'ns'],
    ]);
    expect(done).toEqual(['create', 'log base', 'delete']);
    const quiet = aTask(aPodObject({ exit: 0 }), { getLogs: false });
    await quiet.operator.execute(quiet.context);
    expect(quiet.done).toEqual(['create', 'delete']);
  });

  test.each([
    ['delete_pod', ['patch', 'delete']],
    ['delete_succeeded_pod', ['patch']],
    ['keep_pod', ['patch']],
  ] as const)(
    'E56 E58 an error while waiting: %s, once, and the error has the pod’s message',
    async (onFinishAction, expected) => {
      const pod = aPodObject({ phase: 'Failed', exit: 1, message: 'out of disk' });
      const { operator, done, context } = aTask(
        pod,
        { onFinishAction, getLogs: false },
        { listPods: () => Promise.resolve([projectPod('c', pod)]) },
      );
      operator.pod = pod;
      operator.awaitPodCompletion = () => Promise.reject(new RangeError('while waiting'));
      const error = await failure(operator.executeSync(context));
      expect(error).toBeInstanceOf(TaskFailed);
      expect(String(error)).toContain('out of disk');
      expect(String(error)).not.toContain('while waiting');
      expect(done).toEqual(expected);
    },
  );

  test.each([
    ['Succeeded', 'keep_pod', ['patch']],
    ['Succeeded', 'delete_pod', ['delete']],
    ['Succeeded', 'delete_succeeded_pod', ['delete']],
    ['Failed', 'delete_pod', ['patch', 'delete']],
    ['Failed', 'delete_succeeded_pod', ['patch']],
  ] as const)('E57 %s with %s', async (phase, onFinishAction, expected) => {
    const pod = aPodObject({ phase, exit: phase === 'Failed' ? 1 : 0 });
    const { operator, done } = aTask(pod, { onFinishAction });
    await failure(operator.cleanup(pod, pod));
    expect(done).toEqual(expected);
  });

  test.each([
    [0, 'delete_pod', true],
    [0, 'delete_succeeded_pod', true],
    [1, 'delete_pod', true],
    [1, 'delete_succeeded_pod', false],
  ] as const)('E59 an istio pod that still runs, base exit %d, %s', async (exit, onFinishAction, deleted) => {
    const pod = aPodObject({ phase: 'Running', exit, istio: true, message: 'message' });
    const { operator, done } = aTask(pod, { onFinishAction });
    const error = await failure(operator.cleanup(pod, pod));
    expect(done.includes('delete')).toBe(deleted);
    expect(exit === 0 ? error : String(error)).toEqual(exit === 0 ? undefined : expect.stringContaining('message'));
  });

  test.each([
    [null, 0, 'returned'],
    [null, 100, 'failed'],
    [100, 0, 'returned'],
    [100, 100, 'skipped'],
    [[100], 101, 'failed'],
    [[100, 102], 101, 'failed'],
    [0, 0, 'skipped'],
  ] as const)('E60 E107 skipOnExitCode %j and exit %d', async (skipOnExitCode, exit, expected) => {
    const pod = aPodObject({ phase: exit === 0 ? 'Succeeded' : 'Failed', exit });
    const given = skipOnExitCode === null || typeof skipOnExitCode === 'number' ? skipOnExitCode : [...skipOnExitCode];
    const { operator, context } = aTask(pod, { skipOnExitCode: given });
    const error = await failure(
      operator.triggerReentry(context, { status: exit === 0 ? 'success' : 'error', name: 'pod', namespace: 'ns' }),
    );
    expect(error === undefined ? 'returned' : error instanceof TaskSkipped ? 'skipped' : 'failed').toBe(expected);
  });

  test('E61 E103 E108 the result of a failed pod is pushed once, and that of a success returned', async () => {
    const bad = aTask(aPodObject({ phase: 'Failed', exit: 1, sidecar: true }), { doXcomPush: true });
    await failure(bad.operator.triggerReentry(bad.context, { status: 'failed', name: 'pod', namespace: 'ns' }));
    expect(bad.pushed).toEqual([['return_value', { a: 1 }]]);
    const good = aTask(aPodObject({ exit: 0, sidecar: true }), { doXcomPush: true });
    expect(
      await good.operator.triggerReentry(good.context, { status: 'success', name: 'pod', namespace: 'ns' }),
    ).toEqual({ kind: 'returned', result: { a: 1 } });
    const off = aTask(aPodObject({ exit: 0 }));
    await off.operator.triggerReentry(off.context, { status: 'success', name: 'pod', namespace: 'ns' });
    expect(off.done).not.toContain('exec');
  });

  test('E63 E64 containerLogs follow the base name of a subclass; the end of another container’s log does not end the wait for the base', async () => {
    class Own extends KubernetesPodOperator {
      static override readonly BASE_CONTAINER_NAME: string = 'main';
    }
    expect(new Own({ image: 'i', hook: hookOf(stubCluster({})) }).baseContainerName).toBe('main');
    const { operator, done, context } = aTask(aPodObject({ exit: 0 }), {
      containerLogs: ['other'],
      fullPodSpec: { spec: { containers: [{ name: 'base' }, { name: 'other', image: 'o' }] } },
    });
    await operator.execute(context);
    expect(done).toContain('delete');
  });

  test('E100 onKill deletes with the pod’s grace period or the run’s, or keeps, regardless of onFinishAction; it never throws', async () => {
    const kept = aTask(aPodObject(), { onKillAction: 'keep_pod', onFinishAction: 'delete_pod' });
    kept.operator.pod = aPodObject();
    await kept.operator.onKill();
    expect(kept.done).toEqual([]);
    const graces: unknown[] = [];
    const gone = aTask(
      aPodObject(),
      { onFinishAction: 'keep_pod', clock: new SimulatedClock() },
      { deletePod: (_, grace) => (graces.push(grace ?? null), Promise.reject(apiError(500))) },
    );
    gone.operator.pod = aPodObject();
    await gone.operator.onKill();
    expect(graces[0]).toBeNull();
    await gone.operator.cleanup(aPodObject({ phase: 'Failed', exit: 1 }), aPodObject({ phase: 'Failed', exit: 1 }));
  });
});

describe('pod manager', () => {
  test('E65 expired credentials are read again and the wait starts again; a second refusal or another error is thrown', async () => {
    const pod = aPodObject({ exit: 0 });
    let turn = 0;
    const { operator } = aTask(
      pod,
      {},
      {
        logs: () => {
          if (++turn < 3) throw apiError(401);
          return (async function* () {
            await Promise.resolve();
            yield* [];
          })();
        },
      },
    );
    operator.pod = pod;
    await operator.awaitPodCompletion(pod);
    expect(turn).toBe(3);
    const other = aTask(
      pod,
      {},
      {
        logs: () => {
          throw apiError(403);
        },
      },
    );
    other.operator.pod = pod;
    expect(await failure(other.operator.awaitPodCompletion(pod))).toMatchObject({ status: 403 });
  });

  test('E67 a suppressed error is logged, unless it is to be raised', async () => {
    const { operator } = aTask(
      aPodObject(),
      {},
      { deletePod: () => Promise.reject(new RangeError('no')), patchPod: () => Promise.reject(new RangeError('no')) },
    );
    expect(await operator.processPodDeletion(aPodObject(), { reraise: false })).toBe(false);
    await operator.patchAlreadyChecked(aPodObject(), { reraise: false });
    await expect(operator.processPodDeletion(aPodObject())).rejects.toThrow('no');
  });

  test('`progressCallback` gets each line after the callbacks', async () => {
    const calls: string[] = [];
    const { operator } = aTask(aPodObject({ exit: 0 }), {
      callbacks: { progressCallback: ({ line }) => void calls.push(`callbacks ${line}`) },
      progressCallback: ({ line }) => void calls.push(`own ${line}`),
    });
    await operator.podManager.fetchContainerLogs(aPodObject({ exit: 0 }), 'base');
    expect(calls).toEqual(['callbacks line', 'own line']);
  });

  test('`triggerKwargs` are added to the deferral and its event, and replace none of its fields', async () => {
    const triggerKwargs = { team: 'a', status: 'success', message: 'all is well', redeferCount: 'x' };
    const seen: unknown[] = [];
    class Seen extends KubernetesPodOperator {
      override triggerReentry(...[context, event]: Parameters<KubernetesPodOperator['triggerReentry']>) {
        seen.push(event);
        return super.triggerReentry(context, event);
      }
    }
    const { cluster, context } = aTask(aPodObject({ phase: 'Failed', exit: 1 }));
    const operator = new Seen({ image: 'i', hook: hookOf(cluster), clock: new SimulatedClock(), triggerKwargs });
    operator.pod = aPodObject({ phase: 'Running' });
    expect(await operator.invokeDeferMethod(context)).toMatchObject({ kind: 'deferred', trigger: { triggerKwargs } });
    operator.pod = aPodObject({ phase: 'Failed', exit: 1 });
    expect(await failure(operator.invokeDeferMethod(context))).toBeInstanceOf(TaskFailed);
    expect(seen).toEqual([{ team: 'a', status: 'failed', name: 'pod', namespace: 'ns', lastLogTime: null }]);
  });

  test('E68 a line with and without a time', () => {
    expect(parseLogLine('2024-01-02T03:04:05.123456789Z a text')).toEqual({
      timestamp: new Date('2024-01-02T03:04:05.123Z'),
      message: 'a text',
    });
    expect(parseLogLine('no time here\n')).toEqual({ timestamp: undefined, message: 'no time here\n' });
    expect(parseLogLine('2024-01-02T03:04:05Z ').message).toBe('');
  });

  const followed = async (streams: readonly (readonly string[])[], running: readonly boolean[], more = {}) => {
    const lines: string[] = [];
    const opened: unknown[] = [];
    let turn = 0;
    let look = 0;
    const status = await fetchContainerLogs(
      {
        ...{
          client: stubCluster({}),
          pod: aPod(),
          containerName: 'base',
          clock: new SimulatedClock(),
          log: SILENT_LOG,
        },
        callbacks: [{ progressCallback: ({ line }) => void lines.push(line) }],
        isRunning: () => Promise.resolve(running[look++] ?? false),
        async *open(from) {
          opened.push(from.sinceSeconds ?? null);
          await Promise.resolve();
          for (const line of streams[turn++] ?? []) {
            if (line === 'broken') throw failureOf('ConnectionError');
            yield line;
          }
        },
      },
      { follow: true, ...more },
    );
    return { status, lines, opened };
  };
  test('E69 E70 E71 records with continuation lines are one each; the last timed record gives the last time; an empty stream has no record', async () => {
    const { status, lines } = await followed(
      [['2024-01-02T11:59:50Z a\n', 'more\n', '2024-01-02T11:59:51Z b\n', '2024-01-02T11:59:52Z c\n', 'end\n']],
      [false],
    );
    expect(lines).toEqual(['a\nmore', 'b', 'c\nend']);
    expect(status.lastLogTime).toEqual(new Date('2024-01-02T11:59:52Z'));
    expect((await followed([[]], [false])).lines).toEqual([]);
  });

  test('E72 continues after a broken connection, at the same position', async () => {
    const { status, lines, opened } = await followed(
      [['2024-01-02T11:59:50Z a\n', 'broken'], ['2024-01-02T11:59:58Z b\n']],
      [true, false],
    );
    expect(lines).toEqual(['a', 'b']);
    expect(opened).toEqual([null, 12]);
    expect(status.lastLogTime).toEqual(new Date('2024-01-02T11:59:58Z'));
  });

  test('E74 follows until the container has ended', async () => {
    const { status, opened } = await followed([[], [], []], [true, true, false]);
    expect([status.running, opened.length]).toEqual([false, 3]);
  });

  test('E75 a start 5 s ago requests 5 seconds', async () => {
    const clock = new SimulatedClock();
    expect((await followed([[]], [false], { sinceTime: new Date(clock.now() - 5_000) })).opened).toEqual([5]);
  });

  test.each([
    [1, []],
    [null, []],
    [6.8, []],
    [false, []],
    ['base', ['base']],
    [true, ['base', 'side']],
    [['side', 'nope'], ['side']],
  ])('E76 the containers %j are selected', (wanted, expected) => {
    expect(reconcileRequestedLogContainers(wanted, ['base', 'side'])).toEqual(expected);
  });

  test('E80 E81 409, 429 and a broken connection are retried, five calls in all; 401 is not', () => {
    expect(retryAfterSeconds(apiError(409), 1)).toBe(1);
    expect(retryAfterSeconds(apiError(429), 2)).toBe(2);
    expect(retryAfterSeconds(apiError(401), 1)).toBeUndefined();
    expect(retryAfterSeconds(apiError(409), 5)).toBeUndefined();
    expect(retryAfterSeconds({ status: 0, fault: 'unavailable' }, 4)).toBe(8);
  });

  test('E83 waits while Pending and scheduled, and stops watching events', async () => {
    const clock = new SimulatedClock();
    const reads = ['Pending', 'Pending', 'Pending', 'Succeeded'].map((phase) => aPodObject({ phase, statuses: false }));
    const manager = new PodManager(stubCluster({ getPod: () => Promise.resolve(reads.shift()) }), { clock });
    await manager.awaitPodStart(aPodObject(), { checkInterval: 4 });
    expect(clock.sleeps).toEqual([[4, 3]]);
    expect(manager.stopWatchingEvents).toBe(true);
  });

  test.each([
    ['manifest unknown', true],
    ['unauthorized', true],
    ['', true],
    ['pull QPS exceeded', false],
    ['toomanyrequests: Too Many Requests', false],
    ['502 Bad Gateway', false],
  ])('E84 ErrImagePull with %j', (message, hopeless) => {
    const pod = {
      status: { containerStatuses: [{ name: 'base', state: { waiting: { reason: 'ErrImagePull', message } } }] },
    };
    expect(detectPodTerminateEarlyIssues(pod) !== undefined).toBe(hopeless);
  });

  test('E85 each event is logged once', async () => {
    const calls: string[] = [];
    const event = { type: 'Normal', reason: 'R', message: 'm', count: 1, lastSeenAt: 1 };
    const log = { ...SILENT_LOG, info: (_: object, message: string) => void calls.push(message) };
    let looks = 0;
    const manager = new PodManager(
      stubCluster({
        podEvents: () => {
          if (++looks === 3) manager.stopWatchingEvents = true;
          return Promise.resolve([event]);
        },
      }),
      { log, clock: new SimulatedClock() },
    );
    await manager.watchPodEvents(aPodObject());
    expect([calls, looks]).toEqual([['m'], 3]);
  });

  test.each([
    [true, 1],
    [false, 0],
  ])('E85 the events of the start are watched if requested: %s', async (logEventsOnStartup, looks) => {
    let looked = 0;
    const podEvents = () => Promise.resolve((looked += 1)).then(() => []);
    const { operator } = aTask(aPodObject({ phase: 'Running' }), { logEventsOnStartup }, { podEvents });
    await operator.awaitPodStart(aPodObject({ phase: 'Running' }));
    expect(looked).toBe(looks);
  });

  test.each([
    ['running', 'ok'],
    ['terminated', 'failed'],
    ['never', 'failed'],
  ])('E87 the sidecar %s', async (state, expected) => {
    const states = { running: { running: {} }, terminated: { terminated: { exitCode: 0 } }, never: { waiting: {} } };
    const pod = {
      ...aPodObject({ phase: 'Running' }),
      status: {
        phase: 'Running',
        containerStatuses: [
          { name: 'airflow-xcom-sidecar', state: Object.entries(states).find(([key]) => key === state)?.[1] },
        ],
      },
    };
    const manager = new PodManager(stubCluster({ getPod: () => Promise.resolve(pod) }), {
      clock: new SimulatedClock(),
    });
    expect((await failure(manager.awaitXcomSidecarContainerStart(pod))) === undefined ? 'ok' : 'failed').toBe(expected);
  });

  test.each<[PodFacts, object, boolean]>([
    [{ phase: 'Succeeded', exit: 0 }, {}, true],
    [{ phase: 'Running', exit: 0 }, { doXcomPush: true }, true],
    [{ phase: 'Running', exit: 0 }, { istioEnabled: true }, true],
    [{ phase: 'Running', exit: 0 }, {}, false],
    [{ phase: 'Pending', waiting: 'ImagePullBackOff' }, {}, true],
  ])('E88 awaitPodCompletion of %j with %j', async (facts, options, ends) => {
    const manager = new PodManager(stubCluster({ getPod: () => Promise.resolve(aPodObject(facts)) }), {
      clock: new SimulatedClock(),
    });
    expect((await failure(manager.awaitPodCompletion(aPodObject(), options))) === undefined).toBe(ends);
  });
});

describe('trigger and re-entry', () => {
  test('E90 a trigger can be created from its serialized form', () => {
    const trigger = new KubernetesPodTrigger({ tenant: 't', runId: 'r' }, aSubscription());
    const { run, subscription } = trigger.serialize();
    expect(new KubernetesPodTrigger(run, subscription).serialize()).toEqual({ run, subscription });
  });

  test.each<[string, PodFacts, string | undefined]>([
    ['E91 ended at the start', { exit: 0 }, 'success'],
    ['E92 waiting', { phase: 'Pending', waiting: 'ContainerCreating' }, undefined],
    ['E92 running', { phase: 'Running' }, undefined],
    ['E93 failed', { phase: 'Failed', exit: 1 }, 'failed'],
    ['E95 already succeeded past the limit', { exit: 0 }, 'success'],
    ['E95 pending past the limit', { phase: 'Pending', statuses: false }, 'timeout'],
  ])('%s', (name, facts, kind) => {
    const pod = projectPod('default', aPodObject(facts));
    const startBy = name.includes('past') ? 1 : 1e15;
    const judged = judge(
      aSubscription({
        pod: { connection: 'default', namespace: 'ns', name: 'pod', uid: 'u' },
        await: { terminal: true, startBy },
      }),
      pod,
      1_000,
    );
    expect(judged.kind === 'fire' ? judged.event.kind : undefined).toBe(kind);
  });

  test.each<[PodFacts, string]>([
    [{ phase: 'Running' }, 'running'],
    [{ phase: 'Running', exit: 0 }, 'terminated'],
    [{ phase: 'Pending', waiting: 'x' }, 'waiting'],
    [{ phase: 'Failed', waiting: 'x' }, 'failed'],
    [{ phase: 'Succeeded', statuses: false }, 'terminated'],
  ])('E98 E99 state of %j', (facts, state) => {
    expect(definePodContainerState(aPodObject(facts), 'base')).toBe(state);
  });

  test('E101 a deferral has the trigger’s arguments and two pushes', async () => {
    const { operator, pushed, context } = aTask(aPodObject({ phase: 'Pending', statuses: false }), {
      deferrable: true,
    });
    expect(await operator.execute(context)).toMatchObject({
      kind: 'deferred',
      methodName: 'triggerReentry',
      trigger: { podName: 'pod', podNamespace: 'ns' },
    });
    expect(pushed).toHaveLength(2);
  });

  test.each(['error', 'failed', 'timeout'] as const)('E102 E106 %s is a failure', async (status) => {
    const pod = aPodObject({ phase: 'Failed', exit: 1 });
    const { operator, context, done } = aTask(pod);
    expect(
      await failure(operator.triggerReentry(context, { status, name: 'pod', namespace: 'ns', message: 'm' })),
    ).toBeInstanceOf(TaskFailed);
    expect(done).toEqual(['log base', 'patch', 'delete']);
  });

  test('E105 a pod deleted while its log is read: no clean-up, no crash', async () => {
    let reads = 0;
    const pod = aPodObject({ exit: 0 });
    const { operator, context, done } = aTask(
      pod,
      {},
      {
        getPod: () => Promise.resolve(++reads === 1 ? pod : undefined),
        logs: () => {
          throw apiError(404);
        },
      },
    );
    expect(await operator.triggerReentry(context, { status: 'success', name: 'pod', namespace: 'ns' })).toMatchObject({
      kind: 'returned',
    });
    expect(done).toEqual([]);
  });
});
