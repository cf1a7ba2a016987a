/** Text and colours of runs on a terminal. */
import colours from 'picocolors';
import type { RunStatus } from '../client/index.ts';
import type { Diagnosis } from '../wire/outcome.ts';

/** Colour functions; without colour they return their argument. */
export type Paint = ReturnType<typeof colours.createColors>;

/** Colour functions, with or without colour. */
export function paintFor(colour: boolean): Paint {
  return colours.createColors(colour);
}

/** Control characters, except line feed and tab, and those that change the direction of text. */

const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Text from elsewhere, safe to print: control characters are escaped, so that names and messages cannot control the terminal. */
export function plain(text: string): string {
  return text.replace(CONTROLS, (control) => `\\u${control.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** A state or phase in its colour. */
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

/** A duration: `12 ms`, `3.4 s`, `5 min`, `2 h`, `4 d`. */
export function span(ms: number): string {
  if (ms < 1_000) return `${String(Math.max(0, Math.round(ms)))} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)} s`;
  if (ms < 3_600_000) return `${String(Math.round(ms / 60_000))} min`;
  if (ms < 172_800_000) return `${String(Math.round(ms / 3_600_000))} h`;
  return `${String(Math.round(ms / 86_400_000))} d`;
}

/** A diagnosis with problems, evidence and hint. */
export function diagnosisLines(paint: Paint, diagnosis: Diagnosis): readonly string[] {
  return [
    `${paint.bold(diagnosis.code)} (${diagnosis.category}): ${plain(diagnosis.summary)}`,
    ...(diagnosis.problems ?? []).map(({ path, message }) => plain(`  ${path}: ${message}`)),
    ...diagnosis.evidence.map(({ kind, text }) => `  ${paint.dim(`${kind}:`)} ${plain(text)}`),
    ...(diagnosis.hint === undefined ? [] : [`  ${paint.dim('hint:')} ${diagnosis.hint}`]),
  ];
}

/** The status of a run, one fact per line. */
export function statusLines(paint: Paint, run: RunStatus, now: number): readonly string[] {
  const fact = (name: string, value: string | undefined): string[] =>
    value === undefined ? [] : [`${paint.dim(name.padEnd(9))} ${value}`];
  const { outcome, lastOutcome, pod, timings } = run;
  return [
    ...fact('run', plain(run.runId)),
    ...fact(
      'phase',
      state(paint, run.phase) + (run.cancelRequested === true ? paint.yellow(' (cancel requested)') : ''),
    ),
    ...fact('operator', plain(`${run.operator} on queue ${run.queue}`)),
    ...fact('attempt', String(run.attempt)),
    ...fact('priority', run.priority),
    ...fact('key', run.concurrencyKey === undefined ? undefined : plain(run.concurrencyKey)),
    ...fact('waits for', run.waitingFor === undefined ? undefined : plain(run.waitingFor)),
    ...fact('pod', pod === undefined ? undefined : `${pod.namespace}/${pod.name} (${pod.connection})`),
    ...fact('exit code', outcome?.exitCode === undefined ? undefined : String(outcome.exitCode)),
    ...fact('result', outcome?.result === undefined ? undefined : plain(JSON.stringify(outcome.result))),
    ...fact('accepted', timings['acceptedAt'] === undefined ? undefined : `${span(now - timings['acceptedAt'])} ago`),
    ...fact(
      'completed',
      timings['completedAt'] === undefined ? undefined : `${span(now - timings['completedAt'])} ago`,
    ),
    ...(run.blocked === undefined ? [] : ['', ...diagnosisLines(paint, run.blocked)]),
    ...(outcome?.diagnosis === undefined ? [] : ['', ...diagnosisLines(paint, outcome.diagnosis)]),
    ...(lastOutcome?.diagnosis === undefined
      ? []
      : ['', 'previous attempt:', ...diagnosisLines(paint, lastOutcome.diagnosis)]),
  ];
}
