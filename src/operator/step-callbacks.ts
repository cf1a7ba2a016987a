/** The callbacks of a step: who is called, and with what. */
import { textIn } from '../core/json.ts';
import type { PodRef } from '../core/pod/projection.ts';
import type { Cluster, Manifest } from '../ports/cluster.ts';
import { triggerEventSchema } from '../wire/triggers.ts';
import type { TriggerEvent } from '../wire/triggers.ts';
import { type CallbackArgs, ExecutionMode, type PodCallbacks, RunCallbacks } from './callbacks.ts';
import type { StepContext } from './operator.ts';
import type { PodParams } from './pod-params.ts';
import { withKwargs } from './trigger-kwargs.ts';

/** Hooks about a pod that need nothing else. */
type PodHook = 'onPodCreation' | 'onPodStarting' | 'onPodCompletion' | 'onPodTeardown' | 'onPodCleanup';

/** What a step's callbacks are made from. */
export interface CallbackHost {
  readonly operator: unknown;
  callbacksOf(params: PodParams): readonly PodCallbacks[];
  /** Whether this is the first use of the cluster by this operator. */
  isNew(cluster: Cluster): boolean;
}

/** The callbacks of one step on one cluster. Where a run has none, nothing is read for them. */
export class StepCallbacks {
  readonly calls: RunCallbacks;
  readonly #host: CallbackHost;
  readonly #scene: CallbackArgs;
  readonly #kwargs: PodParams['triggerKwargs'];

  constructor(host: CallbackHost, context: StepContext<PodParams>, params: PodParams, client: Cluster) {
    this.calls = new RunCallbacks(host.callbacksOf(params), context.log);
    this.#host = host;
    this.#kwargs = params.triggerKwargs;
    this.#scene = { client, operator: host.operator, mode: ExecutionMode.SYNC, context };
  }

  /** First of all on a cluster. */
  async clientUsed(): Promise<void> {
    const { client, operator } = this.#scene;
    if (!this.calls.isEmpty && this.#host.isNew(client))
      await this.calls.fire('onSyncClientCreation', { client, operator });
  }

  async manifestCreated(manifest: Manifest): Promise<Manifest> {
    return await this.calls.manifestCreated(manifest, this.#scene);
  }

  /** Calls hooks about a pod one after another, each for all callbacks, with one read of the pod. */
  async pod(ref: PodRef, ...hooks: readonly PodHook[]): Promise<void> {
    if (this.calls.isEmpty) return;
    const pod = await this.#read(ref);
    for (const hook of hooks) await this.calls.fire(hook, { ...this.#scene, pod });
  }

  /** The event carries what the run's `triggerKwargs` say. */
  async resuming(ref: PodRef | undefined, event: TriggerEvent): Promise<void> {
    if (this.calls.isEmpty || event.kind === 'running') return;
    const pod = ref === undefined ? undefined : await this.#read(ref);
    const carrying = withKwargs(event, this.#kwargs, triggerEventSchema.shape);
    await this.calls.fire('onOperatorResuming', { ...this.#scene, pod, event: carrying });
  }

  /** The pod's object; a callback is no reason to fail. */
  async #read({ namespace, name, uid }: PodRef): Promise<Manifest | undefined> {
    try {
      const found = await this.#scene.client.getPod(namespace, name);
      return textIn(found?.['metadata'], 'uid') === uid ? found : undefined;
    } catch {
      return undefined;
    }
  }
}
