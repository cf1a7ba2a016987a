/** The end of an attempt's pod: stopped, deleted, or retained and marked. */
import { deletesPod } from '../core/pod/finish-action.ts';
import type { PodPhase, PodProjection, PodRef } from '../core/pod/projection.ts';
import { XCOM } from '../core/pod/xcom-sidecar.ts';
import { READ_PERIOD_MS } from '../core/run/retry.ts';
import type { Outcome } from '../wire/outcome.ts';
import { storeLogs } from './logs/step.ts';
import type { PodParams } from './pod-params.ts';
import { markChecked, type PodStep } from './pod-step.ts';
import { endSidecar } from './xcom.ts';

/**
 * Airflow's `on_kill`, for a cancel and for the execution time-out: stores the tail of the log, then deletes the pod with the run's grace period, unless
 * `onKillAction` keeps it; `onFinishAction` does not apply. `gone`: nothing is left to wait for.
 */
export async function stopPod(step: PodStep, pod: PodRef): Promise<'gone' | 'stopping'> {
  const { cluster, params, context } = step;
  const present = await cluster.findPod(pod);
  if (present === undefined) return 'gone';
  // A repeated stop: its log has been stored, and one DELETE is enough.
  const isTerminating = present.deletedAt !== undefined;
  if (isTerminating && context.state.stopping !== undefined) return 'stopping';
  // A run stopped between two attempts still has the previous one's pod, whose log is stored under that attempt.
  const { attempt, timings } = context.state;
  if (timings.launchedAt !== undefined || present.attempt === attempt)
    await storeLogs(step, present, READ_PERIOD_MS.leaving);
  // Deleted by another client.
  if (isTerminating) return 'stopping';
  if (params.onKillAction === 'keep_pod') {
    await markChecked(step, pod);
    return 'gone';
  }
  return (await cluster.deletePod(pod, params.terminationGracePeriod)) === 'gone' ? 'gone' : 'stopping';
}

/**
 * Airflow's `post_complete_action`: deletes or marks the pod once its attempt's outcome is stored, then calls the callbacks. Safe to repeat. The result's
 * sidecar is ended only now: a repeated step must find it.
 */
export async function cleanUpPod(step: PodStep, outcome: Outcome, pod: PodRef): Promise<void> {
  const { callbacks, params, context, cluster } = step;
  const cleaned = outcome.state === 'succeeded' ? await callbacks?.cleanedUp(pod) : undefined;
  switch (await cleanUpAction(step, outcome, pod)) {
    case 'delete':
      await cluster.deletePod(pod, params.terminationGracePeriod);
      break;
    case 'keep':
      if (hasResultSidecar(params)) await endSidecar({ cluster, pod, log: context.log });
      // Last: the mark means that nothing is left to do with the pod.
      await markChecked(step, pod);
      break;
    case 'none':
      break;
  }
  await cleaned?.();
}

/** What to do with the pod now. `none`: it is gone or terminating. */
async function cleanUpAction(
  { cluster, params, context }: PodStep,
  outcome: Outcome,
  pod: PodRef,
): Promise<'delete' | 'keep' | 'none'> {
  const stopped = outcome.state === 'cancelled' || outcome.diagnosis?.code === 'EXECUTION_TIMEOUT';
  const action = stopped ? params.onKillAction : params.onFinishAction;
  // The common case needs no read: the container has ended, and no other client is expected to have deleted the pod.
  const needsRead = outcome.exitCode === undefined || action === 'delete_active_pod' || stopped;
  const present = needsRead ? await cluster.findPod(pod) : undefined;
  if (needsRead && (present === undefined || present.deletedAt !== undefined)) return 'none';
  const succeeded = outcome.state === 'succeeded' || outcome.exitCode === 0;
  const phase = present === undefined ? undefined : phaseOf(present);
  if (deletesPod(action, { phase, baseSucceeded: succeeded })) return 'delete';
  if (neverStarted(outcome, phase) && params.onKillAction === 'delete_pod') return 'delete';
  // With a fixed name, the next attempt's pod cannot exist beside this one: only the last attempt's pod is kept.
  return context.state.await?.gone === true && !params.randomNameSuffix ? 'delete' : 'keep';
}

/** A failed attempt whose pod could still start after the run has ended: keeping is for pods that have ended. */
function neverStarted({ state, exitCode }: Outcome, phase: PodPhase | undefined): boolean {
  return state === 'failed' && exitCode === undefined && (phase === 'Pending' || phase === 'Running');
}

/**
 * The phase by the pod's main containers. A kubelet reports `Running` for a moment after they have ended, and for as long as the result's sidecar runs, which is
 * ended last.
 */
function phaseOf(pod: PodProjection): PodPhase | undefined {
  if (pod.phase !== 'Running') return pod.phase;
  const others = pod.containers.filter(({ name, kind }) => kind === 'main' && name !== XCOM.container);
  if (others.some(({ state }) => state !== 'terminated')) return pod.phase;
  return others.every(({ exitCode }) => exitCode === 0) ? 'Succeeded' : 'Failed';
}

function hasResultSidecar({ doXcomPush, xcomMode }: PodParams): boolean {
  return doXcomPush && xcomMode !== 'message';
}
