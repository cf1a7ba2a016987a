/** From a run request to the manifest of its pod: templates rendered, parameters checked, the manifest built and looked at as a whole. Pure. */
import { podManifest, refusedInParams } from '../core/pod/manifest.ts';
import { labelKeyProblem, labelValueProblem } from '../core/pod/labels.ts';
import { containerNameProblem, nameProblem, namespaceProblem } from '../core/pod/names.ts';
import { type JsonRecord, recordIn, textIn } from '../core/json.ts';
import { type Policy, allowsHost, tenantPolicy } from '../policy/policy.ts';
import type { PodSecurity } from '../core/pod/pod-security.ts';
import type { XcomSidecarSettings } from '../core/pod/xcom-sidecar.ts';
import { type Problem, ReentryError } from '../errors.ts';
import type { Cluster, Manifest } from '../ports/cluster.ts';
import type { RunRequest } from '../wire/run-request.ts';
import type { RunKey } from '../wire/subjects.ts';
import { type PodTarget, type ManifestRefusal, checkManifest } from '../policy/check-manifest.ts';
import type { CallbackRegistry, PodCallbacks } from './callbacks.ts';
import type { LineFormat } from './logs/reader.ts';
import type { Operator, StepContext } from './operator.ts';
import { type PodParams, podParamsSchema } from './pod-params.ts';
import { renderTemplates, templateVariables } from './templates.ts';

/** The seed's default of `kubernetes_conn_id`: the installation's default connection, whatever its name. */
export const DEFAULT_CONNECTION = 'kubernetes_default';

/** What a manifest is built from besides the request; configuration, never part of a request. */
export interface PodManifestOptions {
  /** Pod Security level that pods are held to. */
  readonly podSecurity: PodSecurity;
  /** A template that is one expression gives that expression's value, whatever its type (the seed's `render_template_as_native_obj`). Default false. */
  readonly renderTemplateAsNativeObj?: boolean;
  /** Manifests that `podTemplateFile` may name. */
  readonly podTemplates?: Readonly<Record<string, Manifest>>;
  /** What each tenant may run, as it is now; absent: what `podSecurity` allows. */
  readonly policy?: (() => Policy) | undefined;
  /** What `callbacks` of a request may name. */
  readonly callbacks?: CallbackRegistry;
  /** What `logFormatter` of a request may name. */
  readonly logFormatters?: Readonly<Record<string, LineFormat>>;
}

/** The sidecar as shipped. */
const XCOM_SIDECAR: XcomSidecarSettings = {};

/** The run of a request that has none yet. */
const SOME_RUN: RunKey = { tenant: 'default', runId: 'run' };

/** What is known of a run where only its manifest is wanted. */
export type RenderContext = Parameters<Operator<PodParams>['render']>[0];

