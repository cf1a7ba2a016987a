import { expect, test } from 'vitest';
import { KubernetesPodOperator } from '../../src/airflow/kubernetes-pod-operator.ts';
import { PodManager } from '../../src/airflow/pod-manager.ts';
import { hookOf } from '../../src/airflow/pod-operator-hook-protocol.ts';
import { stampOf } from '../../src/core/log/cursor.ts';
import { addXcomSidecar, XCOM } from '../../src/core/pod/xcom-sidecar.ts';
import type { Log } from '../../src/ports/ambient.ts';
import type { Cluster } from '../../src/ports/cluster.ts';
import { apiError, SimulatedClock, stubCluster } from '../oracle/stub-cluster.ts';

const podWith = (state: object) => ({
  metadata: { name: 'pod', namespace: 'ns', uid: 'u', creationTimestamp: '2024-01-02T12:00:00Z' },
  spec: { containers: [{ name: 'base' }] },
  status: { phase: 'Running', containerStatuses: [{ name: 'base', state }] },
});
const managerOf = (parts: Partial<Cluster>) => {
  const warnings: string[] = [];
  const write = () => undefined;
  const warn = (_: object, message: string) => void warnings.push(message);
  const log: Log = { debug: write, info: write, warn, error: write, child: () => log };
  return { manager: new PodManager(stubCluster(parts), { clock: new SimulatedClock(), log }), warnings };
};

test.each(['name@extra', 'n'.repeat(300), 'a..b'])(
  'a name that no pod can have is refused at once: %s',
  async (name) => {
    const operator = new KubernetesPodOperator({ hook: hookOf(stubCluster({})), image: 'i', name, deferrable: false });
    await expect(operator.execute({})).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
      problems: [{ path: 'params.name' }],
    });
  },
);

test('the execution time-out is in the deferral, counted from the start of the task, or of its pod', async () => {
  const hook = hookOf(stubCluster({}));
  const operator = new KubernetesPodOperator({ hook, image: 'i', executionTimeoutSeconds: 300 });
  operator.pod = podWith({ running: {} });
  const at = (text: string) => Date.parse(text) / 1000;
  expect(await operator.invokeDeferMethod({ startDate: new Date('2024-01-02T11:59:00Z') })).toMatchObject({
    trigger: { executionDeadline: at('2024-01-02T12:04:00Z') },
  });
  expect(await operator.invokeDeferMethod({})).toMatchObject({
    trigger: { executionDeadline: at('2024-01-02T12:05:00Z') },
  });
});

test('a log is read three times when the API server fails, and once when it refuses', async () => {
  const pod = podWith({ terminated: { exitCode: 0 } });
  const reading = async (failures: readonly number[]) => {
    const left = [...failures];
    let reads = 0;
    const { manager } = managerOf({
      getPod: () => Promise.resolve(pod),
      async *logs() {
        reads += 1;
        await Promise.resolve();
        const status = left.shift();
        if (status !== undefined) throw apiError(status);
        yield { at: { nanos: 1n, lines: 0 }, text: 'line' };
      },
    });
    const read = await manager.fetchContainerLogs(pod, 'base').then(
      () => 'read',
      () => 'failed',
    );
    return [read, reads];
  };
  expect(await reading([500, 503])).toEqual(['read', 3]);
  expect(await reading([500, 500, 500])).toEqual(['failed', 3]);
  expect(await reading([404])).toEqual(['failed', 1]);
});

test('the sidecar is asked only while it runs, and ended in two attempts', async () => {
  const sidecar = (state: object) => ({
    ...podWith({ terminated: { exitCode: 0 } }),
    status: { phase: 'Running', containerStatuses: [{ name: XCOM.container, state }] },
  });
  const execs: string[] = [];
  const extracting = (state: object) =>
    managerOf({
      getPod: () => Promise.resolve(sidecar(state)),
      exec: (_, { command }) => {
        const isRead = command.some((word) => word.includes(XCOM.resultFile));
        execs.push(isRead ? 'read' : 'kill');
        const exitCode = isRead ? 0 : 1;
        return Promise.resolve({ kind: 'ended', exitCode, stdout: new TextEncoder().encode('1'), stderr: '' });
      },
    }).manager.extractXcom(sidecar(state));
  await expect(extracting({ terminated: { exitCode: 0 } })).rejects.toMatchObject({ problem: 'unreadable' });
  expect(execs).toEqual([]);
  expect(await extracting({ running: {} })).toBe('1');
  expect(execs).toEqual(['read', 'kill', 'kill']);
});

test('events that cannot be read end their watch with a warning', async () => {
  const { manager, warnings } = managerOf({ podEvents: () => Promise.reject(apiError(403)) });
  await manager.watchPodEvents(podWith({ running: {} }));
  expect(warnings).toEqual([expect.stringContaining('reading the pod events failed')]);
});

test.each([
  ['2023-02-29T10:00:00.000000000Z line', false],
  ['2024-02-29T10:00:00.000000000Z line', true],
  ['2023-04-31T10:00:00.000000000Z line', false],
  ['2023-01-31T24:00:00.000000000Z line', false],
  ['2023-12-31T23:59:59.000000000+02:00 line', true],
])('%s begins with a time: %j', (line, expected) => {
  expect(stampOf(line) !== undefined).toBe(expected);
});

test('an empty object of the connection leaves the sidecar its default resources', () => {
  const { containers } = addXcomSidecar({ containers: [{ name: 'base' }] }, { resources: {} });
  expect(containers).toMatchObject([{ name: 'base' }, { name: XCOM.container, resources: XCOM.resources }]);
});
