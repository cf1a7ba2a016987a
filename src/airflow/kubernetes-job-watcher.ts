/** `KubernetesJobWatcher` and `ResourceVersion` of Airflow's `kubernetes_executor_utils`: queues a record of each relevant change of a scheduler's pods. */
import { lastValueFrom, Subject, takeUntil, tap } from 'rxjs';
import { type JsonRecord, numberIn, textIn } from '../core/json.ts';
import type { PodProjection } from '../core/pod/projection.ts';
import { ReentryError } from '../errors.ts';
import type { Log } from '../ports/ambient.ts';
import type { Cluster, PodSignal } from '../ports/cluster.ts';
import type { KubeConfig } from './kube-config.ts';
import { ownedPodsSelector } from './pod-selectors.ts';
import { ALL_NAMESPACES, type KubernetesWatch } from './records.ts';
import type { TaskQueue } from './task-queue.ts';
import { decideStatus, type WatchEventType } from './watch-decision.ts';
import { projectedPod, type WatchedPod, watchedPod } from './watched-pod.ts';

/** One event of a raw watch, as the API server sends it. */
export interface RawWatchEvent {
  readonly type: string;
  readonly object: JsonRecord;
}

/** The configuration that a watcher uses. */
export type WatcherConfig = Pick<KubeConfig, 'workerPodPendingFatalContainerStateReasons'>;

/** Where Airflow restarts a watch whose resource version has expired. */
const FROM_THE_BEGINNING = '0';

const EVENT_TYPES: Readonly<Record<string, WatchEventType>> = {
  ADDED: 'ADDED',
  MODIFIED: 'MODIFIED',
  DELETED: 'DELETED',
  BOOKMARK: 'BOOKMARK',
};

/**
 * Turns pod changes into records for `watcherQueue`. `run` follows the cluster's watch, which lists, resumes and backs off by itself; `runOnce`
 * processes raw events from any source. Pods that name no task are counted and skipped.
 */
export class KubernetesJobWatcher {
  readonly namespace: string;
  readonly watcherQueue: TaskQueue<KubernetesWatch>;
  readonly schedulerJobId: string;
  readonly kubeConfig: WatcherConfig;
  /** The latest resource version received. */
  resourceVersion: string | undefined;
  /** Number of pods skipped because they name no task. */
  nameless = 0;
  readonly #cluster: Pick<Cluster, 'watchPods$'> | undefined;
  readonly #log: Log | undefined;
  readonly #stopped$ = new Subject<void>();
  #running: Promise<void> | undefined;
  #alive = false;
  #synced = false;
  readonly #pods = new Map<string, PodProjection>();

  /** @param namespace one namespace, or `ALL_NAMESPACES` @param resourceVersion where raw events begin; the cluster's watch lists first */
  constructor(
    namespace: string,
    watcherQueue: TaskQueue<KubernetesWatch>,
    resourceVersion: string | undefined,
    schedulerJobId: string,
    kubeConfig: WatcherConfig,
    options: { readonly cluster?: Pick<Cluster, 'watchPods$'>; readonly log?: Log | undefined } = {},
  ) {
    this.namespace = namespace;
    this.watcherQueue = watcherQueue;
    this.resourceVersion = resourceVersion;
    this.schedulerJobId = schedulerJobId;
    this.kubeConfig = kubeConfig;
    this.#cluster = options.cluster;
    this.#log = options.log?.child({ namespace, owner: schedulerJobId });
  }

  /** Whether the watch runs. */
  get alive(): boolean {
    return this.#alive;
  }

  /** Whether the initial list is complete; until then a missing pod has no meaning. */
  get synced(): boolean {
    return this.#synced;
  }

  /** The pods of this scheduler as last received, by uid. */
  get pods(): ReadonlyMap<string, PodProjection> {
    return this.#pods;
  }

