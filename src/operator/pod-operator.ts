/** The `pod` operator as the engine drives it: what a worker does with a run that is one Kubernetes pod per attempt. @see spec pod-operator §4, §5, §7 */
import { textIn } from '../core/json.ts';
import { redactedManifest } from '../core/pod/manifest.ts';
import type { PodRef } from '../core/pod/projection.ts';
import type { Problem } from '../errors.ts';
import type { LiveChunk } from '../ports/broker.ts';
import type { Cluster, Manifest } from '../ports/cluster.ts';
import type { Outcome } from '../wire/outcome.ts';
import type { RunRequest } from '../wire/run-request.ts';
import type { TriggerEvent } from '../wire/triggers.ts';
import type { RunKey } from '../wire/subjects.ts';
import { targetOf } from '../policy/check-manifest.ts';
import { cleanUpPod, stopPod } from './finishing.ts';
import { findManifest, launch } from './launch.ts';
import { followPodLogs } from './logs/follow-pod-logs.ts';
import { namesContainers } from './logs/step.ts';
import type { Operator, StepContext, StepOutcome } from './operator.ts';
import { type PodParams, podParamsSchema } from './pod-params.ts';
import { patiently } from './patiently.ts';
import {
  clusterOf,
  invalidRequest,
  type PodManifestOptions,
  PodManifests,
  type RenderContext,
} from './pod-manifests.ts';
import { type PodStep, podStep } from './pod-step.ts';
import { reenter } from './re-entry.ts';
import type { CallbackHost } from './step-callbacks.ts';

/** What the operator is configured with; nothing of it comes from a request. */
export type PodOperatorOptions = PodManifestOptions;

type Context = StepContext<PodParams>;

/** Runs a pod per attempt and lets go of it while it runs. Stateless: what it must remember is in the run's state. */
export class PodOperator implements Operator<PodParams> {
  readonly name = 'pod';
  readonly paramsSchema = podParamsSchema;
  readonly #requests: PodManifests;
  readonly #host: CallbackHost;

  constructor(options: PodOperatorOptions) {
    const requests = new PodManifests(options);
    const known = new WeakSet<Cluster>();
    this.#requests = requests;
    this.#host = {
      operator: this,
      callbacksOf: (params) => requests.callbacksOf(params),
      isNew(cluster) {
        if (known.has(cluster)) return false;
        known.add(cluster);
        return true;
      },
    };
  }

  check(request: RunRequest, params: PodParams, run?: RunKey): readonly Problem[] {
    return this.#requests.check(request, params, run);
  }

  admit(request: RunRequest, params: PodParams, run: RunKey): readonly Problem[] {
    return this.#requests.admit(request, params, run);
  }

  render(context: RenderContext, attempt: number): Manifest {
    return redactedManifest(this.#manifest(context, attempt).manifest);
  }

  /** The seed's `dry_run`, asked of the API server: admission, quota and Pod Security have their say. */
  async dryRun(context: RenderContext, attempt: number): Promise<Manifest> {
    const { manifest, cluster } = this.#manifest(context, attempt);
    const refusal = this.#requests.refused(manifest, targetOf(context, cluster));
    if (refusal !== undefined) throw invalidRequest(refusal.problems);
    const namespace = textIn(manifest['metadata'], 'namespace') ?? cluster.namespace;
    const { pod } = await cluster.createPod(namespace, manifest, { dryRun: true });
    return redactedManifest(pod);
  }

  async execute(context: Context): Promise<StepOutcome> {
    return await launch(context, this.#requests, this.#host);
  }

  async triggerReentry(context: Context, event: TriggerEvent): Promise<StepOutcome> {
    const connection = event.pod?.connection ?? context.state.pod?.connection;
    return await patiently(() => reenter(this.#step(context, connection), event));
  }

  async find(context: Context): Promise<PodRef | undefined> {
    const params = this.#requests.paramsOf(context);
    const cluster = clusterOf(context, params);
    const manifest = this.#requests.manifest(context, params, context.state.attempt, cluster);
    return await patiently(() => findManifest(context, cluster, manifest));
  }

  keepsSlot({ deferrable }: PodParams): boolean {
    return !deferrable;
  }

  namesContainers(params: PodParams): boolean {
    return namesContainers(params);
  }

  async stop(context: Context, pod: PodRef): Promise<'gone' | 'stopping'> {
    return await patiently(() => stopPod(this.#step(context, pod.connection), pod));
  }

  async followLogs(context: Context, publish: (chunk: LiveChunk) => Promise<void>, signal: AbortSignal): Promise<void> {
    if (context.state.pod !== undefined)
      await followPodLogs(this.#step(context, context.state.pod.connection), context.state.pod, publish, signal);
  }

  async cleanUp(context: Context, outcome: Outcome, pod: PodRef): Promise<void> {
    await patiently(() => cleanUpPod(this.#step(context, pod.connection), outcome, pod));
  }

  #step(context: Context, connection: string | undefined): PodStep {
    const params = this.#requests.paramsOf(context);
    const cluster = connection === undefined ? clusterOf(context, params) : context.cluster(connection);
    return podStep(this.#host, context, params, cluster, this.#requests.formatOf(params));
  }

  #manifest(context: RenderContext, attempt: number): { readonly manifest: Manifest; readonly cluster: Cluster } {
    const { params, problems } = this.#requests.rendered(context.run, context.request, context.params, attempt);
    if (params === undefined || problems.length > 0) throw invalidRequest(problems);
    const cluster = clusterOf(context, params);
    return { manifest: this.#requests.manifest(context, params, attempt, cluster), cluster };
  }
}
