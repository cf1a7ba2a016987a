/** A scheduler's writes to existing pods: delete, label as done or revoked, adopt. */
import { recordIn, textIn } from '../core/json.ts';
import { LABEL_TRUE, LABELS, makeSafeLabelValue } from '../core/pod/labels.ts';
import type { PodRef } from '../core/pod/projection.ts';
import { KubernetesError } from '../errors.ts';
import type { Log, Meter } from '../ports/ambient.ts';
import type { Cluster } from '../ports/cluster.ts';

/** A pod by name, and by uid when known: a name may be reused by another pod. */
export interface NamedPod {
  readonly podName: string;
  readonly namespace: string;
  readonly podUid?: string | undefined;
}

/** The part of a cluster that `PodWrites` needs. */
export type PodsCluster = Pick<Cluster, 'connection' | 'getPod' | 'deletePod' | 'patchPod'>;

/** Writes to the pods of one scheduler, each counted in the metrics. */
export class PodWrites {
  readonly #cluster: PodsCluster;
  readonly #log: Log | undefined;
  readonly #meter: Meter | undefined;

  constructor(cluster: PodsCluster, log?: Log, meter?: Meter) {
    this.#cluster = cluster;
    this.#log = log;
    this.#meter = meter;
  }

  /** The reference of a pod; reads the pod when the uid is not known. `undefined`: no such pod. */
  async refOf({ podName, namespace, podUid }: NamedPod): Promise<PodRef | undefined> {
    const { connection } = this.#cluster;
    if (podUid !== undefined && podUid !== '') return { connection, namespace, name: podName, uid: podUid };
    const pod = await this.#cluster.getPod(namespace, podName);
    const uid = textIn(recordIn(pod, 'metadata'), 'uid');
    return uid === undefined ? undefined : { connection, namespace, name: podName, uid };
  }

  /** Deletes the pod; resolves when it does not exist. @throws KubernetesError for any other failure */
  async delete(pod: NamedPod, gracePeriodSeconds?: number): Promise<void> {
    const ref = await this.refOf(pod);
    if (ref === undefined) return;
    await this.#counted('executor_pod_deletions_total', () => this.#cluster.deletePod(ref, gracePeriodSeconds));
  }

  /** Sets a label; returns whether it was set. Failures are logged. */
  async label(pod: NamedPod, key: string, value: string): Promise<boolean> {
    try {
      const ref = await this.refOf(pod);
      if (ref === undefined) return false;
      const patch = { metadata: { labels: { [key]: value } } };
      const outcome = await this.#counted('executor_pod_patches_total', () => this.#cluster.patchPod(ref, patch));
      return outcome === 'patched';
    } catch (error) {
      if (!(error instanceof KubernetesError)) throw error;
      this.#log?.warn({ pod: pod.podName, namespace: pod.namespace, label: key, err: error }, 'labelling a pod failed');
      return false;
    }
  }

  /** Labels the pod as done; it leaves the watch. */
  markDone(pod: NamedPod): Promise<boolean> {
    return this.label(pod, LABELS.executorDone, LABEL_TRUE);
  }

  /** Labels the pod as revoked; its end is ignored. */
  markRevoked(pod: NamedPod): Promise<boolean> {
    return this.label(pod, LABELS.podRevoked, LABEL_TRUE);
  }

  /** Makes `owner` the owner of the pod. */
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
