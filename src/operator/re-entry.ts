/** Lane `resume`: what a trigger event means for the run. */
import { hasStarted, judgePod, podVerdict } from '../core/pod/judge.ts';
import { baseContainerOf, podFacts, type PodProjection, podRef } from '../core/pod/projection.ts';
import { diagnose, diagnosisOf } from '../core/run/diagnosis.ts';
import type { Outcome } from '../wire/outcome.ts';
import type { TriggerEvent } from '../wire/triggers.ts';
import { storeFailure, storeLogs } from './logs/step.ts';
import { failed, type StepContext, type StepFacts, type StepOutcome } from './operator.ts';
import { eventsOf, type PodStep } from './pod-step.ts';
import { salvageResult, takeResult } from './result.ts';
import { readPeriodMs } from './unread.ts';

/** How often an `error` event may find the pod alive before the run fails. */
const MAX_REDEFER_ATTEMPTS = 3;

/** Airflow's `trigger_reentry`: waits again, or returns the attempt's outcome. Safe to repeat. */
export async function reenter(step: PodStep, event: TriggerEvent): Promise<StepOutcome> {
  const { pod } = event;
  await step.callbacks?.resuming(pod ?? step.context.state.pod, event);
  switch (event.kind) {
    case 'running':
      return await stillRunning(step, event);
    case 'timer':
      return waitAgain(step.context, pod);
    case 'success':
      return await ended(step, event);
    case 'failed':
    case 'timeout':
      return event.reason === 'EXECUTION_TIMEOUT' ? await ended(step, event) : await endedByNow(step, event);
    case 'gone': {
      // A pod that had ended keeps its verdict, even when it was deleted afterwards.
      const verdict = pod === undefined ? undefined : podVerdict(pod);
      return await ended(step, verdict?.kind === 'success' ? { ...event, kind: 'success' } : event);
    }
    case 'error':
      return await afterError(step, event);
  }
}

/** The same wait again, with the same absolute deadlines. */
function waitAgain(
  { state }: StepContext<unknown>,
  pod: PodProjection | undefined,
  more: Partial<StepFacts> = {},
): StepOutcome {
  const known = pod ?? state.pod;
  if (known === undefined) return failed('TERMINATED_UNKNOWN');
  return {
    kind: 'defer',
    pod: podRef(known),
    await: state.await ?? { terminal: true },
    facts: { ...(pod === undefined ? {} : podFacts(pod)), ...more },
  };
}

/** The logging interval is over: stores what was written, and waits again. */
async function stillRunning(step: PodStep, event: TriggerEvent): Promise<StepOutcome> {
  const { context, params, cluster } = step;
  const { state } = context;
  if (!params.getLogs || state.pod === undefined) return waitAgain(context, event.pod);
  // The event of a blocking run carries no pod.
  const pod = event.pod ?? (await cluster.findPod(state.pod));
  if (pod === undefined) return waitAgain(context, undefined);
  const started = await startedNow(step, pod);
  const { cursors, gaps } = await storeLogs(step, pod, 0);
  return waitAgain(context, pod, { cursors, logGaps: gaps + (state.logGaps ?? 0), ...started });
}

/** Calls `onPodStarting`, once, of a blocking run whose pod has started. */
async function startedNow({ context, params, callbacks }: PodStep, pod: PodProjection): Promise<Partial<StepFacts>> {
  const { memo } = context.state;
  if (params.deferrable || callbacks === undefined || !hasStarted(pod) || memo?.['started'] === true) return {};
  await callbacks.pod(pod, 'onPodStarting');
  return { memo: { ...memo, started: true } };
}

/**
 * An event may be older than the pod's present state: workers were down, and the image was pulled after all. Unless the base container itself has ended,
 * the pod is read again, and a start that has happened late is waited for.
 */
