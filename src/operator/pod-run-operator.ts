/** What the `pod` and `command` operators have in common: the life of the one pod that each attempt of a run has. */
import type { z } from 'zod';
import { diagnosisOf } from '../core/run/diagnosis.ts';
import { redactedManifest } from '../core/pod/manifest.ts';
import type { PodRef } from '../core/pod/projection.ts';
import { KubernetesError, type Problem, ReentryError } from '../errors.ts';
import { type ManifestRules, podTargetOf, checkManifest } from '../policy/check-manifest.ts';
import type { LiveChunk } from '../ports/broker.ts';
import type { Cluster, Manifest } from '../ports/cluster.ts';
import type { Outcome } from '../wire/outcome.ts';
import type { RunRequest } from '../wire/run-request.ts';
import type { TriggerEvent } from '../wire/triggers.ts';
import type { RunKey } from '../wire/subjects.ts';
import { ExecutionMode } from './callbacks.ts';
import { cleanUpPod, stopPod } from './finishing.ts';
import { findPod, type LaunchOptions, launchPod, namespaceOf, untilAvailable } from './launch.ts';
import { followPodLogs } from './logs/step.ts';
import { failed, type Operator, type RenderContext, type StepContext, type StepOutcome } from './operator.ts';
import { clusterOf } from './pod-manifests.ts';
import type { PodParams } from './pod-params.ts';
import type { PodRun, PodStep } from './pod-step.ts';
import { reenter } from './re-entry.ts';
import { StepCallbacks } from './step-callbacks.ts';

/** Runs one pod per attempt, and holds nothing while the pod runs. Stateless: all it has to remember is in the run's state. */
export abstract class PodRunOperator<Params> implements Operator<Params> {
  abstract readonly name: string;
  abstract readonly paramsSchema: z.ZodType<Params>;
  readonly #rules: ManifestRules;
  /** Clusters that this operator has used. */
  readonly #used = new WeakSet<Cluster>();

  constructor(rules: ManifestRules) {
    this.#rules = rules;
  }

  abstract check(request: RunRequest, params: Params, run?: RunKey): readonly Problem[];
  abstract checkPolicy(request: RunRequest, params: Params, run: RunKey): readonly Problem[];
  /** @throws ReentryError INVALID_REQUEST where the run has no pod */
  protected abstract podRun(context: RenderContext<Params>, attempt: number): PodRun;
  /**
   * The manifest of an attempt's pod. The same inputs give the same manifest, name included.
   * @throws ReentryError INVALID_REQUEST, CONFIG_INVALID where it cannot be built
   */
  protected abstract manifest(
    context: RenderContext<Params>,
    params: PodParams,
    attempt: number,
    cluster: Cluster,
  ): Manifest;

  /** What this operator does otherwise than `launchPod` by itself. */
  protected abstract launchOptions(context: StepContext<Params>): LaunchOptions;

