/** From a run request to the manifest of its pod: templates rendered, parameters checked, the manifest built and looked at as a whole. Pure. */
import { podManifest, refusedInParams } from '../core/manifest.ts';
import { nameProblem } from '../core/names.ts';
import { type JsonRecord, recordIn, textIn } from '../core/json.ts';
import { type PodSecurity, refusedInSpec } from '../core/pod-security.ts';
import { type Problem, ReentryError } from '../errors.ts';
import type { Cluster, Manifest } from '../ports.ts';
import type { RunRequest } from '../wire/messages.ts';
import type { Operator, StepContext } from './operator.ts';
import { type PodParams, podParamsSchema } from './params.ts';
import { renderTemplates, templateVariables } from './templates.ts';

/** The seed's default of `kubernetes_conn_id`: the installation's default connection, whatever its name. */
export const DEFAULT_CONNECTION = 'kubernetes_default';

/** What a manifest is built from besides the request; configuration, never part of a request. */
export interface PodRequestOptions {
  /** Default `baseline`. */
  readonly podSecurity?: PodSecurity;
  /** Manifests that `podTemplateFile` may name. */
  readonly podTemplates?: Readonly<Record<string, Manifest>>;
}

/** What is known of a run where only its manifest is wanted. */
export type RenderContext = Parameters<Operator<PodParams>['render']>[0];

/** Makes manifests of run requests. */
export class PodRequests {
  readonly #podSecurity: PodSecurity;
  readonly #podTemplates: Readonly<Record<string, Manifest>>;

  constructor({ podSecurity = 'baseline', podTemplates = {} }: PodRequestOptions = {}) {
    this.#podSecurity = podSecurity;
    this.#podTemplates = podTemplates;
  }

  /** What a schema cannot say of a request: templates, names, what policy refuses; empty when it can run. */
  check(request: RunRequest, params: PodParams): readonly Problem[] {
    const run = { tenant: 'default', runId: 'run' };
    const { params: rendered, problems } = this.rendered(run, request, params, 1);
    if (rendered === undefined) return problems;
    const found: Problem[] = [...problems, ...(this.#podSecurity === 'privileged' ? [] : refusedInParams(rendered))];
    const name = typeof rendered.name === 'string' ? nameProblem(rendered.name) : undefined;
    if (name !== undefined) found.push({ path: 'params.name', message: name });
    const { podTemplateFile } = rendered;
    if (typeof podTemplateFile === 'string' && !Object.hasOwn(this.#podTemplates, podTemplateFile)) {
      const known = Object.keys(this.#podTemplates).join(', ') || 'none is configured';
      found.push({ path: 'params.podTemplateFile', message: `no such template (${known})` });
    } else if (this.#imageOf(rendered) === undefined)
      found.push({ path: 'params.image', message: 'is required (here, in fullPodSpec or in the template)' });
    return found;
  }

  /** The parameters with templates rendered; those of a stored request render, since it was checked. */
  paramsOf({ run, request, params, state }: StepContext<PodParams>): PodParams {
    return this.rendered(run, request, params, state.attempt).params ?? params;
  }

  /** The parameters as this attempt has them; absent where rendering broke a rule of the schema. */
  rendered(
    run: RenderContext['run'],
    request: RunRequest,
    params: PodParams,
    attempt: number,
  ): { readonly params: PodParams | undefined; readonly problems: readonly Problem[] } {
    const { rendered, problems } = renderTemplates(params, templateVariables(run, request, attempt));
    const parsed = podParamsSchema.safeParse(rendered);
    if (parsed.success) return { params: parsed.data, problems };
    const issues = parsed.error.issues.map(({ path, message }) => ({ path: ['params', ...path].join('.'), message }));
    return { params: undefined, problems: [...problems, ...issues] };
  }

  /** The manifest of an attempt's pod, as it is sent. */
  manifest(context: RenderContext, params: PodParams, attempt: number, cluster: Cluster): Manifest {
    return podManifest(params, {
      installation: context.installation,
      run: context.run,
      attempt,
      queue: context.queue,
      context: context.request.context,
      defaultNamespace: cluster.namespace,
      executionTimeoutSeconds: context.request.executionTimeoutSeconds,
      podSecurity: this.#podSecurity,
      template: this.#template(params),
    });
  }

  /** What is refused of a final manifest: every one passes here before it is sent, and a configured template counts as the request does. */
  refused(manifest: Manifest): readonly Problem[] {
    return this.#podSecurity === 'privileged' ? [] : refusedInSpec(recordIn(manifest, 'spec'), 'pod.spec');
  }

  #template({ podTemplateFile }: PodParams): JsonRecord | undefined {
    return typeof podTemplateFile === 'string' ? this.#podTemplates[podTemplateFile] : undefined;
  }

  #imageOf(params: PodParams): string | undefined {
    const manifest = podManifest(params, {
      installation: 'i',
      run: { tenant: 'default', runId: 'run' },
      attempt: 1,
      queue: 'default',
      context: {},
      defaultNamespace: 'default',
      podSecurity: 'baseline',
      template: this.#template(params),
    });
    const containers: unknown = recordIn(manifest, 'spec')['containers'];
    return Array.isArray(containers) ? textIn(containers[0], 'image') : undefined;
  }
}

/** The cluster that the parameters name. @throws ReentryError CONFIG_INVALID for a connection nobody configured */
export function clusterOf(context: Pick<RenderContext, 'cluster'>, { kubernetesConnId }: PodParams): Cluster {
  const named =
    typeof kubernetesConnId === 'string' && kubernetesConnId !== '' && kubernetesConnId !== DEFAULT_CONNECTION;
  return context.cluster(named ? kubernetesConnId : undefined);
}

/** Each problem once. */
export function unique(problems: readonly Problem[]): readonly Problem[] {
  return [...new Map(problems.map((problem) => [`${problem.path} ${problem.message}`, problem])).values()];
}

/** A request that cannot be carried out, as an error. */
export function invalidRequest(problems: readonly Problem[]): ReentryError {
  const text = problems.map(({ path, message }) => `${path}: ${message}`).join('; ');
  return new ReentryError('INVALID_REQUEST', text, { transient: false, problems });
}
