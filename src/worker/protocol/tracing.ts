/** The spans of a run: one trace across all processes. Names and attributes of spans are defined here only. */
import type { Span, Tracer } from '../../ports/ambient.ts';
import type { RunState } from '../../wire/run-state.ts';
import type { RunKey } from '../../wire/subjects.ts';
import { messageOf } from '../../errors.ts';

/** Names of spans. */
export const SPANS = {
  /** A request was checked and published by service `submit`. */
  submit: 'reentry.submit',
  /** The request became a run. All later spans are its children. */
  intake: 'reentry.intake',
  /** Lane `start`: the pod is made. */
  launch: 'reentry.launch',
  /** From the pod's launch to the re-entry: no worker is involved. */
  wait: 'reentry.wait',
  /** Lane `resume`: `triggerReentry`. */
  resume: 'reentry.resume',
  /** A cancel stops the pod. */
  cancel: 'reentry.cancel',
  /** From the last re-entry to the stored end. */
  complete: 'reentry.complete',
} as const;

/** Records nothing and passes the trace context on: no endpoint is configured. */
export const NO_TRACER: Tracer = {
  start: (_name, { parent }) => ({ traceparent: parent, end: () => undefined }),
};

/** A run's attributes, without its parameters. */
export function attributesOf({ tenant, runId }: RunKey, state?: RunState): Readonly<Record<string, string | number>> {
  return {
    'reentry.tenant': tenant,
    'reentry.run_id': runId,
    ...(state === undefined
      ? {}
      : { 'reentry.queue': state.queue, 'reentry.attempt': state.attempt, 'reentry.step': state.step }),
  };
}

/** A span of a run that has a trace; without one, nothing. */
export function runSpan(
  tracer: Tracer,
  name: (typeof SPANS)[keyof typeof SPANS],
  run: RunKey,
  state: RunState,
  startedAtMs?: number,
): Span {
  return tracer.start(name, {
    parent: state.trace,
    attributes: attributesOf(run, state),
    ...(startedAtMs === undefined ? {} : { startedAtMs }),
  });
}

/** Runs `work` inside a span, which ends with it; an error is recorded on the span. */
export async function within<T>(span: Span, work: () => Promise<T>): Promise<T> {
  try {
    const answer = await work();
    span.end();
    return answer;
  } catch (error) {
    span.end({ error: messageOf(error) });
    throw error;
  }
}
