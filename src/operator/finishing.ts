/** The end of an attempt's pod: stopped, deleted or kept and marked. @see spec pod-operator §5.8, §7 */
import type { PodRef } from '../core/pod.ts';
import type { Outcome } from '../wire/messages.ts';
import { readLogs } from './logs-of-step.ts';
import type { StepContext } from './operator.ts';
import type { PodParams } from './params.ts';
import { managerOf, type PodManager } from './pod-manager.ts';

type Context = StepContext<PodParams>;

/** Tail of the log, then DELETE with the run's grace period, unless it is to be kept. `gone`: nothing is left to wait for. */
export async function stopPod(context: Context, params: PodParams, pod: PodRef): Promise<'gone' | 'stopping'> {
  const manager = managerOf(context, context.cluster(pod.connection));
  const present = await manager.readPod(pod);
  if (present === undefined) return 'gone';
  await readLogs(context, params, manager, present);
  if (params.onKillAction === 'keep_pod') {
    await manager.patchAlreadyChecked(pod);
    return 'gone';
  }
  return (await manager.deletePod(pod, params.terminationGracePeriod ?? undefined)) === 'gone' ? 'gone' : 'stopping';
}

/** The pod by policy once its attempt is decided: deleted, or kept and marked. Safe to repeat. */
export async function cleanUpPod(context: Context, params: PodParams, outcome: Outcome, pod: PodRef): Promise<void> {
  const manager = managerOf(context, context.cluster(pod.connection));
  if (await isToDelete(params, outcome, manager, pod))
    await manager.deletePod(pod, params.terminationGracePeriod ?? undefined);
  else await manager.patchAlreadyChecked(pod);
}

async function isToDelete(params: PodParams, outcome: Outcome, manager: PodManager, pod: PodRef): Promise<boolean> {
  // A stopped pod goes or stays by `onKillAction`, which `stop` has carried out.
  if (outcome.state === 'cancelled' || outcome.diagnosis?.code === 'EXECUTION_TIMEOUT')
    return params.onKillAction === 'delete_pod';
  switch (params.onFinishAction) {
    case 'delete_pod':
      return true;
    case 'keep_pod':
      return false;
    case 'delete_succeeded_pod':
      return outcome.state === 'succeeded' || outcome.exitCode === 0;
    case 'delete_active_pod': {
      const phase = (await manager.readPod(pod))?.phase;
      return phase === 'Running' || phase === 'Pending';
    }
  }
}
