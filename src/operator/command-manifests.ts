/** From a `command` request to the manifest of its pod: template, then task, then override, then our own labels and the pod security level. Pure. */
import { type JsonRecord, recordIn, recordsIn, textIn } from '../core/json.ts';
import { LABEL_TRUE, LABELS, podAnnotations, type PodIdentity, podLabels, withoutMarks } from '../core/pod/labels.ts';
import { deadlineOf } from '../core/pod/manifest.ts';
import { reconcilePods } from '../core/pod/merge.ts';
import { createUniqueId, nameProblem, normalizeName, podName } from '../core/pod/names.ts';
import { securedSpec } from '../core/pod/pod-security.ts';
import { addXcomSidecar, type XcomSidecarSettings } from '../core/pod/xcom-sidecar.ts';
import { type Problem, ReentryError } from '../errors.ts';
import { type PodTarget, type ManifestRules, checkManifest } from '../policy/check-manifest.ts';
import type { Manifest } from '../ports/cluster.ts';
import type { RunRequest } from '../wire/run-request.ts';
import type { RunKey } from '../wire/subjects.ts';
import { commandArgs } from './command.ts';
import type { CommandParams } from './command-params.ts';
import { BASE_CONTAINER, constructPod } from './construct-pod.ts';
import { podOverrideIn, podTemplateFileIn } from './executor-config.ts';

/** What a manifest is built from besides the request; configuration, never part of a request. */
export interface CommandManifestOptions extends ManifestRules {
  /** The pod that every command's pod is built on. Default: none. */
  readonly podTemplate?: Manifest | undefined;
  /** Manifests that `podTemplateFile` may name. */
  readonly podTemplates?: Readonly<Record<string, Manifest>>;
  /** Image of commands that name none. Default: the template's. */
  readonly image?: string | undefined;
  /** Namespace of commands that name none. Default: the connection's. */
  readonly namespace?: string | undefined;
}

/** Inputs of one attempt's manifest. */
export interface CommandAttempt {
  readonly run: RunKey;
  readonly attempt: number;
  readonly installation: string;
  readonly queue: string;
  readonly request: RunRequest;
  readonly params: CommandParams;
  /** The connection's. */
  readonly defaultNamespace: string;
  /** The connection's result sidecar. Absent: the default one, or not known yet. */
  readonly xcomSidecar?: XcomSidecarSettings | undefined;
}

/** Stands for a run where none is known yet. */
const SOME_RUN: RunKey = { tenant: 'default', runId: 'run' };

/** An attempt before a cluster is chosen. */
const sketchOf = (request: RunRequest, params: CommandParams, run: RunKey): CommandAttempt => ({
  ...{ installation: 'i', queue: 'executor', defaultNamespace: '', attempt: 1 },
  ...{ run, request, params },
});

const nowhere = ({ tenant }: RunKey): PodTarget => ({
  tenant,
  connection: undefined,
  defaultNamespace: undefined,
  watched: undefined,
});

/** Problems of the manifest by paths of the request, where these are known. */
const inRequest = (problems: readonly Problem[]): readonly Problem[] =>
  problems.map(({ path, message }) => ({
    path: path.replace(/^pod\./, 'params.executorConfig.podOverride.'),
    message,
  }));

/** Builds manifests of `command` requests. */
export class CommandManifests {
  readonly #options: CommandManifestOptions;

  constructor(options: CommandManifestOptions) {
    this.#options = options;
  }

