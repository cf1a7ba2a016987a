/** The `command` operator: KubernetesExecutor as the engine drives it. What a pod's life has in common with `pod` runs is the operator's. @see spec executor §3, §5, protocol §8 */
import { diagnosisOf } from '../core/run/diagnosis.ts';
import { commandPodAction } from '../core/pod/finish-action.ts';
import { redactedManifest } from '../core/pod/manifest.ts';
import { LABEL_TRUE, LABELS } from '../core/pod/labels.ts';
import { textIn } from '../core/json.ts';
import { XCOM } from '../core/pod/xcom-sidecar.ts';
import type { PodRef } from '../core/pod/projection.ts';
import { type Problem, ReentryError } from '../errors.ts';
import { targetOf } from '../policy/check-manifest.ts';
import { stopPod } from './finishing.ts';
import { followPodLogs } from './logs/follow-pod-logs.ts';
import { findManifest, launchManifest } from './launch.ts';
import { launchRefused } from './launch-errors.ts';
import type { Operator, StepContext, StepOutcome } from './operator.ts';
import { type PodParams, podParamsSchema } from './pod-params.ts';
import { clusterOf, invalidRequest } from './pod-manifests.ts';
import { type PodStep, podStep } from './pod-step.ts';
import { patiently } from './patiently.ts';
import { reenter } from './re-entry.ts';
import { endSidecar } from './xcom.ts';
import type { LiveChunk } from '../ports/broker.ts';
import type { Cluster, Manifest } from '../ports/cluster.ts';
import type { Outcome } from '../wire/outcome.ts';
import type { RunRequest } from '../wire/run-request.ts';
import type { TriggerEvent } from '../wire/triggers.ts';
import type { RunKey } from '../wire/subjects.ts';
import { type CommandParams, commandParamsSchema } from './command-params.ts';
import { type CommandManifestOptions, CommandManifests } from './command-manifests.ts';
import type { Launched } from '../slots/launch-book.ts';
import type { Launcher } from '../slots/launcher.ts';
import { decidePublish, publishFailure } from './publish-decision.ts';

/** What the operator is configured with; nothing of it comes from a request. */
export interface CommandOperatorOptions extends CommandManifestOptions {
  /** Delete pods once their run is over. */
  readonly deleteWorkerPods: boolean;
  /** The same for failed pods; where false they are kept, marked. */
  readonly deleteWorkerPodsOnFailure: boolean;
  /** How often a launch is postponed for quota, throttling or a failing API server; −1: without end. */
  readonly publishRetries: number;
  /** Time a pod gets to start before it is replaced. */
  readonly queuedTimeoutSeconds: number;
  /** How often a pod that did not start in time is replaced without spending a retry. */
  readonly queuedRetries: number;
  /** Limits pod creations in flight. Default: no limit. */
  readonly launcher?: Launcher;
  /** Told of each pod that was made or adopted. */
  readonly launched?: Launched;
}

type Context = StepContext<CommandParams>;
type RenderContext = Parameters<Operator<CommandParams>['render']>[0];

const DEFAULTS = podParamsSchema.parse({});

/** Runs a command in a pod of its own per attempt, and lets go of it while it runs. */
export class CommandOperator implements Operator<CommandParams> {
  readonly name = 'command';
  readonly paramsSchema = commandParamsSchema;
  readonly #options: CommandOperatorOptions;
  readonly #pods: CommandManifests;

  constructor(options: CommandOperatorOptions) {
    this.#options = options;
    this.#pods = new CommandManifests(options);
  }

  check(request: RunRequest, params: CommandParams, run?: RunKey): readonly Problem[] {
    return this.#pods.check(request, params, run);
  }

  admit(request: RunRequest, params: CommandParams, run: RunKey): readonly Problem[] {
    return this.#pods.admit(request, params, run);
  }

