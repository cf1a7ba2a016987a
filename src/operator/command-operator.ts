/** The `command` operator: runs a command in a pod, as Airflow's KubernetesExecutor runs a task. */
import { commandPodAction } from '../core/pod/finish-action.ts';
import { LABEL_TRUE, LABELS } from '../core/pod/labels.ts';
import type { PodProjection, PodRef } from '../core/pod/projection.ts';
import { XCOM } from '../core/pod/xcom-sidecar.ts';
import { diagnosisOf } from '../core/run/diagnosis.ts';
import type { Problem } from '../errors.ts';
import type { Cluster, Manifest } from '../ports/cluster.ts';
import type { Launcher } from '../slots/launcher.ts';
import type { Outcome } from '../wire/outcome.ts';
import type { RunRequest } from '../wire/run-request.ts';
import type { TriggerEvent } from '../wire/triggers.ts';
import type { RunKey } from '../wire/subjects.ts';
import { type CommandManifestOptions, CommandManifests } from './command-manifests.ts';
import { type CommandParams, commandParamsSchema } from './command-params.ts';
import { creationFailure, creationRetry, launchRefused } from './creation-failure.ts';
import type { LaunchOptions } from './launch.ts';
import type { RenderContext, StepContext, StepOutcome } from './operator.ts';
import { type PodParams, podParamsSchema } from './pod-params.ts';
import { PodRunOperator } from './pod-run-operator.ts';
import type { PodRun, PodStep } from './pod-step.ts';
import { endSidecar } from './xcom.ts';

/** Configuration of the operator; nothing of it comes from a request. */
export interface CommandOperatorOptions extends CommandManifestOptions {
  /** Whether the pod is deleted once its run's outcome is stored. */
  readonly deleteWorkerPods: boolean;
  /** Whether failed pods are deleted too; otherwise they are retained and marked. */
  readonly deleteWorkerPodsOnFailure: boolean;
  /** How often a launch is repeated that quota, throttling or a failing API server prevented; −1: without limit. */
  readonly publishRetries: number;
  /** How long a pod may take to start, unless the request sets it. */
  readonly queuedTimeoutSeconds: number;
  /** How often a pod that did not start in time is replaced without spending a retry. */
  readonly queuedRetries: number;
  /** Rations creations. Absent: every pod is created at once. */
  readonly launcher?: Launcher;
  /** Called with each pod that was created or adopted. */
  readonly created?: (queue: string, attempt: RunKey & { attempt: number }, pod: Pick<PodProjection, 'uid'>) => void;
  /** Called where an error leaves unknown whether the attempt's pod was created. */
  readonly uncertain?: (queue: string, attempt: RunKey & { attempt: number }) => void;
}

const DEFAULTS = podParamsSchema.parse({});

/** Runs a command in one pod per attempt. */
export class CommandOperator extends PodRunOperator<CommandParams> {
  readonly name = 'command';
  readonly paramsSchema = commandParamsSchema;
  readonly #options: CommandOperatorOptions;
  readonly #manifests: CommandManifests;

  constructor(options: CommandOperatorOptions) {
    super(options);
    this.#options = options;
    this.#manifests = new CommandManifests(options);
  }

  check(request: RunRequest, params: CommandParams, run?: RunKey): readonly Problem[] {
    return this.#manifests.check(request, params, run);
  }

  checkPolicy(request: RunRequest, params: CommandParams, run: RunKey): readonly Problem[] {
    return this.#manifests.checkPolicy(request, params, run);
  }