  /** Starts the watch in the background; `stop` ends it. */
  start(): void {
    this.#alive = true;
    this.#running ??= this.run();
    // The health check notices through `alive`.
    this.#running.catch((error: unknown) => {
      this.#log?.error({ err: error }, 'the watch of task pods ended');
    });
  }

  /** Watches until `stop`. @throws the error that ended the watch; the health check starts another watcher */
  async run(): Promise<void> {
    if (this.#cluster === undefined)
      throw new ReentryError('CONFIG_INVALID', 'a watcher without a cluster can only process events by runOnce', {
        transient: false,
      });
    this.#alive = true;
    try {
      const signals$ = this.#cluster.watchPods$({
        namespace: this.namespace === ALL_NAMESPACES ? undefined : this.namespace,
        labelSelector: ownedPodsSelector(this.schedulerJobId),
      });
      await lastValueFrom(
        signals$.pipe(
          tap((signal) => {
            this.#onSignal(signal);
          }),
          takeUntil(this.#stopped$),
        ),
        { defaultValue: undefined },
      );
    } finally {
      this.#alive = false;
    }
  }

  /** Ends `run`; resolves once it has ended. */
  async stop(): Promise<void> {
    this.#stopped$.next();
    await this.#running?.catch(() => undefined);
    this.#running = undefined;
  }

  /**
   * Processes raw events. Returns the latest resource version, `undefined` when there was none, and "0" when the watch has expired.
   * @throws ReentryError KUBERNETES for any other error event
   */
  async runOnce(events: Iterable<RawWatchEvent> | AsyncIterable<RawWatchEvent>): Promise<string | undefined> {
    let version: string | undefined;
    for await (const event of events) {
      if (event.type === 'ERROR') return this.processError(event);
      const pod = watchedPod(event.object);
      const type = EVENT_TYPES[event.type];
      if (type !== undefined) this.processStatus(pod, type);
      version = pod.resourceVersion;
      this.resourceVersion = version;
    }
    return version;
  }

  /** Returns "0" when the watch has expired (410). @throws ReentryError KUBERNETES for any other error event */
  processError(event: RawWatchEvent): string {
    const { object } = event;
    if (numberIn(object, 'code') === 410) return FROM_THE_BEGINNING;
    const [code, reason, message] = [numberIn(object, 'code'), textIn(object, 'reason'), textIn(object, 'message')];
    throw new ReentryError(
      'KUBERNETES',
      `the API server ended the watch of ${this.namespace}: ${code ?? 'no code'} ${reason ?? 'no reason'}: ${message ?? 'no message'}`,
      { transient: true },
    );
  }

  /** Queues a record if the event of this pod matters to its task. */
  processStatus(pod: WatchedPod, event: WatchEventType): void {
    const decision = decideStatus(pod, event, {
      fatalReasons: this.kubeConfig.workerPodPendingFatalContainerStateReasons,
    });
    switch (decision.kind) {
      case 'nameless':
        this.nameless += 1;
        this.#log?.warn({ pod: pod.name }, 'pod skipped: it names no task');
        return;
      case 'none':
        this.#log?.debug({ pod: pod.name, phase: pod.phase, event }, `no record for the pod: ${decision.why}`);
        return;
      case 'report':
        this.#log?.info({ pod: pod.name, phase: pod.phase, event, state: decision.state }, 'task pod changed');
        this.#queue(pod, decision.state, decision.details);
    }
  }

  #queue(pod: WatchedPod, state: KubernetesWatch['state'], failureDetails: KubernetesWatch['failureDetails']): void {
    this.watcherQueue.put({
      podName: pod.name,
      namespace: pod.namespace,
      state,
      annotations: pod.annotations,
      resourceVersion: pod.resourceVersion,
      failureDetails,
      podUid: pod.uid,
      began: pod.containers.some((one) => one.state === 'running' || one.state === 'terminated'),
      ...(state === 'failed' && pod.phase === 'Pending' && !pod.deleting ? { mayStillStart: true } : {}),
    });
  }

  #onSignal(signal: PodSignal): void {
    switch (signal.kind) {
      case 'pod':
        this.#pods.set(signal.pod.uid, signal.pod);
        this.#processPod(signal.pod, 'MODIFIED');
        return;
      case 'gone':
        this.#pods.delete(signal.pod.uid);
        this.#vanished(signal.pod, signal.confirmed);
        return;
      case 'synced':
        this.#synced = true;
        return;
      case 'lagging':
        this.#log?.warn({ why: signal.why }, 'the watch of task pods lags behind');
        return;
      case 'alive':
        return;
    }
  }

  #processPod(pod: PodProjection, event: WatchEventType): void {
    this.resourceVersion = pod.resourceVersion;
    this.processStatus(projectedPod(pod), event);
  }

  /** A pod that is gone without an observed deletion vanished while no watch was running; its last known state counts. */
  #vanished(pod: PodProjection, confirmed: boolean): void {
    if (!confirmed || pod.deletedAt !== undefined) {
      this.#processPod(pod, 'DELETED');
      return;
    }
    if (pod.phase === 'Succeeded' || pod.phase === 'Failed') {
      this.#processPod(pod, 'MODIFIED');
      return;
    }
    const watched = projectedPod(pod);
    if (!watched.revoked)
      this.#queue(watched, 'failed', { podStatus: pod.phase, podReason: POD_VANISHED, podMessage: pod.message });
  }
}

/** Reason of a failed task whose pod is gone and whose end was not observed. */
export const POD_VANISHED = 'PodVanished';

/**
 * How far results have been applied, by namespace. A singleton of the process, as in Airflow: `new` returns the same object. The cluster's watch keeps
 * its own resource version and lists again when that has expired, so events are never replayed from "0".
 */
export class ResourceVersion {
  static #only: ResourceVersion | undefined;
  /** The latest resource version whose result was applied, by namespace. */
  readonly resourceVersion: Record<string, string> = {};

  constructor() {
    if (ResourceVersion.#only !== undefined) return ResourceVersion.#only;
    ResourceVersion.#only = this;
  }
}