async function endedByNow(step: PodStep, event: TriggerEvent): Promise<StepOutcome> {
  const { context, cluster } = step;
  const known = event.pod;
  if (known === undefined || baseContainerOf(known)?.state === 'terminated') return await ended(step, event);
  const pod = await cluster.findPod(known);
  if (pod === undefined) return await ended(step, event);
  const judgement = judgePod(context.state.await ?? { terminal: true }, pod, context.now());
  if (judgement.kind === 'fire') return await ended(step, judgement.event);
  // A pod may also be Pending because its base container has ended and its result sidecar has yet to start.
  const hasBegun = hasStarted(pod) || podVerdict(pod).kind !== 'open';
  return event.kind === 'failed' || hasBegun ? waitAgain(context, pod) : await ended(step, event);
}

/** The attempt is over: stores its log, takes its result, and diagnoses a failure. */
async function ended(step: PodStep, event: TriggerEvent): Promise<StepOutcome> {
  const { context, params, callbacks } = step;
  const { state, now } = context;
  const { pod } = event;
  if (pod === undefined) {
    const logs = { complete: false, gaps: state.logGaps ?? 0 };
    return { kind: 'over', outcome: { state: 'failed', diagnosis: diagnosed(event), logs } };
  }
  await startedNow(step, pod);
  const { cursors, gaps, complete } = await storeLogs(step, pod, readPeriodMs(pod));
  const logGaps = gaps + (state.logGaps ?? 0);
  const read: PodStep = { ...step, context: { ...context, state: { ...state, logGaps } } };
  await callbacks?.pod(pod, 'onPodCompletion', 'onPodTeardown');
  const base = baseContainerOf(pod);
  const exitCode = base?.state === 'terminated' ? base.exitCode : undefined;
  const common = {
    ...(exitCode === undefined ? {} : { exitCode }),
    ...(params.getLogs ? { logs: { complete, gaps: logGaps } } : {}),
  };
  const facts: StepFacts = { finishedAt: now(), ...podFacts(pod), cursors, logGaps };
  const over = (outcome: Outcome): StepOutcome => ({ kind: 'over', outcome: { ...common, ...outcome }, facts });
  // Skip codes apply before failure, and to 0 as well; a time-out has no exit code of its own.
  if (event.kind !== 'timeout' && exitCode !== undefined && [params.skipOnExitCode ?? []].flat().includes(exitCode))
    return over({ ...(await salvageResult(read, pod)), state: 'skipped' });
  if (event.kind === 'success') {
    if (!params.doXcomPush) return over({ state: 'succeeded' });
    const { kind, fields } = await takeResult(read, pod);
    return over({ ...fields, state: kind === 'failed' ? 'failed' : 'succeeded' });
  }
  // An exit code needs no explanation; what kept a container from running is in the pod's events.
  const events = params.logEventsOnFailure || exitCode === undefined ? await eventsOf(step, pod) : undefined;
  await storeFailure(step, pod, events);
  const diagnosis = diagnose(event, { events }) ?? diagnosisOf('TERMINATED_UNKNOWN', { pod });
  return over({ ...(await salvageResult(read, pod)), state: 'failed', diagnosis });
}

/** The triggerer could not watch the pod. A pod that has ended decides; a live one is waited for again, a few times. */
async function afterError(step: PodStep, event: TriggerEvent): Promise<StepOutcome> {
  const { context, cluster } = step;
  const { state, now } = context;
  const over: StepOutcome = { kind: 'over', outcome: { state: 'failed', diagnosis: diagnosed(event) } };
  if (state.pod === undefined) return over;
  const pod = await cluster.findPod(state.pod);
  if (pod === undefined) return await ended(step, { ...event, kind: 'gone', reason: 'POD_DELETED' });
  // Deadlines are left to the triggerer, which is asked again.
  const judgement = judgePod({ terminal: true }, pod, now());
  if (judgement.kind === 'fire') return await ended(step, judgement.event);
  const redefers = typeof state.memo?.['redefers'] === 'number' ? state.memo['redefers'] : 0;
  if (event.reason === 'NOT_WATCHED' || redefers >= MAX_REDEFER_ATTEMPTS) return over;
  return waitAgain(context, pod, { memo: { ...state.memo, redefers: redefers + 1 } });
}

function diagnosed(event: TriggerEvent): NonNullable<Outcome['diagnosis']> {
  return diagnose(event) ?? diagnosisOf('TERMINATED_UNKNOWN');
}
