/** Lane `resume`: what a trigger's event means for the run. @see spec pod-operator §5.7 */
import { diagnose, diagnosisOf } from '../core/run/diagnosis.ts';
import { hasStarted, judgePod, podVerdict } from '../core/pod/judge.ts';
import type { PodProjection } from '../core/pod/projection.ts';
import type { TriggerEvent } from '../wire/triggers.ts';
import { again, baseOf, factsOf, timesOf } from './deferral.ts';
import { readLogs, storeFailure } from './logs/step.ts';
import type { StepFacts, StepOutcome } from './operator.ts';
import type { PodParams } from './pod-params.ts';
import type { PodStep } from './pod-step.ts';
import { salvageResult, takeResult } from './take-result.ts';

/** How often an `error` event may find the pod alive and wait again. @see spec pod-operator §5.7 */
const MAX_REDEFER_ATTEMPTS = 3;

/** The seed's `trigger_reentry`: waits again, or says how the attempt ended. Safe to repeat. */
export async function reenter(step: PodStep, event: TriggerEvent): Promise<StepOutcome> {
  const { pod } = event;
  await step.callbacks.resuming(pod ?? step.context.state.pod, event);
  switch (event.kind) {
    case 'running':
      return await stillRunning(step, event);
    case 'timer':
      return again(step.context, pod);
    case 'success':
      return await ended(step, event);
    case 'failed':
    case 'timeout':
      return event.reason === 'EXECUTION_TIMEOUT' ? await ended(step, event) : await endedByNow(step, event);
    case 'gone': {
      // A pod that had ended keeps its verdict, whoever took it away afterwards.
      const verdict = pod === undefined ? undefined : podVerdict(pod);
      if (verdict?.kind === 'success') return await ended(step, { ...event, kind: 'success' });
      return await ended(step, event);
    }
    case 'error':
      return await afterError(step, event);
  }
}

/** The logging interval is over: store what is there, and wait again. */
async function stillRunning(step: PodStep, event: TriggerEvent): Promise<StepOutcome> {
  const { context, params, pods } = step;
  if (!params.getLogs || context.state.pod === undefined) return again(context, event.pod);
  // A run that keeps its slot is told of the time only.
  const pod = event.pod ?? (await pods.readPod(context.state.pod));
  if (pod === undefined) return again(context, undefined);
  const started = await startedNow(step, pod);
  const waiting = again(context, pod, await readLogs(step, pod));
  return waiting.kind === 'defer' ? { ...waiting, facts: { ...waiting.facts, ...started } } : waiting;
}

/** Tells the callbacks, once, that the pod of a run which keeps its slot has begun. */
async function startedNow({ context, params, callbacks }: PodStep, pod: PodProjection): Promise<Partial<StepFacts>> {
  const { memo } = context.state;
  if (params.deferrable || callbacks.calls.isEmpty || !hasStarted(pod) || memo?.['started'] === true) return {};
  await callbacks.pod(pod, 'onPodStarting');
  return { memo: { ...memo, started: true } };
}

/**
 * An event may be older than what the pod is now: workers were away, and the image came after all. Whatever is not the base container's own end is
 * looked at once more. A start that was late and has happened is waited for on. @see lessons A11, D2
 */
async function endedByNow(step: PodStep, event: TriggerEvent): Promise<StepOutcome> {
  const { context, pods } = step;
  const known = event.pod;
  if (known === undefined || baseOf(known)?.state === 'terminated') return await ended(step, event);
  const pod = await pods.readPod(known);
  if (pod === undefined) return await ended(step, event);
  const judgement = judgePod(context.state.await ?? { terminal: true }, pod, context.now());
  if (judgement.kind === 'fire') return await ended(step, judgement.event);
  // Pending is also a pod whose base container has ended while its result sidecar has yet to start.
  const hasBegun = hasStarted(pod) || podVerdict(pod).kind !== 'open';
  if (event.kind === 'failed' || hasBegun) return again(context, pod);
  return await ended(step, event);
}

async function ended(step: PodStep, event: TriggerEvent): Promise<StepOutcome> {
  const { context, params, pods, callbacks } = step;
  const { state, now } = context;
  const { pod } = event;
  if (pod === undefined) {
    const diagnosis = diagnose(event) ?? diagnosisOf('TERMINATED_UNKNOWN');
    return {
      kind: 'over',
      outcome: { state: 'failed', diagnosis, logs: { complete: false, gaps: state.logGaps ?? 0 } },
    };
  }
  await startedNow(step, pod);
  const logs = await readLogs(step, pod);
  await callbacks.pod(pod, 'onPodCompletion', 'onPodTeardown');
  const base = baseOf(pod);
  const exitCode = base?.state === 'terminated' ? base.exitCode : undefined;
  const facts: StepFacts = { finishedAt: now(), ...timesOf(pod), ...factsOf(logs, state.logGaps) };
  const common = {
    ...(exitCode === undefined ? {} : { exitCode }),
    ...(params.getLogs ? { logs: { complete: logs.complete, gaps: logs.gaps + (state.logGaps ?? 0) } } : {}),
  };
  // Skipping is asked before failure, and also of a success; a time-out has no exit code of its own.
  if (event.kind !== 'timeout' && exitCode !== undefined && skipCodes(params).includes(exitCode))
    return {
      kind: 'over',
      outcome: { ...common, ...(await salvageResult(context, params, pod)), state: 'skipped' },
      facts,
    };
  if (event.kind === 'success') {
    const { kind, fields } = await takeResult(context, params, pod);
    return {
      kind: 'over',
      outcome: { ...common, ...fields, state: kind === 'failed' ? 'failed' : 'succeeded' },
      facts,
    };
  }
  // An exit code explains itself; whatever kept a container from running is in the pod's events.
  const events = params.logEventsOnFailure || exitCode === undefined ? await pods.readEvents(pod) : undefined;
  await storeFailure(step, pod, events);
  const diagnosis = diagnose(event, { events }) ?? diagnosisOf('TERMINATED_UNKNOWN', { pod });
  const result = await salvageResult(context, params, pod);
  return { kind: 'over', outcome: { ...common, ...result, state: 'failed', diagnosis }, facts };
}

/** The trigger could not watch. What the pod says counts; alive, it is waited for again, a few times. @see spec pod-operator §5.7 */
async function afterError(step: PodStep, event: TriggerEvent): Promise<StepOutcome> {
  const { context, pods } = step;
  const { state, now } = context;
  const diagnosis = diagnose(event) ?? diagnosisOf('TERMINATED_UNKNOWN');
  const over: StepOutcome = { kind: 'over', outcome: { state: 'failed', diagnosis } };
  if (state.pod === undefined) return over;
  const pod = await pods.readPod(state.pod);
  if (pod === undefined) return await ended(step, { ...event, kind: 'gone', reason: 'POD_DELETED' });
  // Deadlines are the triggerer's: it is asked again.
  const judgement = judgePod({ terminal: true }, pod, now());
  if (judgement.kind === 'fire') return await ended(step, judgement.event);
  const redefers = typeof state.memo?.['redefers'] === 'number' ? state.memo['redefers'] : 0;
  if (event.reason === 'NOT_WATCHED' || redefers >= MAX_REDEFER_ATTEMPTS) return over;
  const waiting = again(context, pod);
  return waiting.kind === 'defer'
    ? { ...waiting, facts: { ...waiting.facts, memo: { ...state.memo, redefers: redefers + 1 } } }
    : waiting;
}

function skipCodes({ skipOnExitCode }: PodParams): readonly number[] {
  if (typeof skipOnExitCode === 'number') return [skipOnExitCode];
  return skipOnExitCode ?? [];
}