  render(context: RenderContext<Params>, attempt: number): Manifest {
    return redactedManifest(this.#build(context, attempt).manifest);
  }

  /** Airflow's `dry_run`, done by the API server: admission, quota and Pod Security apply. */
  async dryRun(context: RenderContext<Params>, attempt: number): Promise<Manifest> {
    const { manifest, cluster } = this.#build(context, attempt);
    const refusal = checkManifest(manifest, this.#rules, podTargetOf(context, cluster));
    if (refusal !== undefined) throw invalidRequest(refusal.problems);
    const { pod } = await cluster.createPod(namespaceOf(manifest, cluster), manifest, { dryRun: true });
    return redactedManifest(pod);
  }

  async execute(context: StepContext<Params>): Promise<StepOutcome> {
    const { run, request, state } = context;
    const podRun = this.podRun(context, state.attempt);
    const { params, problems } = podRun;
    // The request was checked when it was accepted, but the configuration may have changed since.
    const found = [...problems, ...this.check(request, context.params, run)];
    if (found.length > 0) return failed('INVALID_REQUEST', { problems: unique(found) });
    let cluster: Cluster;
    try {
      cluster = clusterOf(context, params);
    } catch (error) {
      if (!(error instanceof ReentryError) || error.code !== 'CONFIG_INVALID') throw error;
      return failed('UNKNOWN_CONNECTION', { subject: params.kubernetesConnId ?? undefined, message: error.message });
    }
    return await this.#launch(context, this.#step(context, podRun, cluster));
  }

  async #launch(context: StepContext<Params>, step: PodStep): Promise<StepOutcome> {
    const { params, cluster, callbacks } = step;
    if (callbacks !== undefined && this.#isFirstUse(cluster)) await callbacks.clientCreated();
    const built = this.manifest(context, params, context.state.attempt, cluster);
    const manifest = (await callbacks?.manifestCreated(built)) ?? built;
    const refusal = checkManifest(manifest, this.#rules, podTargetOf(context, cluster));
    if (refusal?.code === 'POLICY_UNAVAILABLE') return untilPolicy(context, refusal.message ?? '');
    if (refusal !== undefined) return failed(refusal.code, refusal);
    const outcome = await launchPod(step, manifest, this.launchOptions(context));
    if (outcome.kind === 'defer' && outcome.pod !== undefined) await callbacks?.pod(outcome.pod, 'onPodCreation');
    return outcome;
  }

  async triggerReentry(context: StepContext<Params>, event: TriggerEvent): Promise<StepOutcome> {
    const connection = event.pod?.connection ?? context.state.pod?.connection;
    return await reenter(this.#stepOn(context, connection), event).catch(redeliverIfUnauthorized);
  }

  async find(context: StepContext<Params>): Promise<PodRef | undefined> {
    const { params } = this.podRun(context, context.state.attempt);
    const cluster = clusterOf(context, params);
    const manifest = this.manifest(context, params, context.state.attempt, cluster);
    return await findPod(context, cluster, manifest).catch(redeliverIfUnauthorized);
  }

  async stop(context: StepContext<Params>, pod: PodRef): Promise<'gone' | 'stopping'> {
    return await this.stopPod(this.#stepOn(context, pod.connection), pod).catch(redeliverIfUnauthorized);
  }

  protected async stopPod(step: PodStep, pod: PodRef): Promise<'gone' | 'stopping'> {
    return await stopPod(step, pod);
  }

  async followLogs(
    context: StepContext<Params>,
    publish: (chunk: LiveChunk) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    const { pod } = context.state;
    if (pod !== undefined) await followPodLogs(this.#stepOn(context, pod.connection), pod, publish, signal);
  }

  async cleanUp(context: StepContext<Params>, outcome: Outcome, pod: PodRef): Promise<void> {
    await this.cleanUpPod(this.#stepOn(context, pod.connection), outcome, pod).catch(redeliverIfUnauthorized);
  }

  protected async cleanUpPod(step: PodStep, outcome: Outcome, pod: PodRef): Promise<void> {
    await cleanUpPod(step, outcome, pod);
  }

  #build(context: RenderContext<Params>, attempt: number): { readonly manifest: Manifest; readonly cluster: Cluster } {
    const { params, problems } = this.podRun(context, attempt);
    if (problems.length > 0) throw invalidRequest(problems);
    const cluster = clusterOf(context, params);
    return { manifest: this.manifest(context, params, attempt, cluster), cluster };
  }

  /** A step on the cluster of the run's pod; without a connection, of its parameters. */
  #stepOn(context: StepContext<Params>, connection: string | undefined): PodStep {
    const podRun = this.podRun(context, context.state.attempt);
    const cluster = connection === undefined ? clusterOf(context, podRun.params) : context.cluster(connection);
    return this.#step(context, podRun, cluster);
  }

  #step(context: StepContext<Params>, { params, callbacks = [], format }: PodRun, cluster: Cluster): PodStep {
    const { triggerKwargs } = params;
    const source = { client: cluster, operator: this, mode: ExecutionMode.SYNC, context };
    const calls =
      callbacks.length === 0 ? undefined : new StepCallbacks({ ...source, callbacks, triggerKwargs, log: context.log });
    return { context, params, cluster, callbacks: calls, format, events: new Map() };
  }

  #isFirstUse(cluster: Cluster): boolean {
    if (this.#used.has(cluster)) return false;
    this.#used.add(cluster);
    return true;
  }
}

/** The launch is put off until the policy can be read. A redelivered launch, which may have a pod already, comes again instead. */
function untilPolicy(context: StepContext<unknown>, message: string): StepOutcome {
  if (context.isFresh === true) return untilAvailable(context, diagnosisOf('POLICY_UNAVAILABLE', { message }));
  throw new ReentryError('CONFIG_INVALID', message, { transient: true });
}

/** Expired credentials are not the run's fault: its message is redelivered until the connection has new ones. */
function redeliverIfUnauthorized(error: unknown): never {
  if (!(error instanceof KubernetesError) || error.fault !== 'unauthorized') throw error;
  throw new ReentryError('UNAUTHORIZED', error.message, { transient: true, cause: error });
}

function unique(problems: readonly Problem[]): readonly Problem[] {
  return [...new Map(problems.map((problem) => [`${problem.path} ${problem.message}`, problem])).values()];
}

function invalidRequest(problems: readonly Problem[]): ReentryError {
  const text = problems.map(({ path, message }) => `${path}: ${message}`).join('; ');
  return new ReentryError('INVALID_REQUEST', text, { transient: false, problems });
}
