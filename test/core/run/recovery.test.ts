import { expect, test } from 'vitest';
import { LABELS } from '../../../src/core/pod/labels.ts';
import { projectPod } from '../../../src/core/pod/projection.ts';
import { operatorOfPod } from '../../../src/core/run/recovery.ts';

const pod = (labels: object) => projectPod('eu', { metadata: { name: 'p', namespace: 'n', uid: 'u', labels } });

test('a pod’s labels name the operator that made it, whatever its queue is called', () => {
  expect(operatorOfPod(pod({ [LABELS.kubernetesExecutor]: 'True' }))).toBe('command');
  expect(operatorOfPod(pod({ [LABELS.podOperator]: 'True' }))).toBe('pod');
});
