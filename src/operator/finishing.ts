/** The end of an attempt's pod: stopped, deleted or kept and marked. @see spec pod-operator §5.8, §7 */
import type { PodPhase, PodProjection, PodRef } from '../core/pod/projection.ts';
import { deletesPod } from '../core/pod/finish-action.ts';
import { XCOM } from '../core/pod/xcom-sidecar.ts';
import type { Outcome } from '../wire/outcome.ts';
import { readLogs } from './logs/step.ts';
import type { PodParams } from './pod-params.ts';
import { graceOf, type PodStep } from './pod-step.ts';
import { endSidecar } from './xcom.ts';

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
  // Stopped between two attempts, it is the pod of the one before: its log is stored, under that attempt.
  const { attempt, timings } = context.state;
  if (timings.launchedAt !== undefined || present.attempt === attempt) await readLogs(step, present);
  // Somebody else deleted it.
  if (isGoing) return 'stopping';
  if (params.onKillAction === 'keep_pod') {
    await pods.patchAlreadyChecked(pod);
    return 'gone';
  }
  return (await pods.deletePod(pod, graceOf(step))) === 'gone' ? 'gone' : 'stopping';
}

/**
 * The seed's `post_complete_action`: the pod by policy once its attempt is decided and stored, then the callbacks. Safe to repeat. Only now is the
 * result's sidecar told to end: a step that is repeated must find it.
 */
export async function cleanUpPod(step: PodStep, outcome: Outcome, pod: PodRef): Promise<void> {
  const { pods, callbacks, params, context } = step;
  switch (await fateOf(step, outcome, pod)) {
    case 'delete':
      await pods.deletePod(pod, graceOf(step));
      break;
    case 'keep':
      if (hasResultSidecar(params)) await endSidecar({ cluster: step.cluster, pod, log: context.log });
      // Last: who finds the mark takes it that nothing is left to do.
      await pods.patchAlreadyChecked(pod);
      break;
    case 'gone':
      break;
  }
  if (outcome.state === 'succeeded') await callbacks.pod(pod, 'onPodCleanup');
}

/** What becomes of the pod now. `gone`: it is, or goes. */
async function fateOf(
  { pods, params, context }: PodStep,
  outcome: Outcome,
  pod: PodRef,
): Promise<'delete' | 'keep' | 'gone'> {
  const stopped = outcome.state === 'cancelled' || outcome.diagnosis?.code === 'EXECUTION_TIMEOUT';
  const action = stopped ? params.onKillAction : params.onFinishAction;
  // The plain way, without a read: its container has ended, so that nobody but us has a reason to take the pod away.
  const plain = outcome.exitCode !== undefined && action !== 'delete_active_pod' && !stopped;
  const present = plain ? undefined : await pods.readPod(pod);
  if (!plain && (present === undefined || present.deletedAt !== undefined)) return 'gone';
  const succeeded = outcome.state === 'succeeded' || outcome.exitCode === 0;
  const phase = present === undefined ? undefined : phaseBesideSidecar(present, params);
  if (deletesPod(action, { phase, baseSucceeded: succeeded })) return 'delete';
  if (neverBegan(outcome, phase) && params.onKillAction === 'delete_pod') return 'delete';
  // The next attempt of a fixed name cannot exist beside this one: what is kept is the last attempt's pod.
  return context.state.await?.gone === true && !params.randomNameSuffix ? 'delete' : 'keep';
}

/** A failed attempt's pod that may begin after its run has had its answer: "keep" is for what has ended. @see lessons B5 */
function neverBegan({ state, exitCode }: Outcome, phase: PodPhase | undefined): boolean {
  return state === 'failed' && exitCode === undefined && (phase === 'Pending' || phase === 'Running');
}

/** The phase that the pod would have without our own sidecar, which waits to be told that it may go. */
function phaseBesideSidecar(pod: PodProjection, params: PodParams): PodPhase | undefined {
  if (!hasResultSidecar(params) || pod.phase !== 'Running') return pod.phase;
  const others = pod.containers.filter(({ name, kind }) => kind === 'main' && name !== XCOM.container);
  if (others.some(({ state }) => state !== 'terminated')) return pod.phase;
  return others.every(({ exitCode }) => exitCode === 0) ? 'Succeeded' : 'Failed';
}

function hasResultSidecar({ doXcomPush, xcomMode }: PodParams): boolean {
  return doXcomPush && xcomMode !== 'message';
}
