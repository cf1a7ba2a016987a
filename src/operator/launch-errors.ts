/** What a refusal of the API at launch means for the run. @see spec protocol §5 "Create refused" */
import { diagnosisOf, type DiagnosisCode } from '../core/run/diagnosis.ts';
import { KubernetesError, type KubernetesFault } from '../errors.ts';
import type { StepOutcome } from './operator.ts';

type Answer = { readonly code: DiagnosisCode } & (
  { readonly over: true } | { readonly over: false; readonly delayMs: number }
);

const later = (code: DiagnosisCode, delayMs: number): Answer => ({ code, over: false, delayMs });

const ANSWERS: Readonly<Record<Exclude<KubernetesFault, 'unknownOutcome'>, Answer>> = {
  invalid: { code: 'INVALID_REQUEST', over: true },
  forbidden: { code: 'PERMISSION_DENIED', over: true },
  notFound: { code: 'NAMESPACE_NOT_FOUND', over: true },
  // Whoever renews the connection's credentials may take a while; the run is not to blame. @see lessons H1
  unauthorized: later('API_UNAUTHORIZED', 10_000),
  quota: later('QUOTA_EXCEEDED', 30_000),
  throttled: later('API_THROTTLED', 2_000),
  unavailable: later('API_UNAVAILABLE', 5_000),
  // A pod of that name vanished between the create and the look at it: the next create will tell.
  alreadyExists: later('API_UNAVAILABLE', 1_000),
  conflict: later('QUOTA_EXCEEDED', 500),
  expired: later('API_UNAVAILABLE', 1_000),
};

/**
 * The step's outcome for a failed launch; `undefined` for an error that is none of the API's, and for a create whose fate is open:
 * there may be a pod, so the run must not go back to waiting without one. Its message comes again and meets the pod by its name.
 */
export function launchRefused(error: unknown, namespace: string, now: number): StepOutcome | undefined {
  if (!(error instanceof KubernetesError) || error.fault === 'unknownOutcome') return undefined;
  const terminating =
    error.fault === 'forbidden' && /being terminated|NamespaceTerminating/i.test(`${error.reason} ${error.message}`);
  const answer: Answer = terminating ? { code: 'NAMESPACE_NOT_FOUND', over: true } : ANSWERS[error.fault];
  const why = diagnosisOf(answer.code, {
    message: error.message,
    subject: namespace,
    ...(error.problems.length === 0 ? {} : { problems: error.problems }),
  });
  if (answer.over) return { kind: 'over', outcome: { state: 'failed', diagnosis: why } };
  const delayMs = Math.max(answer.delayMs, error.retryAfterMs ?? 0);
  return { kind: 'later', notBefore: now + delayMs, why, infrastructure: false };
}
