/** A run's result: taken from the termination message or from the sidecar's file, and stored. */
import { z } from 'zod';
import { jsonProblem } from '../core/json-problem.ts';
import { baseContainerOf, type ContainerProjection, type PodProjection, podRef } from '../core/pod/projection.ts';
import { XCOM } from '../core/pod/xcom-sidecar.ts';
import { diagnosisOf, type DiagnosisCode } from '../core/run/diagnosis.ts';
import { KubernetesError } from '../errors.ts';
import type { ResultStore } from '../ports/stores.ts';
import { MAX_INLINE_RESULT_BYTES, type Outcome, type ResultRef } from '../wire/outcome.ts';
import type { RunKey } from '../wire/subjects.ts';
import type { PodStep } from './pod-step.ts';
import { readPeriodMs, repeatRead } from './unread.ts';
import { extractXcomJson, type XComProblem, XComRetrievalError, xcomSidecarOf } from './xcom.ts';

/** The kubelet truncates termination messages to this length, in bytes. */
const MAX_TERMINATION_MESSAGE_BYTES = 4096;

/** The result of a container that ended with 0. */
export type ResultOutcome =
  | { readonly kind: 'taken'; readonly fields: Pick<Outcome, 'result' | 'resultRef'> }
  /** There is none: reported with the success. */
  | { readonly kind: 'none'; readonly fields: Pick<Outcome, 'diagnosis'> }
  /** There is one that cannot be returned: a run that requested its result fails without it. */
  | { readonly kind: 'failed'; readonly fields: Required<Pick<Outcome, 'diagnosis'>> };

const CODES: Readonly<Record<XComProblem, DiagnosisCode>> = {
  invalid: 'RESULT_INVALID',
  tooLarge: 'RESULT_TOO_LARGE',
  unreadable: 'RESULT_UNREADABLE',
};

/**
 * The result of a run with `doXcomPush` whose base container ended with 0. JSON in the termination message is the result, and the file is not read, except
 * with `xcomMode: sidecar`. The sidecar keeps running: until the result is stored, a repeated step must find it.
 * @throws UnreadError while the API server cannot answer, for a limited time; KubernetesError for expired credentials, without limit
 */
export async function takeResult({ context, params, cluster }: PodStep, pod: PodProjection): Promise<ResultOutcome> {
  const { log } = context;
  const container = baseContainerOf(pod);
  const sidecar = xcomSidecarOf(pod.containers);
  if (params.xcomMode !== 'sidecar') {
    const message = container?.message?.trim() ?? '';
    if (message !== '' && jsonProblem(message) === undefined)
      return { kind: 'taken', fields: await storeResultText(context, message) };
    // Without a sidecar there is no other source.
    if (params.xcomMode === 'message' || sidecar === undefined) return withoutMessage(message, container);
  }
  const failed = (code: DiagnosisCode, message: string): ResultOutcome => ({
    kind: 'failed',
    fields: { diagnosis: diagnosisOf(code, { container, message }) },
  });
  if (sidecar?.state !== 'running') return failed('RESULT_UNREADABLE', whyNotRunning(sidecar));
  try {
    const text = await extractXcomJson({ cluster, pod: podRef(pod), log });
    if (text !== XCOM.emptyResult) return { kind: 'taken', fields: await storeResultText(context, text.trim()) };
    const why = `${XCOM.resultFile} is empty or was not written`;
    return { kind: 'none', fields: { diagnosis: diagnosisOf('RESULT_INVALID', { container, message: why }) } };
  } catch (error) {
    if (error instanceof XComRetrievalError) return failed(CODES[error.problem], error.message);
    // Expired credentials are not the run's failure: the step waits for new ones without limit.
    if (!(error instanceof KubernetesError) || error.fault === 'unauthorized') throw error;
    repeatRead(context, error, readPeriodMs(pod));
    return failed('RESULT_UNREADABLE', error.message);
  }
}

/**
 * The result that a run wrote although it did not succeed; empty where it cannot be read.
 * @throws UnreadError while the API server cannot answer, for a limited time; KubernetesError for expired credentials, without limit
 */
export async function salvageResult(
  { context, params, cluster }: PodStep,
  pod: PodProjection,
): Promise<Pick<Outcome, 'result' | 'resultRef'>> {
  const sidecar = xcomSidecarOf(pod.containers);
  if (!params.doXcomPush || sidecar?.state !== 'running') return {};
  try {
    const text = await extractXcomJson({ cluster, pod: podRef(pod), log: context.log });
    return text === XCOM.emptyResult ? {} : await storeResultText(context, text.trim());
  } catch (error) {
    if (error instanceof KubernetesError ? error.fault === 'unauthorized' : !(error instanceof XComRetrievalError))
      throw error;
    repeatRead(context, error, readPeriodMs(pod));
    context.log.info({ pod: pod.name, err: error }, 'no result could be read of a run that did not succeed');
    return {};
  }
}

/** What is wrong with the termination message, where it is the only source of a result. */
function withoutMessage(message: string, container: ContainerProjection | undefined): ResultOutcome {
  const cut = Buffer.byteLength(message) >= MAX_TERMINATION_MESSAGE_BYTES;
  const why =
    message === ''
      ? 'the termination message is empty'
      : cut
        ? 'the termination message was cut at 4 KiB'
        : 'the termination message is not JSON';
  const diagnosis = diagnosisOf(cut ? 'RESULT_TOO_LARGE' : 'RESULT_INVALID', { container, message: why });
  return { kind: 'none', fields: { diagnosis } };
}

function whyNotRunning(sidecar: ContainerProjection | undefined): string {
  switch (sidecar?.state) {
    case undefined:
    case 'running':
      return 'the pod has no result sidecar';
    case 'waiting':
      return `the result sidecar has not started${sidecar.reason === undefined ? '' : ` (${sidecar.reason})`}`;
    case 'terminated':
      return `the result sidecar ended${sidecar.exitCode === undefined ? '' : ` with ${String(sidecar.exitCode)}`} before its file was read`;
  }
}

/** Name of a result object. */
const RESULT_NAME = 'return_value';

/** A result as fields of an outcome: inline, or by reference when larger than `MAX_INLINE_RESULT_BYTES`. */
export type StoredResult = { readonly result: z.core.util.JSONType } | { readonly resultRef: ResultRef };

/** Stores a result of the present attempt. Safe to repeat: the object is named by run and attempt. */
export async function storeResult(
  { run, results, state }: { readonly run: RunKey; readonly results: ResultStore; readonly state: { attempt: number } },
  result: z.core.util.JSONType,
): Promise<StoredResult> {
  const data = new TextEncoder().encode(JSON.stringify(result));
  if (data.byteLength <= MAX_INLINE_RESULT_BYTES) return { result };
  return { resultRef: await results.put(run, state.attempt, RESULT_NAME, data) };
}

/** The same for a result that is JSON text already: stored as an object, it stays as it is, byte by byte. */
async function storeResultText(
  { run, results, state }: Parameters<typeof storeResult>[0],
  text: string,
): Promise<StoredResult> {
  const data = new TextEncoder().encode(text);
  // A number beyond a double (1e400 would become null) cannot be inline: as an object the text stays as it is.
  const value = data.byteLength <= MAX_INLINE_RESULT_BYTES ? z.json().safeParse(JSON.parse(text)) : undefined;
  if (value?.success === true) return { result: value.data };
  return { resultRef: await results.put(run, state.attempt, RESULT_NAME, data) };
}