  render(context: RenderContext, attempt: number): Manifest {
    return redactedManifest(this.#manifest(context, attempt).manifest);
  }

  async dryRun(context: RenderContext, attempt: number): Promise<Manifest> {
    const { manifest, cluster } = this.#manifest(context, attempt);
    const refusal = this.#pods.refused(manifest, targetOf(context, cluster));
    if (refusal !== undefined) throw invalidRequest(refusal.problems);
    const namespace = textIn(manifest['metadata'], 'namespace') ?? cluster.namespace;
    const { pod } = await cluster.createPod(namespace, manifest, { dryRun: true });
    return redactedManifest(pod);
  }

  async execute(context: Context): Promise<StepOutcome> {
    const { run, params, queue, state } = context;
    let cluster: Cluster;
    try {
      cluster = this.#cluster(context);
    } catch (error) {
      if (!(error instanceof ReentryError) || error.code !== 'CONFIG_INVALID') throw error;
      const subject = params.kubernetesConnId ?? undefined;
      return over(diagnosisOf('UNKNOWN_CONNECTION', { subject, message: error.message }));
    }
    // Checked when it was taken in; but the configuration may have changed since.
    const made = this.#pods.made(this.#attempt(context, state.attempt, cluster));
    if ('problems' in made) return over(diagnosisOf('INVALID_REQUEST', { problems: made.problems }));
    const refusal = this.#pods.refused(made.manifest, targetOf(context, cluster));
    if (refusal !== undefined) return over(diagnosisOf(refusal.code, refusal));
    return await launchManifest(this.#asPod(context), cluster, made.manifest, {
      turn: (create) => this.#options.launcher?.run(create) ?? create(),
      refused: (error, namespace, now) => this.#refused(context, error, namespace, now),
      launched: (pod) => this.#options.launched?.(queue, run, pod),
    });
  }

