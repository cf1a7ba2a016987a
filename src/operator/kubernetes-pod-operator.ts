/** The `pod` operator: what a worker does with a run that is one Kubernetes pod per attempt. @see spec pod-operator §4, §5, §7 */
import { diagnose, diagnosisOf, type DiagnosisCode, type DiagnosisFacts } from '../core/diagnosis.ts';
import { podVerdict } from '../core/judge.ts';
import { podManifest, type ManifestSettings, redactedManifest, refusedInParams } from '../core/manifest.ts';
import { nameProblem } from '../core/names.ts';
import type { JsonRecord } from '../core/json.ts';
import { type PodSecurity, refusedInSpec } from '../core/pod-security.ts';
import type { ContainerProjection, PodProjection, PodRef } from '../core/pod.ts';
import { recordIn, textIn } from '../core/json.ts';
import { type Problem, ReentryError } from '../errors.ts';
import type { Cluster, Manifest } from '../ports.ts';
import type { Outcome, RunRequest, TriggerEvent } from '../wire/messages.ts';
import { again, baseOf, factsOf, launched, refOf, timesOf } from './deferral.ts';
import { launchRefused } from './launch-errors.ts';
import type { Operator, StepContext, StepFacts, StepOutcome } from './operator.ts';
import { type PodParams, podParamsSchema } from './params.ts';
import { type LogsRead, PodManager, requestedContainers } from './pod-manager.ts';
import { renderTemplates, templateVariables } from './templates.ts';

/** The seed's default of `kubernetes_conn_id`: the installation's default connection, whatever its name. */
const DEFAULT_CONNECTION = 'kubernetes_default';
/** How often an `error` event may find the pod alive and wait again. @see spec pod-operator §5.7 */
const MAX_REDEFER_ATTEMPTS = 3;
/** How soon a launch whose name an older attempt still has is tried again, in milliseconds. */
const OLDER_ATTEMPT_DELAY_MS = 5_000;

/** What the operator is configured with; nothing of it comes from a request. */
export interface KubernetesPodOperatorOptions {
  /** Default `baseline`. */
  readonly podSecurity?: PodSecurity;
  /** Manifests that `podTemplateFile` may name. */
  readonly podTemplates?: Readonly<Record<string, Manifest>>;
}

type Context = StepContext<PodParams>;
type RenderContext = Parameters<Operator<PodParams>['render']>[0];

const failed = (code: DiagnosisCode, facts?: DiagnosisFacts, more: Partial<Outcome> = {}): StepOutcome => ({
  kind: 'over',
  outcome: { ...more, state: 'failed', diagnosis: diagnosisOf(code, facts) },
});

/** Runs a pod per attempt and lets go of it while it runs. Stateless: what it must remember is in the run's state. */
export class KubernetesPodOperator implements Operator<PodParams> {
  readonly name = 'pod';
  readonly paramsSchema = podParamsSchema;
  readonly #podSecurity: PodSecurity;
  readonly #podTemplates: Readonly<Record<string, Manifest>>;

  constructor({ podSecurity = 'baseline', podTemplates = {} }: KubernetesPodOperatorOptions = {}) {
    this.#podSecurity = podSecurity;
    this.#podTemplates = podTemplates;
  }

