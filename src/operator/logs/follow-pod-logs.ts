import type { PodRef } from '../../core/pod/projection.ts';
import type { LiveChunk } from '../../ports/broker.ts';
import { refOf } from '../deferral.ts';
import { followContainers } from './live.ts';
import { wantedContainers } from './step.ts';
import type { PodStep } from '../pod-step.ts';

/** Publishes what the wanted containers of a run's pod write from now on, until they end or nobody listens. @see spec protocol §9 */
export async function followPodLogs(
  { context, params, cluster, pods, format }: PodStep,
  ref: PodRef,
  publish: (chunk: LiveChunk) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const { run, state, logs, log } = context;
  const pod = params.getLogs ? await pods.readPod(ref) : undefined;
  if (pod === undefined) return;
  const containers = wantedContainers(params, pod, log).map(({ name }) => name);
  const { attempt, cursors = {} } = state;
  await followContainers(
    { cluster, pod: refOf(pod), run, attempt, logs, cursors, log, signal, format, publish },
    containers,
  );
}