  override async triggerReentry(context: StepContext<CommandParams>, event: TriggerEvent): Promise<StepOutcome> {
    const outcome = await super.triggerReentry(context, event);
    // The outcome counts, not the event: a pod that has started after all ends by itself.
    const diagnosis = outcome.kind === 'over' ? outcome.outcome.diagnosis : undefined;
    const isStuck = diagnosis?.code === 'STARTUP_TIMEOUT' || diagnosis?.code === 'SCHEDULE_TIMEOUT';
    if (outcome.kind !== 'over' || !isStuck || (context.state.stuckStarts ?? 0) >= this.#options.queuedRetries)
      return outcome;
    // The command never started: it gets another pod, and no retry is spent.
    const replaced = diagnosisOf('STUCK_QUEUED', { pod: event.pod, message: diagnosis.summary });
    const { evidence } = diagnosis;
    return { ...outcome, outcome: { ...outcome.outcome, diagnosis: { ...replaced, evidence } } };
  }

  /** The run as a pod run. Commands have no templates. */
  protected podRun({ params }: RenderContext<CommandParams>): PodRun {
    const { kubernetesConnId, getLogs, loggingInterval, doXcomPush, xcomMode, skipOnExitCode } = params;
    const podParams: PodParams = {
      ...DEFAULTS,
      ...{ kubernetesConnId, getLogs, loggingInterval, doXcomPush, xcomMode, skipOnExitCode },
      // Commands usually wait for slots, quota and nodes; reading the events of each would cost one call more.
      logEventsOnStartup: false,
      startupTimeoutSeconds: params.startupTimeoutSeconds ?? this.#options.queuedTimeoutSeconds,
    };
    return { params: podParams, problems: [] };
  }

  protected manifest(
    { run, installation, queue, request, params }: RenderContext<CommandParams>,
    _podParams: PodParams,
    attempt: number,
    { namespace: defaultNamespace, xcomSidecar }: Cluster,
  ): Manifest {
    const names = { run, attempt, installation, queue };
    return this.#manifests.manifest({ ...names, request, params, defaultNamespace, xcomSidecar });
  }

  protected launchOptions({ run, queue, state }: StepContext<CommandParams>): LaunchOptions {
    const { launcher, created, uncertain } = this.#options;
    const attempt = { ...run, attempt: state.attempt };
    return {
      ...(launcher === undefined ? {} : { inTurn: (create) => launcher.run(create) }),
      refusal: (error, namespace, now) => {
        const outcome = this.#refusal(state.memo, error, namespace, now);
        if (outcome === undefined) uncertain?.(queue, attempt);
        return outcome;
      },
      created: (pod) => created?.(queue, attempt, pod),
    };
  }

  /** A refused creation is repeated as often as the installation allows, or never. */
  #refusal(
    memo: StepContext<unknown>['state']['memo'],
    error: unknown,
    namespace: string,
    now: number,
  ): StepOutcome | undefined {
    const refusal = launchRefused(error, namespace, now);
    if (refusal?.kind !== 'later') return refusal;
    const failure = creationFailure(error);
    const fault = failure.kind === 'api' ? failure.fault : undefined;
    // Rejected credentials and a name that was in use a moment ago are not counted: both pass.
    if (fault === 'unauthorized' || fault === 'alreadyExists') return refusal;
    const retries = typeof memo?.['publishRetries'] === 'number' ? memo['publishRetries'] : 0;
    const retry = creationRetry(failure, { retries, maxRetries: this.#options.publishRetries });
    if (retry.kind === 'requeue') return { ...refusal, memo: { ...memo, publishRetries: retry.retries } };
    const message = error instanceof Error ? error.message : undefined;
    const diagnosis = fault === 'conflict' ? diagnosisOf('INVALID_REQUEST', { message }) : refusal.why;
    return { kind: 'over', outcome: { state: 'failed', diagnosis } };
  }

  protected override async stopPod(step: PodStep, pod: PodRef): Promise<'gone' | 'stopping'> {
    const { cancel, stopping } = step.context.state;
    // A pod that ended before the next attempt is not stopped: the deletion options decide about it.
    if (cancel === undefined && stopping === undefined && hasEnded(await step.cluster.findPod(pod))) return 'gone';
    return await super.stopPod(step, pod);
  }

  /** By the deletion options; a pod that still runs is always deleted. */
  protected override async cleanUpPod({ cluster, context }: PodStep, outcome: Outcome, pod: PodRef): Promise<void> {
    const action = commandPodAction(outcome.state === 'failed', this.#options);
    const isRetained = action !== 'delete' && outcome.state !== 'cancelled';
    const rest = isRetained ? restOf(await cluster.findPod(pod), outcome.exitCode !== undefined) : 'containers';
    // The result is stored by now. A sidecar that cannot be ended would occupy its slot for ever.
    const hasRest = rest === 'result sidecar' && !(await endSidecar({ cluster, pod, log: context.log }));
    if (rest === 'containers' || hasRest) {
      await cluster.deletePod(pod);
      return;
    }
    const labels = {
      [LABELS.alreadyChecked]: LABEL_TRUE,
      ...(action === 'markDone' ? { [LABELS.executorDone]: LABEL_TRUE } : {}),
    };
    await cluster.patchPod(pod, { metadata: { labels } });
  }
}

function hasEnded(pod: PodProjection | undefined): boolean {
  return pod?.phase === 'Succeeded' || pod?.phase === 'Failed';
}

/**
 * What still runs of a pod that is to be retained, and would occupy a slot. Containers beside the base container, such as an injected proxy, outlive it;
 * the result's sidecar can be ended once it has started.
 * @param baseHasEnded known from the outcome: the pod's status may lag behind
 */
function restOf(pod: PodProjection | undefined, baseHasEnded: boolean): 'nothing' | 'result sidecar' | 'containers' {
  if (pod === undefined || hasEnded(pod)) return 'nothing';
  if (!baseHasEnded) return 'containers';
  const rest = pod.containers.filter(
    ({ name, kind, state }) => kind === 'main' && name !== pod.baseContainer && state !== 'terminated',
  );
  if (rest.length === 0) return 'nothing';
  const isSidecar = rest.every(({ name, state }) => name === XCOM.container && state === 'running');
  return isSidecar ? 'result sidecar' : 'containers';
}
