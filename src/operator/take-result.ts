/** What a run gives back: from the termination message, or from the sidecar's file. @see design §5 "Results", spec pod-operator §6.9 */
import { diagnosisOf } from '../core/run/diagnosis.ts';
import type { DiagnosisCode } from '../core/run/diagnosis.ts';
import { jsonProblem } from '../core/json-problem.ts';
import type { ContainerProjection, PodProjection } from '../core/pod/projection.ts';
import { XCOM } from '../core/pod/xcom-sidecar.ts';
import { KubernetesError } from '../errors.ts';
import type { Outcome } from '../wire/outcome.ts';
import { baseOf, refOf } from './deferral.ts';
import type { StepContext } from './operator.ts';
import type { PodParams } from './pod-params.ts';
import { storeResultText } from './result.ts';
import { extractXcomJson, type XComExchange, type XComProblem, XComRetrievalError, xcomSidecarOf } from './xcom.ts';

/** A kubelet keeps this much of a termination message, in bytes. */
const MAX_TERMINATION_MESSAGE_BYTES = 4096;
/** How often a step is put back because the sidecar could not be asked for the moment; then its result counts as unreadable. */
const MAX_PUT_BACKS = 5;

/** What became of the result of a container that ended with 0. */
export type ResultOutcome =
  | { readonly kind: 'taken'; readonly fields: Pick<Outcome, 'result' | 'resultRef'> }
  /** There is none: said beside the success, unless there need not be one. */
  | { readonly kind: 'none'; readonly fields: Pick<Outcome, 'diagnosis'> }
  /** There is something that cannot be given: a run that asked for its result has failed without it. */
  | { readonly kind: 'failed'; readonly fields: Required<Pick<Outcome, 'diagnosis'>> };

const CODES: Readonly<Record<XComProblem, DiagnosisCode>> = {
  invalid: 'RESULT_INVALID',
  tooLarge: 'RESULT_TOO_LARGE',
  unreadable: 'RESULT_UNREADABLE',
};

/**
 * The result of a run whose base container ended with 0. The termination message is asked first (not with `xcomMode: sidecar`): JSON in it is the
 * result, and the file is not read. The sidecar stays: until the result is stored, a repeated step must find it as the first one did.
 * @throws KubernetesError for what may pass: the step is put back and repeated
 */
export async function takeResult(
  context: StepContext<PodParams>,
  params: PodParams,
  pod: PodProjection,
): Promise<ResultOutcome> {
  const { state } = context;
  const container = baseOf(pod);
  if (!params.doXcomPush) return { kind: 'none', fields: {} };
  const sidecar = xcomSidecarOf(pod.containers);
  const exchange = exchangeOf(context, pod);
  if (params.xcomMode !== 'sidecar') {
    const message = container?.message?.trim() ?? '';
    if (message !== '' && jsonProblem(message) === undefined)
      return { kind: 'taken', fields: await storeResultText(context, message) };
    // A pod without a sidecar has no other way, as wanted or because it is older than the wish.
    if (params.xcomMode === 'message' || sidecar === undefined) return withoutMessage(message, container);
  }
  const failed = (code: DiagnosisCode, message: string): ResultOutcome => ({
    kind: 'failed',
    fields: { diagnosis: diagnosisOf(code, { container, message }) },
  });
  if (sidecar?.state !== 'running') return failed('RESULT_UNREADABLE', whyNotRunning(sidecar));
  try {
    const text = await extractXcomJson(exchange);
    if (text !== XCOM.emptyResult) return { kind: 'taken', fields: await storeResultText(context, text.trim()) };
    const why = `${XCOM.resultFile} is empty or was not written`;
    return { kind: 'none', fields: { diagnosis: diagnosisOf('RESULT_INVALID', { container, message: why }) } };
  } catch (error) {
    if (error instanceof XComRetrievalError) return failed(CODES[error.problem], error.message);
    // Credentials that have expired are waited for, however long: the run is not to blame. @see spec pod-operator §4.7
    if (!(error instanceof KubernetesError) || error.fault === 'unauthorized') throw error;
    if ((state.naks ?? 0) < MAX_PUT_BACKS) throw error;
    return failed('RESULT_UNREADABLE', error.message);
  }
}

/**
 * What a run that did not succeed had written all the same; nothing where it cannot be had. Never fails.
 */
export async function salvageResult(
  context: StepContext<PodParams>,
  params: PodParams,
  pod: PodProjection,
): Promise<Pick<Outcome, 'result' | 'resultRef'>> {
  const sidecar = xcomSidecarOf(pod.containers);
  if (!params.doXcomPush || sidecar?.state !== 'running') return {};
  const exchange = exchangeOf(context, pod);
  try {
    const text = await extractXcomJson(exchange);
    return text === XCOM.emptyResult ? {} : await storeResultText(context, text.trim());
  } catch (error) {
    if (error instanceof KubernetesError ? error.fault === 'unauthorized' : !(error instanceof XComRetrievalError))
      throw error;
    context.log.info({ pod: pod.name, err: error }, 'the failed run left no result that could be read');
    return {};
  }
}

function exchangeOf(context: StepContext<PodParams>, pod: PodProjection): XComExchange {
  return { cluster: context.cluster(pod.connection), pod: refOf(pod), log: context.log };
}

/** Where only a message could be: what is wrong with it, said beside the success. */
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
      return `the result sidecar ended${sidecar.exitCode === undefined ? '' : ` with ${String(sidecar.exitCode)}`} before it was asked`;
  }
}
