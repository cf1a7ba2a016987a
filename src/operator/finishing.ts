/** The end of an attempt's pod: stopped, deleted or kept and marked. @see spec pod-operator §5.8, §7 */
import type { PodRef } from '../core/pod.ts';
import type { Outcome } from '../wire/messages.ts';
import { readLogs } from './logs-of-step.ts';
import type { StepContext } from './operator.ts';
import type { PodParams } from './params.ts';
import { podsOf, type RunPods } from './run-pods.ts';

type Context = StepContext<PodParams>;

/** Tail of the log, then DELETE with the run's grace period, unless it is to be kept. `gone`: nothing is left to wait for. */
export async function stopPod(context: Context, params: PodParams, pod: PodRef): Promise<'gone' | 'stopping'> {
  const pods = podsOf(context, context.cluster(pod.connection));
  const present = await pods.readPod(pod);
  if (present === undefined) return 'gone';
  await readLogs(context, params, pods, present);
  if (params.onKillAction === 'keep_pod') {
    await pods.patchAlreadyChecked(pod);
    return 'gone';
  }
  return (await pods.deletePod(pod, params.terminationGracePeriod ?? undefined)) === 'gone' ? 'gone' : 'stopping';
}

/** The pod by policy once its attempt is decided: deleted, or kept and marked. Safe to repeat. */
export async function cleanUpPod(context: Context, params: PodParams, outcome: Outcome, pod: PodRef): Promise<void> {
  const pods = podsOf(context, context.cluster(pod.connection));
  if (await isToDelete(params, outcome, pods, pod))
    await pods.deletePod(pod, params.terminationGracePeriod ?? undefined);
  else await pods.patchAlreadyChecked(pod);
}

async function isToDelete(params: PodParams, outcome: Outcome, pods: RunPods, pod: PodRef): Promise<boolean> {
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
      const phase = (await pods.readPod(pod))?.phase;
      return phase === 'Running' || phase === 'Pending';
    }
  }
}