  async triggerReentry(context: Context, event: TriggerEvent): Promise<StepOutcome> {
    const { queuedRetries } = this.#options;
    const asPod = this.#asPod(context);
    const connection = event.pod?.connection ?? context.state.pod?.connection;
    const outcome = await patiently(() => reenter(this.#step(asPod, connection), event));
    // What it came to, not what the event said: a pod that has begun after all has its own end.
    const code = outcome.kind === 'over' ? outcome.outcome.diagnosis?.code : undefined;
    const stuck = code === 'STARTUP_TIMEOUT' || code === 'SCHEDULE_TIMEOUT';
    if (!stuck || outcome.kind !== 'over' || (context.state.stuckStarts ?? 0) >= queuedRetries) return outcome;
    // The task never began: it gets another pod, and no retry of its own is spent. @see spec executor §6.5
    const { diagnosis } = outcome.outcome;
    const replaced = diagnosisOf('STUCK_QUEUED', { pod: event.pod, message: diagnosis?.summary });
    return {
      ...outcome,
      outcome: { ...outcome.outcome, diagnosis: { ...replaced, evidence: diagnosis?.evidence ?? replaced.evidence } },
    };
  }

  async find(context: Context): Promise<PodRef | undefined> {
    const { manifest, cluster } = this.#manifest(context, context.state.attempt);
    return await patiently(() => findManifest(context, cluster, manifest));
  }

  async stop(context: Context, pod: PodRef): Promise<'gone' | 'stopping'> {
    return await patiently(() => this.#stop(context, pod));
  }

  async #stop(context: Context, pod: PodRef): Promise<'gone' | 'stopping'> {
    const { cancel, stopping } = context.state;
    // What has ended before its next attempt is not stopped: it goes or stays by the deletion policies.
    if (cancel === undefined && stopping === undefined && (await hasEnded(context.cluster(pod.connection), pod)))
      return 'gone';
    return await stopPod(this.#step(this.#asPod(context), pod.connection), pod);
  }

  async followLogs(context: Context, publish: (chunk: LiveChunk) => Promise<void>, signal: AbortSignal): Promise<void> {
    const { pod } = context.state;
    if (pod !== undefined) await followPodLogs(this.#step(this.#asPod(context), pod.connection), pod, publish, signal);
  }

  /** By the deletion policies; what still runs is never left behind, whatever they say. @see spec executor §5.3 */
  async cleanUp(context: Context, outcome: Outcome, pod: PodRef): Promise<void> {
    await patiently(() => this.#cleanUp(context, outcome, pod));
  }

  async #cleanUp(context: Context, outcome: Outcome, pod: PodRef): Promise<void> {
    const { deleteWorkerPods, deleteWorkerPodsOnFailure } = this.#options;
    const cluster = context.cluster(pod.connection);
    const action = commandPodAction(outcome.state === 'failed', { deleteWorkerPods, deleteWorkerPodsOnFailure });
    const kept = action !== 'delete' && outcome.state !== 'cancelled';
    const rest = kept ? await restOf(cluster, pod, outcome.exitCode !== undefined) : 'goes on';
    if (rest === 'goes on') {
      await cluster.deletePod(pod);
      return;
    }
    // The result is stored by now. A sidecar that cannot be told to end would keep its slot for ever.
    if (rest === 'result sidecar' && !(await endSidecar({ cluster, pod, log: context.log }))) {
      await cluster.deletePod(pod);
      return;
    }
    const labels = {
      [LABELS.alreadyChecked]: LABEL_TRUE,
      ...(action === 'markDone' ? { [LABELS.executorDone]: LABEL_TRUE } : {}),
    };
    await cluster.patchPod(pod, { metadata: { labels } });
  }

  /** What §3.7 says of a refusal: again, as often as the installation allows, or never. */
  #refused({ state }: Context, error: unknown, namespace: string, now: number): StepOutcome | undefined {
    const refusal = launchRefused(error, namespace, now);
    if (refusal?.kind !== 'later') return refusal;
    const failure = publishFailure(error);
    // Credentials that are refused, and a name that was taken a moment ago, are ours: they pass.
    if (failure.kind === 'api' && (failure.fault === 'unauthorized' || failure.fault === 'alreadyExists'))
      return refusal;
    const retries = typeof state.memo?.['publishRetries'] === 'number' ? state.memo['publishRetries'] : 0;
    const decision = decidePublish(failure, { retries, maxRetries: this.#options.publishRetries });
    switch (decision.kind) {
      case 'fail':
        return over(
          failure.kind === 'api' && failure.fault === 'conflict'
            ? diagnosisOf('INVALID_REQUEST', { message: error instanceof Error ? error.message : undefined })
            : refusal.why,
        );
      case 'requeue':
        return { ...refusal, memo: { ...state.memo, publishRetries: decision.retries } };
    }
  }

  #manifest(context: RenderContext, attempt: number): { readonly manifest: Manifest; readonly cluster: Cluster } {
    const cluster = this.#cluster(context);
    return { manifest: this.#pods.manifest(this.#attempt(context, attempt, cluster)), cluster };
  }

  /** Commands have no callbacks. */
  #step(asPod: StepContext<PodParams>, connection: string | undefined): PodStep {
    const cluster = connection === undefined ? clusterOf(asPod, asPod.params) : asPod.cluster(connection);
    return podStep({ operator: this, callbacksOf: () => [], isNew: () => false }, asPod, asPod.params, cluster);
  }

  #cluster(context: RenderContext): Cluster {
    return clusterOf(context, { ...DEFAULTS, kubernetesConnId: context.params.kubernetesConnId });
  }

  #attempt({ run, installation, queue, request, params }: RenderContext, attempt: number, cluster: Cluster) {
    const { namespace: defaultNamespace, xcomSidecar } = cluster;
    return { run, attempt, installation, queue, request, params, defaultNamespace, xcomSidecar };
  }

  /** The run as the operator's common parts know one: what it waits for, its logs and its result. */
  #asPod(context: Context): StepContext<PodParams> {
    const { params } = context;
    return {
      ...context,
      params: {
        ...DEFAULTS,
        // Commands wait for slots, quota and nodes as a matter of course; a look at each one's events would be a call more.
        logEventsOnStartup: false,
        kubernetesConnId: params.kubernetesConnId,
        getLogs: params.getLogs,
        loggingInterval: params.loggingInterval,
        doXcomPush: params.doXcomPush,
        xcomMode: params.xcomMode,
        skipOnExitCode: params.skipOnExitCode,
        startupTimeoutSeconds: params.startupTimeoutSeconds ?? this.#options.queuedTimeoutSeconds,
      },
    };
  }
}

const over = (diagnosis: Outcome['diagnosis']): StepOutcome => ({
  kind: 'over',
  outcome: { state: 'failed', diagnosis },
});

/** What is left of a pod that could be kept, and would keep its slot. */
type Rest = 'nothing' | 'result sidecar' | 'goes on';

/**
 * Containers beside the base container, such as an injected proxy, outlive it; the result's sidecar can be told to end, once it has begun.
 * `baseHasEnded`: its node may say so before it says it of the pod.
 */
async function restOf(cluster: Cluster, pod: PodRef, baseHasEnded: boolean): Promise<Rest> {
  const seen = await cluster.findPod(pod);
  if (seen === undefined || seen.phase === 'Succeeded' || seen.phase === 'Failed') return 'nothing';
  if (!baseHasEnded) return 'goes on';
  const rest = seen.containers.filter(
    ({ name, kind, state }) => kind === 'main' && name !== seen.baseContainer && state !== 'terminated',
  );
  if (rest.length === 0) return 'nothing';
  return rest.every(({ name, state }) => name === XCOM.container && state === 'running') ? 'result sidecar' : 'goes on';
}

/** Whether the pod itself is over. */
async function hasEnded(cluster: Cluster, pod: PodRef): Promise<boolean> {
  const seen = await cluster.findPod(pod);
  return seen?.phase === 'Succeeded' || seen?.phase === 'Failed';
}
