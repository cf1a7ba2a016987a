/** From a `pod` request to the manifest of its pod: renders templates, checks parameters, builds the manifest. Pure. */
import { podManifest, refusedInParams } from '../core/pod/manifest.ts';
import { labelKeyProblem, labelValueProblem } from '../core/pod/labels.ts';
import { dnsLabelProblem, nameProblem } from '../core/pod/names.ts';
import { type JsonRecord, recordIn, textIn } from '../core/json.ts';
import { allowsHost, tenantPolicy } from '../policy/policy.ts';
import type { XcomSidecarSettings } from '../core/pod/xcom-sidecar.ts';
import type { Problem } from '../errors.ts';
import type { Cluster, Manifest } from '../ports/cluster.ts';
import type { RunRequest } from '../wire/run-request.ts';
import type { RunKey } from '../wire/subjects.ts';
import { type ManifestRules, checkManifest } from '../policy/check-manifest.ts';
import type { CallbackRegistry, PodCallbacks } from './callbacks.ts';
import type { LineFormat } from './logs/reader.ts';
import type { RenderContext } from './operator.ts';
import { type PodParams, podParamsSchema } from './pod-params.ts';
import type { PodRun } from './pod-step.ts';
import { isTemplate, renderTemplates, templateVariables } from './templates.ts';

/** Airflow's default of `kubernetes_conn_id`. Here it stands for the installation's default connection, by any name. */
export const DEFAULT_CONNECTION = 'kubernetes_default';

/** What a manifest is built from besides the request; configuration, never part of a request. */
export interface PodManifestOptions extends ManifestRules {
  /** A template that is a single expression keeps the type of its value (Airflow's `render_template_as_native_obj`). Default false. */
  readonly renderTemplateAsNativeObj?: boolean;
  /** Manifests that `podTemplateFile` may name. */
  readonly podTemplates?: Readonly<Record<string, Manifest>>;
  /** Callbacks that requests may name. */
  readonly callbacks?: CallbackRegistry;
  /** Log formatters that requests may name, besides those of the callbacks. */
  readonly logFormatters?: Readonly<Record<string, LineFormat>>;
}

/** The result sidecar of a connection that configures none. */
const XCOM_SIDECAR: XcomSidecarSettings = {};

/** Stands for the run of a request that has none yet. */
const SOME_RUN: RunKey = { tenant: 'default', runId: 'run' };

/** Builds manifests of `pod` requests. */
export class PodManifests {
  readonly #native: boolean;
  readonly #podTemplates: Readonly<Record<string, Manifest>>;
  readonly #rules: ManifestRules;
  readonly #callbacks: CallbackRegistry;
  readonly #logFormatters: Readonly<Record<string, LineFormat>>;

  constructor({
    podSecurity,
    renderTemplateAsNativeObj = false,
    podTemplates = {},
    policy,
    callbacks = {},
    logFormatters = {},
  }: PodManifestOptions) {
    this.#logFormatters = { ...formattersIn(callbacks), ...logFormatters };
    this.#native = renderTemplateAsNativeObj;
    this.#podTemplates = podTemplates;
    this.#rules = { podSecurity, policy };
    this.#callbacks = callbacks;
  }

