/**
 * The check that every pod passes before it is created, whichever operator built it. It reads the final manifest, so templates, full pod specs
 * and overrides cannot bypass it. Operators call `checkManifest`; the rest of this room is behind it.
 */
import { type JsonRecord, recordIn, textIn } from '../core/json.ts';
import { dnsLabelProblem } from '../core/pod/names.ts';
import { type PodSecurity, refusedInMetadata, refusedInSpec } from '../core/pod/pod-security.ts';
import type { XcomSidecarSettings } from '../core/pod/xcom-sidecar.ts';
import { shortProblem, shortText } from '../core/short-text.ts';
import type { Problem } from '../errors.ts';
import type { Cluster } from '../ports/cluster.ts';
import { manifestProblems } from './manifest-problems.ts';
import { allowsHost, type Policy, refusedByPolicy, tenantPolicy } from './policy.ts';

/** What manifests are checked against. Configuration only: no part of it comes from a request. */
export interface ManifestRules {
  readonly podSecurity: PodSecurity;
  /** Gives the current policy. Absent: every tenant may do what `podSecurity` allows. */
  readonly policy?: (() => Policy | PolicyUnavailable) | undefined;
}

/** A policy is configured, but its file has not been valid since the process started: no pod may be created. */
export interface PolicyUnavailable {
  /** What is wrong with the file. */
  readonly unavailable: string;
}

/** For which tenant a pod is to be created, and where. */
export interface PodTarget {
  readonly tenant: string;
  /** `undefined`: not known yet, and not checked. */
  readonly connection: string | undefined;
  /** Namespace of pods that name none. `undefined`: not known yet, and not checked. */
  readonly defaultNamespace: string | undefined;
  /** Namespaces that the installation watches. `undefined`: all. */
  readonly watched: readonly string[] | undefined;
  /** The connection's settings of the XCom sidecar. Absent: the defaults, or not known yet. */
  readonly sidecar?: XcomSidecarSettings | undefined;
}

/** The target of a run's pod on a cluster. */
export function podTargetOf(
  { run, namespaces }: { readonly run: { readonly tenant: string }; readonly namespaces: PodTarget['watched'] },
  { connection, namespace, xcomSidecar }: Pick<Cluster, 'connection' | 'namespace' | 'xcomSidecar'>,
): PodTarget {
  return { tenant: run.tenant, connection, defaultNamespace: namespace, watched: namespaces, sidecar: xcomSidecar };
}

/** Why a manifest is refused; `code` is the diagnosis of its run. */
export interface ManifestRefusal {
  readonly code: 'INVALID_REQUEST' | 'POLICY_REFUSED' | 'POLICY_UNAVAILABLE' | 'NAMESPACE_NOT_WATCHED';
  /** The namespace that is not watched. */
  readonly subject?: string;
  /** What is wrong with the policy file. */
  readonly message?: string;
  readonly problems: readonly Problem[];
}

/** Most problems reported at once: a pod with a thousand containers can have thousands, and they are stored with the run. */
const MAX_PROBLEMS = 20;

const withRule = ({ path, message, rule }: { path: string; message: string; rule: string }): Problem => {
  const short = shortProblem({ path, message: shortText(message) });
  return { ...short, message: `${short.message} (rule ${rule})` };
};

const invalid = (problems: readonly Problem[]): ManifestRefusal => ({ code: 'INVALID_REQUEST', problems });

/** Checks a final manifest: all problems at once, or `undefined` when the pod may be created. Pure, apart from reading the current policy. */
export function checkManifest(
  manifest: JsonRecord,
  { podSecurity, policy }: ManifestRules,
  { tenant, connection, defaultNamespace, watched, sidecar }: PodTarget,
): ManifestRefusal | undefined {
  const problems = manifestProblems(manifest);
  if (problems.length > 0) return invalid(problems.slice(0, MAX_PROBLEMS).map(shortProblem));
  const metadata = recordIn(manifest, 'metadata');
  const named = textIn(metadata, 'namespace');
  const misnamed = named === undefined ? undefined : dnsLabelProblem(named, 'namespace');
  if (misnamed !== undefined) return invalid([{ path: 'pod.metadata.namespace', message: misnamed }]);
  const current = policy?.();
  if (current !== undefined && 'unavailable' in current)
    return { code: 'POLICY_UNAVAILABLE', message: current.unavailable, problems: [] };
  const own = current === undefined ? undefined : tenantPolicy(current, tenant);
  if (current !== undefined && own === undefined) {
    const message = `the policy has no rules for tenant ${tenant} and no default; add either to the policy file (rule default)`;
    return { code: 'POLICY_REFUSED', problems: [{ path: '$', message }] };
  }
  const unsafe =
    podSecurity === 'privileged'
      ? []
      : [
          ...refusedInSpec(recordIn(manifest, 'spec'), 'pod.spec', podSecurity),
          ...refusedInMetadata(metadata, 'pod.metadata'),
        ].filter(({ thing }) => thing === undefined || !allowsHost(own?.rules.host, thing));
  const namespace = named ?? defaultNamespace;
  const forbidden =
    own === undefined ? [] : refusedByPolicy(manifest, { namespace, connection, sidecar, podSecurity }, own);
  if (unsafe.length > 0 || forbidden.length > 0)
    return {
      code: forbidden.length > 0 ? 'POLICY_REFUSED' : 'INVALID_REQUEST',
      problems: [
        ...unsafe.map(({ path, message }) => withRule({ path, message, rule: `podSecurity.${podSecurity}` })),
        ...forbidden.map(withRule),
      ].slice(0, MAX_PROBLEMS),
    };
  if (namespace !== undefined && watched !== undefined && !watched.includes(namespace))
    return { code: 'NAMESPACE_NOT_WATCHED', subject: namespace, problems: [] };
  return undefined;
}
