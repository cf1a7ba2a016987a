import { expect, suite, test } from 'vitest';
import { judge } from '../../../src/core/pod/judge.ts';
import { projectPod } from '../../../src/core/pod/projection.ts';
import { diagnoseWait } from '../../../src/core/run/wait-diagnosis.ts';
import { WatchedPods } from '../../../src/trigger/watched-pods.ts';
import { aPod, aSubscription } from '../../support/builders.ts';

const createdAt = 1_000_000;
const gates = 'kueue.x-k8s.io/admission';
const pod = aPod({ phase: 'Pending', createdAt, node: undefined, scheduledAt: undefined });
const scope = { connection: pod.connection, namespace: undefined };
const { connection, namespace, name, uid } = pod;
const waiting = aSubscription({
  pod: { connection, namespace, name, uid },
  await: { terminal: true, scheduleBy: createdAt + 120_000, startBy: createdAt + 240_000 },
});
const HOUR_MS = 3_600_000;

suite('a pod with scheduling gates', () => {
  test('is projected with their names', () => {
    const projected = projectPod('c', { metadata: { name: 'p' }, spec: { schedulingGates: [{ name: gates }] } });
    expect(projected.gates).toEqual(gates);
    expect(projectPod('c', { spec: { schedulingGates: [] } })).not.toHaveProperty('gates');
  });

  test('waits without a time-out, and the diagnosis names the gates', () => {
    const gated = { ...pod, gates };
    expect(judge(waiting, gated, createdAt + HOUR_MS)).toEqual({ kind: 'wait' });
    expect(diagnoseWait(gated, createdAt)).toMatchObject({
      code: 'SCHEDULING_GATED',
      summary: 'The pod waits for Kueue to admit it',
    });
    expect(diagnoseWait({ ...pod, gates: 'x/y' }, createdAt)?.summary).toContain('x/y');
  });

  test('has its whole time once the gate is gone', () => {
    const pods = new WatchedPods([scope]);
    pods.apply({ scope, signal: { kind: 'pod', pod: { ...pod, gates } } }, createdAt);
    const liftedAt = createdAt + HOUR_MS;
    pods.apply({ scope, signal: { kind: 'pod', pod } }, liftedAt);
    pods.apply({ scope, signal: { kind: 'pod', pod: { ...pod, resourceVersion: '3' } } }, liftedAt + 50_000);
    const seen = pods.pod(uid);
    expect(judge(waiting, seen, liftedAt + 119_000)).toEqual({ kind: 'wait', until: liftedAt + 120_000 });
    expect(judge(waiting, seen, liftedAt + 120_000)).toMatchObject({ event: { reason: 'SCHEDULE_TIMEOUT' } });
  });

  test('is not timed out by a triggerer that began after its late scheduling', () => {
    const scheduledAt = createdAt + HOUR_MS;
    expect(judge(waiting, { ...pod, scheduledAt, node: 'n' }, scheduledAt + 60_000)).toMatchObject({ kind: 'wait' });
    expect(judge(waiting, { ...pod, scheduledAt, node: 'n' }, scheduledAt + 240_000)).toMatchObject({
      event: { reason: 'STARTUP_TIMEOUT' },
    });
  });
});
