/** How runs look on a terminal. */
import colours from 'picocolors';
import type { RunStatus } from '../client/index.ts';
import type { Diagnosis } from '../wire/messages.ts';

/** Colours or none. */
export type Paint = ReturnType<typeof colours.createColors>;

/** Colours where `colour`. */
export function paintFor(colour: boolean): Paint {
  return colours.createColors(colour);
}

/** A state or phase, in its colour. */
export function state(paint: Paint, word: string): string {
  switch (word.toLowerCase()) {
    case 'succeeded':
      return paint.green(word);
    case 'failed':
      return paint.red(word);
    case 'skipped':
    case 'cancelled':
      return paint.yellow(word);
    default:
      return paint.cyan(word);
  }
}

/** How long ago, or how long something took: `12 ms`, `3.4 s`, `5 min`, `2 h`, `4 d`. */
export function span(ms: number): string {
  if (ms < 1_000) return `${String(Math.max(0, Math.round(ms)))} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)} s`;
  if (ms < 3_600_000) return `${String(Math.round(ms / 60_000))} min`;
  if (ms < 172_800_000) return `${String(Math.round(ms / 3_600_000))} h`;
  return `${String(Math.round(ms / 86_400_000))} d`;
}

/** The "why", in full. */
export function diagnosisLines(paint: Paint, diagnosis: Diagnosis): readonly string[] {
  return [
    `${paint.bold(diagnosis.code)} (${diagnosis.category}): ${diagnosis.summary}`,
    ...(diagnosis.problems ?? []).map(({ path, message }) => `  ${path}: ${message}`),
    ...diagnosis.evidence.map(({ kind, text }) => `  ${paint.dim(`${kind}:`)} ${text}`),
    ...(diagnosis.hint === undefined ? [] : [`  ${paint.dim('hint:')} ${diagnosis.hint}`]),
  ];
}

/** One run, one fact a line. */
export function statusLines(paint: Paint, run: RunStatus, now: number): readonly string[] {
  const fact = (name: string, value: string | undefined): string[] =>
    value === undefined ? [] : [`${paint.dim(name.padEnd(9))} ${value}`];
  const { outcome, pod, timings } = run;
  return [
    ...fact('run', run.runId),
    ...fact(
      'phase',
      state(paint, run.phase) + (run.cancelRequested === true ? paint.yellow(' (cancel asked for)') : ''),
    ),
    ...fact('operator', `${run.operator} on queue ${run.queue}`),
    ...fact('attempt', String(run.attempt)),
    ...fact('priority', run.priority),
    ...fact('key', run.concurrencyKey),
    ...fact('waits for', run.waitingFor),
    ...fact('pod', pod === undefined ? undefined : `${pod.namespace}/${pod.name} (${pod.connection})`),
    ...fact('exit code', outcome?.exitCode === undefined ? undefined : String(outcome.exitCode)),
    ...fact('result', outcome?.result === undefined ? undefined : JSON.stringify(outcome.result)),
    ...fact('accepted', timings['acceptedAt'] === undefined ? undefined : `${span(now - timings['acceptedAt'])} ago`),
    ...fact(
      'completed',
      timings['completedAt'] === undefined ? undefined : `${span(now - timings['completedAt'])} ago`,
    ),
    ...(run.blocked === undefined ? [] : ['', ...diagnosisLines(paint, run.blocked)]),
    ...(outcome?.diagnosis === undefined ? [] : ['', ...diagnosisLines(paint, outcome.diagnosis)]),
  ];
}
