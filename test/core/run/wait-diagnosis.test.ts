import { describe, expect, test } from 'vitest';
import { STUCK_AFTER_MS, diagnoseWait } from '../../../src/core/run/wait-diagnosis.ts';
import type { PodProjection } from '../../../src/core/pod/projection.ts';
import { aPod } from '../../support/builders.ts';

const NOW = 1_800_000_000_000;
const waiting = (reason: string, message: string): PodProjection['containers'] => [
  { name: 'base', kind: 'main', state: 'waiting', reason, message, restartCount: 0 },
];
const unschedulable = { reason: 'Unschedulable', message: '0/3 nodes are available: 3 Insufficient cpu.' };

describe('why a pod keeps its run waiting', () => {
  test.each<[string, PodProjection, string | undefined]>([
    ['it runs', aPod({ phase: 'Running', node: 'n1' }), undefined],
    ['it goes within its grace period', aPod({ deletedAt: NOW + 30_000 }), undefined],
    ['it went past its grace period just now', aPod({ deletedAt: NOW - STUCK_AFTER_MS }), undefined],
    ['it should have gone long ago', aPod({ deletedAt: NOW - STUCK_AFTER_MS - 1 }), 'POD_STUCK_TERMINATING'],
    ['no node takes it', aPod({ phase: 'Pending', node: undefined, unschedulable }), 'UNSCHEDULABLE'],
    ['a node took it meanwhile', aPod({ phase: 'Pending', node: 'n1', unschedulable }), undefined],
    [
      'the registry holds its image back',
      aPod({ phase: 'Pending', node: 'n1', containers: waiting('ImagePullBackOff', '429 Too Many Requests') }),
      'IMAGE_PULL_THROTTLED',
    ],
  ])('%s', (_, pod, code) => {
    expect(diagnoseWait(pod, NOW)?.code).toBe(code);
  });

  test('quotes the scheduler’s message', () => {
    const pod = aPod({ phase: 'Pending', node: undefined, unschedulable });
    expect(diagnoseWait(pod, NOW)?.summary).toContain('3 Insufficient cpu');
  });
});