  /** The callbacks, in their order, and the log formatter that a run names. Unknown names, which `check` refuses, are ignored. */
  userCode({ callbacks, progressCallback, logFormatter }: PodParams): Pick<PodRun, 'callbacks' | 'format'> {
    const named = [callbacks ?? []].flat().flatMap((name) => this.#registered(name) ?? []);
    const progress = typeof progressCallback === 'string' ? this.#registered(progressCallback) : undefined;
    return {
      callbacks: progress === undefined ? named : [...named, progressOnly(progress)],
      format:
        typeof logFormatter === 'string' && Object.hasOwn(this.#logFormatters, logFormatter)
          ? this.#logFormatters[logFormatter]
          : undefined,
    };
  }

  /** Problems that the schema cannot find: templates, names, what the pod security level refuses; empty when the request can run. */
  check(request: RunRequest, params: PodParams, run: RunKey = SOME_RUN): readonly Problem[] {
    const { params: rendered, problems } = this.rendered(run, request, params, 1);
    if (rendered === undefined) return problems;
    const found: Problem[] = [...problems, ...this.#unsafe(rendered, run)];
    found.push(...misnamed(rendered));
    const { podTemplateFile, logFormatter } = rendered;
    if (typeof logFormatter === 'string' && !Object.hasOwn(this.#logFormatters, logFormatter)) {
      const known = Object.keys(this.#logFormatters).join(', ') || 'none is registered';
      found.push({ path: 'params.logFormatter', message: `no such formatter (${known})` });
    }
    if (typeof podTemplateFile === 'string' && !Object.hasOwn(this.#podTemplates, podTemplateFile)) {
      const known = Object.keys(this.#podTemplates).join(', ') || 'none is configured';
      found.push({ path: 'params.podTemplateFile', message: `no such template (${known})` });
    } else if (this.#imageOf(rendered) === undefined)
      found.push({ path: 'params.image', message: 'is required (here, in fullPodSpec or in the template)' });
    return [...found, ...this.#unknownCallbacks(rendered)];
  }

  /** The parameters with templates rendered for this attempt; `undefined` where the result does not fit the schema. */
  rendered(
    run: RunKey,
    request: RunRequest,
    params: PodParams,
    attempt: number,
  ): { readonly params: PodParams | undefined; readonly problems: readonly Problem[] } {
    if (!isTemplate(JSON.stringify(params))) return { params, problems: [] };
    const { rendered, problems } = renderTemplates(params, templateVariables(run, request, attempt), {
      native: this.#native,
    });
    const parsed = podParamsSchema.safeParse(rendered);
    if (parsed.success) return { params: parsed.data, problems };
    const issues = parsed.error.issues.map(({ path, message }) => ({ path: ['params', ...path].join('.'), message }));
    return { params: undefined, problems: [...problems, ...issues] };
  }

  /** The manifest of an attempt's pod. */
  manifest(
    context: Pick<RenderContext<unknown>, 'installation' | 'run' | 'queue' | 'request'>,
    params: PodParams,
    attempt: number,
    cluster: Pick<Cluster, 'namespace' | 'xcomSidecar'>,
  ): Manifest {
    return podManifest(params, {
      installation: context.installation,
      run: context.run,
      attempt,
      queue: context.queue,
      context: context.request.context,
      defaultNamespace: cluster.namespace,
      executionTimeoutSeconds: context.request.executionTimeoutSeconds,
      podSecurity: this.#rules.podSecurity,
      template: this.#template(params),
      xcomSidecar: cluster.xcomSidecar ?? XCOM_SIDECAR,
    });
  }

  /** What the tenant's policy would refuse at launch, as far as it is known before a cluster is chosen. */
  checkPolicy(request: RunRequest, params: PodParams, run: RunKey): readonly Problem[] {
    const { params: rendered, problems } = this.rendered(run, request, params, 1);
    if (rendered === undefined || problems.length > 0) return problems;
    const manifest = this.#sketch(rendered, run, this.#rules.podSecurity);
    const { kubernetesConnId: connection } = rendered;
    const isNamed = typeof connection === 'string' && connection !== '' && connection !== DEFAULT_CONNECTION;
    const target = { tenant: run.tenant, defaultNamespace: undefined, watched: undefined };
    const refusal = checkManifest(manifest, this.#rules, {
      ...target,
      connection: isNamed ? connection : undefined,
    });
    return refusal?.problems ?? [];
  }

  /** What the pod security level refuses and the tenant's policy does not allow, by paths of the request. */
  #unsafe(params: PodParams, { tenant }: RunKey): readonly Problem[] {
    if (this.#rules.podSecurity === 'privileged') return [];
    const policy = this.#rules.policy?.();
    // Checked once more before the launch, which waits for the policy.
    if (policy !== undefined && 'unavailable' in policy) return [];
    const host = policy === undefined ? undefined : tenantPolicy(policy, tenant)?.rules.host;
    return refusedInParams(params)
      .filter(({ thing }) => thing === undefined || !allowsHost(host, thing))
      .map(({ path, message }) => ({ path, message }));
  }

  #registered(name: string): PodCallbacks | undefined {
    return Object.hasOwn(this.#callbacks, name) ? this.#callbacks[name] : undefined;
  }

  /** Names of callbacks that are not registered or lack the hook they are named for. */
  #unknownCallbacks({ callbacks, progressCallback: progress }: PodParams): readonly Problem[] {
    const known = Object.keys(this.#callbacks).join(', ') || 'none is registered';
    const unknown = (path: string, name: string): readonly Problem[] =>
      this.#registered(name) === undefined ? [{ path, message: `no callbacks named ${name} (${known})` }] : [];
    const found = [callbacks ?? []].flat().flatMap((name) => unknown('params.callbacks', name));
    if (typeof progress !== 'string') return found;
    const path = 'params.progressCallback';
    const owner = this.#registered(progress);
    if (owner !== undefined && typeof owner.progressCallback !== 'function')
      return [...found, { path, message: `${progress} has no progressCallback` }];
    return [...found, ...unknown(path, progress)];
  }

  #template({ podTemplateFile }: PodParams): JsonRecord | undefined {
    return typeof podTemplateFile === 'string' ? this.#podTemplates[podTemplateFile] : undefined;
  }

  /** The manifest as on a cluster without a default namespace. */
  #sketch(params: PodParams, run: RunKey, podSecurity: ManifestRules['podSecurity']): Manifest {
    return podManifest(params, {
      ...{ installation: 'i', attempt: 1, queue: 'default', context: {}, defaultNamespace: '' },
      ...{ run, podSecurity, template: this.#template(params), xcomSidecar: XCOM_SIDECAR },
    });
  }

  #imageOf(params: PodParams): string | undefined {
    const containers: unknown = recordIn(this.#sketch(params, SOME_RUN, 'baseline'), 'spec')['containers'];
    return Array.isArray(containers) ? textIn(containers[0], 'image') : undefined;
  }
}

/** Only `progressCallback` of `callbacks`, still called as its method. */
const progressOnly = (callbacks: PodCallbacks): PodCallbacks => ({
  progressCallback: (args) => callbacks.progressCallback?.(args),
});

/** Names and labels that Kubernetes would refuse, by path. */
function misnamed({ name, namespace, baseContainerName, labels, annotations }: PodParams): readonly Problem[] {
  const problems: Record<string, string | undefined> = {
    name: typeof name === 'string' ? nameProblem(name) : undefined,
    namespace: typeof namespace === 'string' && namespace !== '' ? dnsLabelProblem(namespace, 'namespace') : undefined,
    baseContainerName: dnsLabelProblem(baseContainerName, 'container name'),
  };
  for (const [key, value] of Object.entries(labels))
    problems[`labels.${key}`] = labelKeyProblem(key) ?? labelValueProblem(value ?? '');
  for (const key of Object.keys(annotations)) problems[`annotations.${key}`] = labelKeyProblem(key);
  const found: Problem[] = [];
  for (const [path, message] of Object.entries(problems))
    if (message !== undefined) found.push({ path: `params.${path}`, message });
  return found;
}

/** The `logFormatter` methods of callbacks, by the callbacks' names. */
function formattersIn(callbacks: CallbackRegistry): Readonly<Record<string, LineFormat>> {
  const found: Record<string, LineFormat> = {};
  for (const [name, one] of Object.entries(callbacks)) {
    const format: unknown = Reflect.get(one, 'logFormatter');
    if (isFormat(format)) found[name] = format;
  }
  return found;
}

function isFormat(value: unknown): value is LineFormat {
  return typeof value === 'function';
}

/** The cluster that the parameters name. @throws ReentryError CONFIG_INVALID for a connection that is not configured */
export function clusterOf(context: Pick<RenderContext<unknown>, 'cluster'>, { kubernetesConnId }: PodParams): Cluster {
  const named =
    typeof kubernetesConnId === 'string' && kubernetesConnId !== '' && kubernetesConnId !== DEFAULT_CONNECTION;
  return context.cluster(named ? kubernetesConnId : undefined);
}