  check(request: RunRequest, params: PodParams): readonly Problem[] {
    const run = { tenant: 'default', runId: 'run' };
    const { params: rendered, problems } = this.#rendered(run, request, params, 1);
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

  render(context: RenderContext, attempt: number): Manifest {
    const { params, problems } = this.#rendered(context.run, context.request, context.params, attempt);
    if (params === undefined || problems.length > 0) throw invalid(problems);
    const cluster = clusterOf(context, params);
    return redactedManifest(this.#manifest(context, params, attempt, cluster));
  }

  /** The seed's `dry_run`, asked of the API server: admission, quota and Pod Security have their say. */
  async dryRun(context: RenderContext, attempt: number): Promise<Manifest> {
    const { params, problems } = this.#rendered(context.run, context.request, context.params, attempt);
    if (params === undefined || problems.length > 0) throw invalid(problems);
    const cluster = clusterOf(context, params);
    const manifest = this.#manifest(context, params, attempt, cluster);
    const namespace = textIn(manifest['metadata'], 'namespace') ?? cluster.namespace;
    const { pod } = await cluster.createPod(namespace, manifest, { dryRun: true });
    return redactedManifest(pod);
  }

  async execute(context: Context): Promise<StepOutcome> {
    const { state, run, request, log } = context;
    const { attempt } = state;
    const { params, problems } = this.#rendered(run, request, context.params, attempt);
    const refused = params === undefined ? problems : [...problems, ...this.check(request, context.params)];
    if (params === undefined || refused.length > 0) return failed('INVALID_REQUEST', { problems: unique(refused) });

    let cluster: Cluster;
    try {
      cluster = clusterOf(context, params);
    } catch (error) {
      if (!(error instanceof ReentryError) || error.code !== 'CONFIG_INVALID') throw error;
      return failed('UNKNOWN_CONNECTION', { subject: params.kubernetesConnId ?? undefined, message: error.message });
    }
    const manifest = this.#manifest(context, params, attempt, cluster);
    // Once more on the whole: a configured template counts as the request does.
    const unsafe = this.#podSecurity === 'privileged' ? [] : refusedInSpec(recordIn(manifest, 'spec'), 'pod.spec');
    if (unsafe.length > 0) return failed('INVALID_REQUEST', { problems: unsafe });
    const namespace = textIn(recordIn(manifest, 'metadata'), 'namespace') ?? cluster.namespace;
    if (context.namespaces !== undefined && !context.namespaces.includes(namespace))
      return failed('NAMESPACE_NOT_WATCHED', { subject: namespace });

    if ((await context.checkOwner()).cancelRequested)
      return { kind: 'over', outcome: { state: 'cancelled', diagnosis: diagnosisOf('CANCELLED') } };
    try {
      const made = await managerOf(context, cluster).createPod(namespace, manifest, attempt);
      log.info({ pod: made.pod.name, namespace, attempt, outcome: made.kind }, 'pod launched');
      switch (made.kind) {
        case 'created':
        case 'adopted':
          return launched(context, params, made.pod, made.kind === 'created');
        case 'terminating':
          return failed('POD_DELETED', { pod: made.pod });
        case 'olderAttempt':
          return {
            kind: 'later',
            notBefore: context.now() + OLDER_ATTEMPT_DELAY_MS,
            why: diagnosisOf('POD_STUCK_TERMINATING', { pod: made.pod }),
            infrastructure: false,
          };
        case 'taken':
          return failed('POD_NAME_TAKEN', { subject: `${namespace}/${made.pod.name}` });
      }
    } catch (error) {
      const outcome = launchRefused(error, namespace, context.now());
      if (outcome === undefined) throw error;
      return outcome;
    }
  }

  async triggerReentry(context: Context, event: TriggerEvent): Promise<StepOutcome> {
    const { pod } = event;
    switch (event.kind) {
      case 'running':
        return await this.#stillRunning(context, event);
      case 'timer':
        return again(context, pod);
      case 'success':
      case 'failed':
      case 'timeout':
        return await this.#ended(context, event);
      case 'gone': {
        // A pod that had ended keeps its verdict, whoever took it away afterwards.
        const verdict = pod === undefined ? undefined : podVerdict(pod);
        if (verdict?.kind === 'success') return await this.#ended(context, { ...event, kind: 'success' });
        return await this.#ended(context, event);
      }
      case 'error':
        return await this.#afterError(context, event);
    }
  }

  async find(context: Context): Promise<PodRef | undefined> {
    const { run, state } = context;
    const params = this.#paramsOf(context);
    const cluster = clusterOf(context, params);
    const metadata = recordIn(this.#manifest(context, params, state.attempt, cluster), 'metadata');
    const found = await cluster.getPod(
      textIn(metadata, 'namespace') ?? cluster.namespace,
      textIn(metadata, 'name') ?? '',
    );
    if (found === undefined) return undefined;
    const pod = cluster.project(found);
    const ours = pod.tenant === run.tenant && pod.runId === run.runId && pod.attempt === state.attempt;
    return ours ? refOf(pod) : undefined;
  }

  keepsSlot({ deferrable }: PodParams): boolean {
    return !deferrable;
  }

  async stop(context: Context, pod: PodRef): Promise<'gone' | 'stopping'> {
    const params = this.#paramsOf(context);
    const manager = managerOf(context, context.cluster(pod.connection));
    const present = await manager.readPod(pod);
    if (present === undefined) return 'gone';
    await this.#readLogs(context, params, manager, present);
    if (params.onKillAction === 'keep_pod') {
      await manager.patchAlreadyChecked(pod);
      return 'gone';
    }
    return (await manager.deletePod(pod, params.terminationGracePeriod ?? undefined)) === 'gone' ? 'gone' : 'stopping';
  }

  async cleanUp(context: Context, outcome: Outcome, pod: PodRef): Promise<void> {
    const params = this.#paramsOf(context);
    const manager = managerOf(context, context.cluster(pod.connection));
    if (await this.#isToDelete(params, outcome, manager, pod))
      await manager.deletePod(pod, params.terminationGracePeriod ?? undefined);
    else await manager.patchAlreadyChecked(pod);
  }

  async #isToDelete(params: PodParams, outcome: Outcome, manager: PodManager, pod: PodRef): Promise<boolean> {
    // A stopped pod goes or stays by `onKillAction`, which `stop` has carried out.
    if (outcome.state === 'cancelled' || outcome.diagnosis?.code === 'EXECUTION_TIMEOUT')
      return params.onKillAction === 'delete_pod';
    switch (params.onFinishAction) {
      case 'delete_pod':
        return true;
      case 'keep_pod':
        return false;
      case 'delete_succeeded_pod':
        return outcome.state === 'succeeded' || outcome.exitCode === 0;
      case 'delete_active_pod': {
        const phase = (await manager.readPod(pod))?.phase;
        return phase === 'Running' || phase === 'Pending';
      }
    }
  }

  /** The logging interval is over: store what is there, and wait again. */
  async #stillRunning(context: Context, event: TriggerEvent): Promise<StepOutcome> {
    const { pod } = event;
    const ref = pod ?? context.state.pod;
    const params = this.#paramsOf(context);
    if (pod === undefined || ref === undefined || !params.getLogs) return again(context, pod);
    const manager = managerOf(context, context.cluster(ref.connection));
    return again(context, pod, await this.#readLogs(context, params, manager, pod));
  }

  async #ended(context: Context, event: TriggerEvent): Promise<StepOutcome> {
    const { state, now } = context;
    const params = this.#paramsOf(context);
    const { pod } = event;
    if (pod === undefined) {
      const diagnosis = diagnose(event) ?? diagnosisOf('TERMINATED_UNKNOWN');
      return {
        kind: 'over',
        outcome: { state: 'failed', diagnosis, logs: { complete: false, gaps: state.logGaps ?? 0 } },
      };
    }
    const manager = managerOf(context, context.cluster(pod.connection));
    const logs = await this.#readLogs(context, params, manager, pod);
    const base = baseOf(pod);
    const exitCode = base?.state === 'terminated' ? base.exitCode : undefined;
    const facts: StepFacts = { finishedAt: now(), ...timesOf(pod), ...factsOf(logs, state.logGaps) };
    const common = {
      ...(exitCode === undefined ? {} : { exitCode }),
      ...(params.getLogs ? { logs: { complete: logs.complete, gaps: logs.gaps + (state.logGaps ?? 0) } } : {}),
    };
    // Skipping is asked before failure, and also of a success; a time-out has no exit code of its own.
    if (event.kind !== 'timeout' && exitCode !== undefined && skipCodes(params).includes(exitCode))
      return { kind: 'over', outcome: { ...common, state: 'skipped' }, facts };
    if (event.kind === 'success') {
      const result = await this.#result(params, manager, base, state.attempt);
      return { kind: 'over', outcome: { ...common, ...result, state: 'succeeded' }, facts };
    }
    // An exit code explains itself; whatever kept a container from running is in the pod's events.
    const events = params.logEventsOnFailure || exitCode === undefined ? await manager.readEvents(pod) : undefined;
    const diagnosis = diagnose(event, { events }) ?? diagnosisOf('TERMINATED_UNKNOWN', { pod });
    return { kind: 'over', outcome: { ...common, state: 'failed', diagnosis }, facts };
  }

  async #result(
    params: PodParams,
    manager: PodManager,
    base: ContainerProjection | undefined,
    attempt: number,
  ): Promise<Partial<Outcome>> {
    if (!params.doXcomPush) return {};
    const read = await manager.readResult(base, attempt);
    switch (read.kind) {
      case 'inline':
        return { result: read.result };
      case 'stored':
        return { resultRef: read.resultRef };
      case 'missing': {
        // The pod did succeed: that its result is missing is said beside it, and is not made a failure of the pod.
        const code = read.why.includes('cut') ? 'RESULT_TOO_LARGE' : 'RESULT_INVALID';
        return { diagnosis: diagnosisOf(code, { container: base, message: read.why }) };
      }
    }
  }

  /** The trigger could not watch. What the pod says counts; alive, it is waited for again, a few times. @see spec pod-operator §5.7 */
  async #afterError(context: Context, event: TriggerEvent): Promise<StepOutcome> {
    const { state, now } = context;
    const diagnosis = diagnose(event) ?? diagnosisOf('TERMINATED_UNKNOWN');
    const over: StepOutcome = { kind: 'over', outcome: { state: 'failed', diagnosis } };
    const ref = state.pod;
    if (ref === undefined) return over;
    const pod = await managerOf(context, context.cluster(ref.connection)).readPod(ref);
    if (pod === undefined) return await this.#ended(context, { ...event, kind: 'gone', reason: 'POD_DELETED' });
    const verdict = podVerdict(pod);
    const at = now();
    if (verdict.kind === 'success') return await this.#ended(context, { kind: 'success', at, pod: copyOf(pod) });
    if (verdict.kind === 'failed')
      return await this.#ended(context, { kind: 'failed', reason: verdict.code, at, pod: copyOf(pod) });
    const redefers = typeof state.memo?.['redefers'] === 'number' ? state.memo['redefers'] : 0;
    if (event.reason === 'NOT_WATCHED' || redefers >= MAX_REDEFER_ATTEMPTS) return over;
    const waiting = again(context, pod);
    return waiting.kind === 'defer'
      ? { ...waiting, facts: { ...waiting.facts, memo: { ...state.memo, redefers: redefers + 1 } } }
      : waiting;
  }