/** Makes manifests of run requests. */
export class PodManifests {
  readonly #podSecurity: PodSecurity;
  readonly #native: boolean;
  readonly #podTemplates: Readonly<Record<string, Manifest>>;
  readonly #policy: (() => Policy) | undefined;
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
    this.#podSecurity = podSecurity;
    this.#native = renderTemplateAsNativeObj;
    this.#podTemplates = podTemplates;
    this.#policy = policy;
    this.#callbacks = callbacks;
  }

  /** The callbacks that a run names, in its order. Unknown ones, which `check` refuses, are left out. */
  callbacksOf({ callbacks, progressCallback }: PodParams): readonly PodCallbacks[] {
    const progress = this.#registered(progressCallback ?? '');
    return [
      ...namesIn(callbacks).flatMap((name) => this.#registered(name) ?? []),
      ...(progress === undefined ? [] : [progressOnly(progress)]),
    ];
  }

  /** What a schema cannot say of a request: templates, names, what policy refuses; empty when it can run. */
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

  /** The parameters with templates rendered; those of a stored request render, since it was checked. */
  paramsOf({ run, request, params, state }: StepContext<PodParams>): PodParams {
    return this.rendered(run, request, params, state.attempt).params ?? params;
  }

  /** The registered formatter that the run names. */
  formatOf({ logFormatter }: PodParams): LineFormat | undefined {
    return typeof logFormatter === 'string' && Object.hasOwn(this.#logFormatters, logFormatter)
      ? this.#logFormatters[logFormatter]
      : undefined;
  }

  /** The parameters as this attempt has them; absent where rendering broke a rule of the schema. */
  rendered(
    run: RenderContext['run'],
    request: RunRequest,
    params: PodParams,
    attempt: number,
  ): { readonly params: PodParams | undefined; readonly problems: readonly Problem[] } {
    const { rendered, problems } = renderTemplates(params, templateVariables(run, request, attempt), {
      native: this.#native,
    });
    const parsed = podParamsSchema.safeParse(rendered);
    if (parsed.success) return { params: parsed.data, problems };
    const issues = parsed.error.issues.map(({ path, message }) => ({ path: ['params', ...path].join('.'), message }));
    return { params: undefined, problems: [...problems, ...issues] };
  }

  /** The manifest of an attempt's pod, as it is sent. */
  manifest(
    context: Pick<RenderContext, 'installation' | 'run' | 'queue' | 'request'>,
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
      podSecurity: this.#podSecurity,
      template: this.#template(params),
      xcomSidecar: cluster.xcomSidecar ?? XCOM_SIDECAR,
    });
  }

  /** What is refused of a final manifest: every one passes here before it is sent, and a configured template counts as the request does. */
  refused(manifest: Manifest, target: PodTarget): ManifestRefusal | undefined {
    return checkManifest(manifest, { podSecurity: this.#podSecurity, policy: this.#policy }, target);
  }

  /** What the tenant's policy would say at launch, as far as it can be known before a cluster is chosen. */
  admit(request: RunRequest, params: PodParams, run: RunKey): readonly Problem[] {
    const { params: rendered, problems } = this.rendered(run, request, params, 1);
    if (rendered === undefined || problems.length > 0) return problems;
    const manifest = this.#sketch(rendered, run, this.#podSecurity);
    const { kubernetesConnId: connection } = rendered;
    const isNamed = typeof connection === 'string' && connection !== '' && connection !== DEFAULT_CONNECTION;
    const target = { tenant: run.tenant, defaultNamespace: undefined, watched: undefined };
    return this.refused(manifest, { ...target, connection: isNamed ? connection : undefined })?.problems ?? [];
  }

  /** By the request's own paths, what the level refuses and the tenant's policy does not allow. */
  #unsafe(params: PodParams, { tenant }: RunKey): readonly Problem[] {
    if (this.#podSecurity === 'privileged') return [];
    const policy = this.#policy?.();
    const host = policy === undefined ? undefined : tenantPolicy(policy, tenant)?.rules.host;
    return refusedInParams(params)
      .filter(({ thing }) => thing === undefined || !allowsHost(host, thing))
      .map(({ path, message }) => ({ path, message }));
  }

  #registered(name: string): PodCallbacks | undefined {
    return Object.hasOwn(this.#callbacks, name) ? this.#callbacks[name] : undefined;
  }

  /** Callbacks that the request names and nobody registered, or that have not the hook they are named for. */
  #unknownCallbacks({ callbacks, progressCallback: progress }: PodParams): readonly Problem[] {
    const known = Object.keys(this.#callbacks).join(', ') || 'none is registered';
    const unknown = (path: string, name: string): readonly Problem[] =>
      this.#registered(name) === undefined ? [{ path, message: `no callbacks named ${name} (${known})` }] : [];
    const found = namesIn(callbacks).flatMap((name) => unknown('params.callbacks', name));
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

  /** The manifest as it would be on a cluster without a default namespace. */
  #sketch(params: PodParams, run: RunKey, podSecurity: PodSecurity): Manifest {
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

/** The one hook, called as its owner's. */
const progressOnly = (callbacks: PodCallbacks): PodCallbacks => ({
  progressCallback: (scene) => callbacks.progressCallback?.(scene),
});

const namesIn = (names: string | readonly string[] | null | undefined): readonly string[] =>
  typeof names === 'string' ? [names] : (names ?? []);
/** Names and labels that Kubernetes would refuse, each at its place. */
function misnamed({ name, namespace, baseContainerName, labels, annotations }: PodParams): readonly Problem[] {
  const at = (path: string, message: string | undefined): readonly Problem[] =>
    message === undefined ? [] : [{ path: `params.${path}`, message }];
  return [
    ...(typeof name === 'string' ? at('name', nameProblem(name)) : []),
    ...(typeof namespace === 'string' && namespace !== '' ? at('namespace', namespaceProblem(namespace)) : []),
    ...at('baseContainerName', containerNameProblem(baseContainerName)),
    ...Object.entries(labels).flatMap(([key, value]) =>
      at(`labels.${key}`, labelKeyProblem(key) ?? labelValueProblem(value ?? '')),
    ),
    ...Object.keys(annotations).flatMap((key) => at(`annotations.${key}`, labelKeyProblem(key))),
  ];
}

/** Formatters that come with callbacks (a static or own `logFormatter`), by the callbacks' names. */
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
