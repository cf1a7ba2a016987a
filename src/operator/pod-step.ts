/** What one step of a run with a pod works with. */
import { LABEL_TRUE, LABELS } from '../core/pod/labels.ts';
import type { PodRef } from '../core/pod/projection.ts';
import type { Cluster, PodEventLine } from '../ports/cluster.ts';
import type { LineFormat } from './logs/reader.ts';
import type { StepContext } from './operator.ts';
import type { PodParams } from './pod-params.ts';
import type { StepCallbacks } from './step-callbacks.ts';

/** Parts of a step. */
export interface PodStepOptions {
  readonly context: StepContext<unknown>;
  /** The run's parameters as those of a pod run, templates rendered. */
  readonly params: PodParams;
  readonly cluster: Cluster;
  readonly callbacks: StepCallbacks;
  /** Changes the text of log lines before they are stored. Default: stored as they are. */
  readonly format?: LineFormat | undefined;
}

/** One step on one cluster. */
export class PodStep implements PodStepOptions {
  readonly context: StepContext<unknown>;
  readonly params: PodParams;
  readonly cluster: Cluster;
  readonly callbacks: StepCallbacks;
  readonly format: LineFormat | undefined;
  /** By uid; read once per step. */
  readonly #events = new Map<string, Promise<readonly PodEventLine[]>>();

  constructor({ context, params, cluster, callbacks, format }: PodStepOptions) {
    this.context = context;
    this.params = params;
    this.cluster = cluster;
    this.callbacks = callbacks;
    this.format = format;
  }

  /** The pod's Kubernetes events as they were when first read in this step; empty where they cannot be read. */
  async eventsOf(pod: PodRef): Promise<readonly PodEventLine[]> {
    const read = this.#events.get(pod.uid) ?? this.#readEvents(pod);
    this.#events.set(pod.uid, read);
    return await read;
  }

  /** Marks a pod that stays after its attempt: nothing is left to do with it. */
  async markChecked(pod: PodRef): Promise<void> {
    await this.cluster.patchPod(pod, { metadata: { labels: { [LABELS.alreadyChecked]: LABEL_TRUE } } });
  }

  /** Requests deletion of the pod by uid, with the run's grace period. `gone`: it no longer exists. */
  async deletePod(pod: PodRef): Promise<'asked' | 'gone'> {
    return await this.cluster.deletePod(pod, this.params.terminationGracePeriod ?? undefined);
  }

  async #readEvents(pod: PodRef): Promise<readonly PodEventLine[]> {
    try {
      return await this.cluster.podEvents(pod);
    } catch (error) {
      this.context.log.warn({ pod: pod.name, err: error }, 'pod events could not be read');
      return [];
    }
  }
}