  async #readLogs(context: Context, params: PodParams, manager: PodManager, pod: PodProjection): Promise<LogsRead> {
    const { state } = context;
    const cursors = state.cursors ?? {};
    if (!params.getLogs) return { cursors, gaps: 0, complete: true };
    const of = (kinds: readonly ContainerProjection['kind'][]) =>
      pod.containers.filter(({ kind }) => kinds.includes(kind));
    const wanted = [
      ...requestedContainers(params.initContainerLogs, of(['init', 'sidecar'])),
      ...requestedContainers(params.containerLogs ?? pod.baseContainer, of(['main', 'sidecar'])),
    ];
    return await manager.readLogs(refOf(pod), state.attempt, [...new Set(wanted)], cursors);
  }

  /** The parameters with templates rendered; those of a stored request render, since it was checked. */
  #paramsOf({ run, request, params, state }: Context): PodParams {
    return this.#rendered(run, request, params, state.attempt).params ?? params;
  }

  #rendered(
    run: Context['run'],
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

  #manifest(context: RenderContext, params: PodParams, attempt: number, cluster: Cluster): Manifest {
    const settings: ManifestSettings = {
      installation: context.installation,
      run: context.run,
      attempt,
      queue: context.queue,
      context: context.request.context,
      defaultNamespace: cluster.namespace,
      executionTimeoutSeconds: context.request.executionTimeoutSeconds,
      podSecurity: this.#podSecurity,
      template: this.#template(params),
    };
    return podManifest(params, settings);
  }
}

function clusterOf(context: Pick<Context, 'cluster'>, { kubernetesConnId }: PodParams): Cluster {
  const named =
    typeof kubernetesConnId === 'string' && kubernetesConnId !== '' && kubernetesConnId !== DEFAULT_CONNECTION;
  return context.cluster(named ? kubernetesConnId : undefined);
}

function managerOf({ run, logs, results, log }: Context, cluster: Cluster): PodManager {
  return new PodManager(cluster, run, { logs, results }, log);
}

function copyOf(pod: PodProjection): NonNullable<TriggerEvent['pod']> {
  return { ...pod, containers: pod.containers.map((container) => ({ ...container })) };
}

function unique(problems: readonly Problem[]): readonly Problem[] {
  return [...new Map(problems.map((problem) => [`${problem.path} ${problem.message}`, problem])).values()];
}

function invalid(problems: readonly Problem[]): ReentryError {
  const text = problems.map(({ path, message }) => `${path}: ${message}`).join('; ');
  return new ReentryError('INVALID_REQUEST', text, { transient: false, problems });
}

function skipCodes({ skipOnExitCode }: PodParams): readonly number[] {
  if (typeof skipOnExitCode === 'number') return [skipOnExitCode];
  return skipOnExitCode ?? [];
}
