/** The end of an attempt's pod: stopped, deleted or kept and marked. @see spec pod-operator §5.8, §7 */
import type { PodRef } from '../core/pod.ts';
import { deletesPod } from '../core/finish-action.ts';
import type { Outcome } from '../wire/messages.ts';
import { readLogs } from './logs-of-step.ts';
import { graceOf, type PodStep } from './pod-step.ts';

/**
 * The seed's `on_kill`, for a cancel and for the execution time-out: tail of the log, then DELETE with the run's grace period, unless
 * `onKillAction` keeps it; `onFinishAction` plays no part. `gone`: nothing is left to wait for.
 */
export async function stopPod(step: PodStep, pod: PodRef): Promise<'gone' | 'stopping'> {
  const { pods, params, context } = step;
  const present = await pods.readPod(pod);
  if (present === undefined) return 'gone';
  // Asked again while it goes: its log has been read, and one DELETE is enough.
  const isGoing = present.deletedAt !== undefined;
  if (isGoing && context.state.stopping !== undefined) return 'stopping';
  await readLogs(step, present);
  // Somebody else deleted it.
  if (isGoing) return 'stopping';
  if (params.onKillAction === 'keep_pod') {
    await pods.patchAlreadyChecked(pod);
    return 'gone';
  }
  return (await pods.deletePod(pod, graceOf(step))) === 'gone' ? 'gone' : 'stopping';
}

/** The seed's `post_complete_action`: the pod by policy once its attempt is decided, then the callbacks. Safe to repeat. */
export async function cleanUpPod(step: PodStep, outcome: Outcome, pod: PodRef): Promise<void> {
  const { pods, callbacks } = step;
  if (await isToDelete(step, outcome, pod)) await pods.deletePod(pod, graceOf(step));
  if (outcome.state === 'succeeded') await callbacks.pod(pod, 'onPodCleanup');
}

/** Whether the pod is to be deleted now; one that is kept has been marked. */
async function isToDelete({ pods, params }: PodStep, outcome: Outcome, pod: PodRef): Promise<boolean> {
  const stopped = outcome.state === 'cancelled' || outcome.diagnosis?.code === 'EXECUTION_TIMEOUT';
  const action = stopped ? params.onKillAction : params.onFinishAction;
  // The plain way, without a read: its container has ended, so that nobody but us has a reason to take the pod away.
  const plain = outcome.exitCode !== undefined && action !== 'delete_active_pod' && !stopped;
  const present = plain ? undefined : await pods.readPod(pod);
  if (!plain && (present === undefined || present.deletedAt !== undefined)) return false;
  const succeeded = outcome.state === 'succeeded' || outcome.exitCode === 0;
  if (deletesPod(action, { phase: present?.phase, baseSucceeded: succeeded })) return true;
  await pods.patchAlreadyChecked(pod);
  return false;
}
