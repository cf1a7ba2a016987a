/**
 * The one place where a pod is judged before it is created, whoever made it: on the final manifest, so that no template, full pod spec,
 * override or trick of JSON gets around it. Operators and executors pass through here. @see design §5 "Security"
 */
import { ambiguities, restartsInSpec } from './manifest-problems.ts';
import { diagnosisOf } from '../core/run/diagnosis.ts';
import { type JsonRecord, recordIn, textIn } from '../core/json.ts';
import { namespaceProblem } from '../core/pod/names.ts';
import { allowsHost, type Policy, refusedByPolicy, tenantPolicy } from './policy.ts';
import { shortProblem, shortText } from '../core/short-text.ts';
import { type PodSecurity, refusedInMetadata, refusedInSpec } from '../core/pod/pod-security.ts';
import type { XcomSidecarSettings } from '../core/pod/xcom-sidecar.ts';
import type { Problem } from '../errors.ts';
import type { Cluster } from '../ports/cluster.ts';
import type { StepContext, StepOutcome } from '../operator/operator.ts';

/** What pods are held to; nothing of it comes from a request. */
export interface AdmissionRules {
  readonly podSecurity: PodSecurity;
  /** The policy as it is now; absent: every tenant may do what `podSecurity` allows. */
  readonly policy?: (() => Policy) | undefined;
}

/** For whom and where a pod is to be created. */
export interface AdmissionPlace {
  readonly tenant: string;
  /** `undefined`: not known yet, then not judged. */
  readonly connection: string | undefined;
  /** Of pods that name none; `undefined`: not known yet, then not judged. */
  readonly defaultNamespace: string | undefined;
  /** Namespaces the installation watches; `undefined`: all. */
  readonly watched: readonly string[] | undefined;
  /** How the connection has results carried: what it configures is the installation's. Absent: as shipped, or not known yet. */
  readonly sidecar?: XcomSidecarSettings | undefined;
}

/** The place of a run's pod on a cluster. */
export function placeOf(
  { run, namespaces }: Pick<StepContext<unknown>, 'run' | 'namespaces'>,
  { connection, namespace, xcomSidecar }: Pick<Cluster, 'connection' | 'namespace' | 'xcomSidecar'>,
): AdmissionPlace {
  return { tenant: run.tenant, connection, defaultNamespace: namespace, watched: namespaces, sidecar: xcomSidecar };
}

/** Why a pod is not admitted. */
export interface AdmissionRefusal {
  readonly code: 'INVALID_REQUEST' | 'POLICY_REFUSED' | 'NAMESPACE_NOT_WATCHED';
  /** The namespace, where it is about that. */
  readonly subject?: string;
  readonly problems: readonly Problem[];
}

/** Problems told at a time: a pod of a thousand containers has thousands, and they are kept with the run. */
const MAX_PROBLEMS = 20;

const ruled = ({ path, message, rule }: { path: string; message: string; rule: string }): Problem => {
  const told = shortProblem({ path, message: shortText(message) });
  return { ...told, message: `${told.message} (rule ${rule})` };
};

/** Judges a final manifest: everything that is wrong with it at once, or `undefined`. Pure but for reading the policy. */
export function refusedAtAdmission(
  manifest: JsonRecord,
  { podSecurity, policy }: AdmissionRules,
  { tenant, connection, defaultNamespace, watched, sidecar }: AdmissionPlace,
): AdmissionRefusal | undefined {
  const unclear = [...ambiguities(manifest), ...restartsInSpec(manifest['spec'])];
  if (unclear.length > 0)
    return { code: 'INVALID_REQUEST', problems: unclear.slice(0, MAX_PROBLEMS).map(shortProblem) };
  const metadata = recordIn(manifest, 'metadata');
  const named = textIn(metadata, 'namespace') ?? '';
  const misnamed = named === '' ? undefined : namespaceProblem(named);
  if (misnamed !== undefined)
    return { code: 'INVALID_REQUEST', problems: [{ path: 'pod.metadata.namespace', message: misnamed }] };
  const current = policy?.();
  const own = current === undefined ? undefined : tenantPolicy(current, tenant);
  if (current !== undefined && own === undefined) {
    const message = `tenant ${tenant} has no rules in the policy, and there is no default (rule default)`;
    return { code: 'POLICY_REFUSED', problems: [{ path: '$', message }] };
  }
  const unsafe =
    podSecurity === 'privileged'
      ? []
      : [
          ...refusedInSpec(recordIn(manifest, 'spec'), 'pod.spec', podSecurity),
          ...refusedInMetadata(metadata, 'pod.metadata'),
        ].filter(({ thing }) => thing === undefined || !allowsHost(own?.rules.host, thing));
  const namespace = textIn(metadata, 'namespace') ?? defaultNamespace;
  const forbidden =
    own === undefined ? [] : refusedByPolicy(manifest, { namespace, connection, sidecar, podSecurity }, own);
  if (unsafe.length > 0 || forbidden.length > 0) {
    const level = `podSecurity.${podSecurity}`;
    const problems = [
      ...unsafe.map(({ path, message }) => ruled({ path, message, rule: level })),
      ...forbidden.map(ruled),
    ];
    return {
      code: forbidden.length > 0 ? 'POLICY_REFUSED' : 'INVALID_REQUEST',
      problems: problems.slice(0, MAX_PROBLEMS),
    };
  }
  if (namespace !== undefined && watched !== undefined && !watched.includes(namespace))
    return { code: 'NAMESPACE_NOT_WATCHED', subject: namespace, problems: [] };
  return undefined;
}

/** A refusal as the end of a run. */
export function admissionOutcome({ code, subject, problems }: AdmissionRefusal): StepOutcome {
  const diagnosis = diagnosisOf(code, subject === undefined ? { problems } : { subject, problems });
  return { kind: 'over', outcome: { state: 'failed', diagnosis } };
}
