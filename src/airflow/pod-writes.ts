/** What an executor does to pods that are there: delete, mark as done or taken back, adopt. @see spec executor §3.8 */
import { recordIn, textIn } from '../core/json.ts';
import { LABEL_TRUE, LABELS, makeSafeLabelValue } from '../core/pod/labels.ts';
import type { PodRef } from '../core/pod/projection.ts';
import { KubernetesError } from '../errors.ts';
import type { Log, Meter } from '../ports/ambient.ts';
import type { Cluster } from '../ports/cluster.ts';

/** A pod by name, and by uid where that is known: a name may come back as another pod. */
export interface NamedPod {
  readonly podName: string;
  readonly namespace: string;
  readonly podUid?: string | undefined;
}

/** What is needed of a cluster. */
export type PodsCluster = Pick<Cluster, 'connection' | 'getPod' | 'deletePod' | 'patchPod'>;

/** Writes to the pods of one owner. */
export class PodWrites {
  readonly #cluster: PodsCluster;
  readonly #log: Log | undefined;
  readonly #meter: Meter | undefined;

  constructor(cluster: PodsCluster, log?: Log, meter?: Meter) {
    this.#cluster = cluster;
    this.#log = log;
    this.#meter = meter;
  }

  /** The pod of that name, asked for where its uid is not known. */
  async refOf({ podName, namespace, podUid }: NamedPod): Promise<PodRef | undefined> {
    const { connection } = this.#cluster;
    if (podUid !== undefined && podUid !== '') return { connection, namespace, name: podName, uid: podUid };
    const pod = await this.#cluster.getPod(namespace, podName);
    const uid = textIn(recordIn(pod, 'metadata'), 'uid');
    return uid === undefined ? undefined : { connection, namespace, name: podName, uid };
  }

  /** Asks for its deletion; a pod that is gone is none. @throws KubernetesError for any other refusal */
  async delete(pod: NamedPod, gracePeriodSeconds?: number): Promise<void> {
    const ref = await this.refOf(pod);
    if (ref === undefined) return;
    await this.#counted('executor_pod_deletions_total', () => this.#cluster.deletePod(ref, gracePeriodSeconds));
  }

  /** Sets a label. Refusals are logged: `false`. */
  async label(pod: NamedPod, key: string, value: string): Promise<boolean> {
    try {
      const ref = await this.refOf(pod);
      if (ref === undefined) return false;
      const patch = { metadata: { labels: { [key]: value } } };
      const outcome = await this.#counted('executor_pod_patches_total', () => this.#cluster.patchPod(ref, patch));
      return outcome === 'patched';
    } catch (error) {
      if (!(error instanceof KubernetesError)) throw error;
      this.#log?.warn({ pod: pod.podName, namespace: pod.namespace, label: key, err: error }, 'a pod was not labelled');
      return false;
    }
  }

  /** Its end is accounted for: it leaves the watch. */
  markDone(pod: NamedPod): Promise<boolean> {
    return this.label(pod, LABELS.executorDone, LABEL_TRUE);
  }

  /** Its task was taken back: its end means nothing. */
  markRevoked(pod: NamedPod): Promise<boolean> {
    return this.label(pod, LABELS.podRevoked, LABEL_TRUE);
  }

  /** It is `owner`'s from now on. */
  adopt(pod: NamedPod, owner: string): Promise<boolean> {
    return this.label(pod, LABELS.worker, makeSafeLabelValue(owner));
  }

  async #counted<T>(
    metric: 'executor_pod_deletions_total' | 'executor_pod_patches_total',
    call: () => Promise<T>,
  ): Promise<T> {
    try {
      const outcome = await call();
      this.#meter?.count(metric, { status: '200' });
      return outcome;
    } catch (error) {
      const status = error instanceof KubernetesError && error.status > 0 ? String(error.status) : 'error';
      this.#meter?.count(metric, { status });
      throw error;
    }
  }
}
