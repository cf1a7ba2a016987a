/** The logs that a step reads: of the wanted containers, from where the run has got to. */
import type { ContainerProjection, PodProjection } from '../core/pod.ts';
import { refOf } from './deferral.ts';
import type { StepContext } from './operator.ts';
import type { PodParams } from './params.ts';
import { type LogsRead, type RunPods, requestedContainers } from './run-pods.ts';

/** Stores what the wanted containers have written since the last step. @see spec pod-operator §6.6 */
export async function readLogs(
  context: StepContext<PodParams>,
  params: PodParams,
  pods: RunPods,
  pod: PodProjection,
): Promise<LogsRead> {
  const { state } = context;
  const cursors = state.cursors ?? {};
  if (!params.getLogs) return { cursors, gaps: 0, complete: true };
  const of = (kinds: readonly ContainerProjection['kind'][]) =>
    pod.containers.filter(({ kind }) => kinds.includes(kind));
  const wanted = [
    ...requestedContainers(params.initContainerLogs, of(['init', 'sidecar'])),
    ...requestedContainers(params.containerLogs ?? pod.baseContainer, of(['main', 'sidecar'])),
  ];
  return await pods.readLogs(refOf(pod), state.attempt, [...new Set(wanted)], cursors);
}