  /** Problems that the schema cannot find; empty when the request can run. */
  check(request: RunRequest, params: CommandParams, run: RunKey = SOME_RUN): readonly Problem[] {
    const made = this.#built(sketchOf(request, params, run));
    if ('problems' in made) return made.problems;
    const refusal = checkManifest(made.manifest, this.#options, nowhere(run));
    return refusal?.code === 'INVALID_REQUEST' ? inRequest(refusal.problems) : [];
  }

  /** What the tenant's policy would refuse at launch, as far as it is known before a cluster is chosen. */
  checkPolicy(request: RunRequest, params: CommandParams, run: RunKey): readonly Problem[] {
    const made = this.#built(sketchOf(request, params, run));
    if ('problems' in made) return made.problems;
    return inRequest(checkManifest(made.manifest, this.#options, nowhere(run))?.problems ?? []);
  }

  /** The manifest of an attempt's pod, or all problems that prevent it, by paths of the request. */
  #built(of: CommandAttempt): { readonly manifest: Manifest } | { readonly problems: readonly Problem[] } {
    let manifest: Manifest;
    try {
      manifest = this.manifest(of);
    } catch (error) {
      if (!(error instanceof ReentryError)) throw error;
      const problems =
        error.problems.length > 0 ? error.problems : [{ path: 'executorConfig', message: error.message }];
      return { problems: problems.map(({ path, message }) => ({ path: `params.${path}`, message })) };
    }
    const name = textIn(recordIn(podOverrideIn(of.params.executorConfig), 'metadata'), 'name');
    const problem = name === undefined ? undefined : nameProblem(name);
    if (problem !== undefined)
      return { problems: [{ path: 'params.executorConfig.podOverride.metadata.name', message: problem }] };
    const [base] = recordsIn(recordIn(manifest, 'spec'), 'containers');
    if (textIn(base, 'image') !== undefined) return { manifest };
    const message = 'is required (here, in the override, in the template or of the executor)';
    return { problems: [{ path: 'params.image', message }] };
  }

  /**
   * The manifest of an attempt's pod. The same inputs give the same manifest, name included: a repeated creation finds the first pod.
   * @throws ReentryError INVALID_REQUEST, CONFIG_INVALID where it cannot be built
   */
  manifest(of: CommandAttempt): JsonRecord {
    const { run, attempt, installation, queue, request, params, defaultNamespace, xcomSidecar } = of;
    const { context, executionTimeoutSeconds } = request;
    const override = podOverrideIn(params.executorConfig);
    const ids = [context.dagId, context.taskId].filter((id) => id !== undefined && id !== '').map(String);
    const ownName = textIn(recordIn(override, 'metadata'), 'name');
    // The override's name is only a prefix: each attempt has a pod of its own.
    const first = ownName === undefined ? createUniqueId(ids.length === 0 ? ['command'] : ids) : normalizeName(ownName);
    const name = podName({ name: first, randomNameSuffix: true }, run, attempt);
    const identity: PodIdentity = { installation, run, attempt, queue, context };
    const pod = constructPod({
      dagId: context.dagId ?? '',
      taskId: context.taskId ?? '',
      runId: context.runId ?? run.runId,
      tryNumber: attempt,
      mapIndex: context.mapIndex ?? -1,
      owner: queue,
      podId: name,
      namespace: params.namespace ?? this.#options.namespace ?? defaultNamespace,
      kubeImage: params.image ?? this.#options.image,
      args: commandArgs(params.command, 'any'),
      podOverride: reconcilePods(shorthand(params), override),
      baseWorkerPod: this.#template(params),
      labels: ownLabels(identity),
    });
    const metadata = recordIn(pod, 'metadata');
    const spec = recordIn(pod, 'spec');
    const hasSidecar = params.doXcomPush && params.xcomMode !== 'message';
    const base = textIn(recordsIn(spec, 'containers')[0], 'name') ?? BASE_CONTAINER;
    return {
      ...pod,
      metadata: {
        ...metadata,
        name,
        generateName: undefined,
        labels: withoutMarks(named(recordIn(metadata, 'labels')), [LABELS.podOperator]),
        annotations: { ...named(recordIn(metadata, 'annotations')), ...podAnnotations(identity, base) },
      },
      spec: securedSpec(
        {
          ...(hasSidecar ? addXcomSidecar(spec, xcomSidecar) : spec),
          ...deadlineOf(spec, executionTimeoutSeconds),
          // Overrides any other value: attempts are repeated by the run's retry policy only.
          restartPolicy: 'Never',
        },
        this.#options.podSecurity,
      ),
      status: undefined,
    };
  }

  #template({ executorConfig }: CommandParams): JsonRecord | undefined {
    const file = podTemplateFileIn(executorConfig);
    if (file === undefined) return this.#options.podTemplate;
    const { podTemplates = {} } = this.#options;
    const template = Object.hasOwn(podTemplates, file) ? podTemplates[file] : undefined;
    if (template !== undefined) return template;
    const known = Object.keys(podTemplates).join(', ') || 'none is configured';
    const message = `no such template (${known})`;
    throw new ReentryError('INVALID_REQUEST', message, {
      transient: false,
      problems: [{ path: 'executorConfig.podTemplateFile', message }],
    });
  }
}

/** The request's own fields in the form of an override. */
function shorthand(params: CommandParams): JsonRecord | undefined {
  const env = Object.entries(params.envVars).map(([name, value]) => ({ name, value: String(value) }));
  const container = {
    ...(env.length === 0 ? {} : { env }),
    ...(params.containerResources == null ? {} : { resources: params.containerResources }),
  };
  return {
    metadata: { labels: params.labels, annotations: params.annotations },
    spec: {
      ...(Object.keys(container).length === 0 ? {} : { containers: [container] }),
      ...(params.serviceAccountName == null ? {} : { serviceAccountName: params.serviceAccountName }),
    },
  };
}

/** Labels that identify the installation's pods and those that occupy slots; an override cannot remove them. */
function ownLabels(identity: PodIdentity): Readonly<Record<string, string>> {
  const labels = Object.entries(podLabels(identity)).filter(([key]) => key !== LABELS.podOperator);
  return { ...Object.fromEntries(labels), [LABELS.kubernetesExecutor]: LABEL_TRUE, [LABELS.worker]: identity.queue };
}

/** `entries` without empty Airflow ids. */
function named(entries: JsonRecord): JsonRecord {
  const isId = (key: string) => key === LABELS.dagId || key === LABELS.taskId;
  return Object.fromEntries(Object.entries(entries).filter(([key, value]) => !(isId(key) && value === '')));
}
