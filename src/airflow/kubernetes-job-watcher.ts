/** Watches an owner's pods of one namespace, and queues what their tasks must hear. @see spec executor §4 */
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

/** One event of a raw watch: what the API sends as a line. */
export interface RawWatchEvent {
  readonly type: string;
  readonly object: JsonRecord;
}

/** What of the configuration a watcher goes by. */
export type WatcherConfig = Pick<KubeConfig, 'workerPodPendingFatalContainerStateReasons'>;

/** The seed starts anew from here after a watch expired. */
const FROM_THE_BEGINNING = '0';

const EVENT_TYPES: Readonly<Record<string, WatchEventType>> = {
  ADDED: 'ADDED',
  MODIFIED: 'MODIFIED',
  DELETED: 'DELETED',
  BOOKMARK: 'BOOKMARK',
};

/**
 * Turns pods' changes into records for `watcherQueue`. `run` follows the cluster's one shared watch, which lists, resumes and backs off by itself;
 * `runOnce` takes raw events from anywhere. Neither dies of a pod it cannot name: that is counted and skipped.
 */
export class KubernetesJobWatcher {
  readonly namespace: string;
  readonly watcherQueue: TaskQueue<KubernetesWatch>;
  readonly schedulerJobId: string;
  readonly kubeConfig: WatcherConfig;
  /** The newest version heard. */
  resourceVersion: string | undefined;
  /** Pods skipped because they name no task. */
  nameless = 0;
  readonly #cluster: Pick<Cluster, 'watchPods$'> | undefined;
  readonly #log: Log | undefined;
  readonly #stopped$ = new Subject<void>();
  #running: Promise<void> | undefined;
  #alive = false;
  #synced = false;
  readonly #pods = new Map<string, PodProjection>();

  /** @param namespace one, or `ALL_NAMESPACES` @param resourceVersion where raw events begin; the shared watch lists first */
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

  /** Whether it watches. */
  get alive(): boolean {
    return this.#alive;
  }

  /** Whether the first list is complete: until then a missing pod means nothing. */
  get synced(): boolean {
    return this.#synced;
  }

  /** The pods of this owner as last heard, by uid. */
  get pods(): ReadonlyMap<string, PodProjection> {
    return this.#pods;
  }

  /** Watches in the background; `stop` ends it. */
  start(): void {
    this.#alive = true;
    this.#running ??= this.run();
    // Whoever waits hears of it through `stop`; the health check through `alive`.
    this.#running.catch((error: unknown) => {
      this.#log?.error({ err: error }, 'the watch of task pods ended');
    });
  }

  /** Watches until `stop`. @throws whatever ended the watch; the health check starts another one */
  async run(): Promise<void> {
    if (this.#cluster === undefined)
      throw new ReentryError('CONFIG_INVALID', 'a watcher without a cluster takes events by runOnce only', {
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

  /** Ends `run`; resolves when it has. */
  async stop(): Promise<void> {
    this.#stopped$.next();
    await this.#running?.catch(() => undefined);
    this.#running = undefined;
  }

  /**
   * One stretch of raw events: gives the newest version heard, `undefined` where none came, and "0" when the watch has expired.
   * @throws ReentryError KUBERNETES for any other error that the server tells of
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

  /** "0" where the watch has expired. @throws ReentryError KUBERNETES for any other error that the server tells of */
  processError(event: RawWatchEvent): string {
    const { object } = event;
    if (numberIn(object, 'code') === 410) return FROM_THE_BEGINNING;
    const [code, reason, message] = [numberIn(object, 'code'), textIn(object, 'reason'), textIn(object, 'message')];
    throw new ReentryError(
      'KUBERNETES',
      `the watch of ${this.namespace} was ended by the server: ${code ?? 'no code'} ${reason ?? 'no reason'}: ${message ?? 'no message'}`,
      { transient: true },
    );
  }

  /** Queues what one event of one pod means for its task, if it means something. */
  processStatus(pod: WatchedPod, event: WatchEventType): void {
    const decision = decideStatus(pod, event, {
      fatalReasons: this.kubeConfig.workerPodPendingFatalContainerStateReasons,
    });
    switch (decision.kind) {
      case 'nameless':
        this.nameless += 1;
        this.#log?.warn({ pod: pod.name }, 'a pod of this owner names no task; it is left alone');
        return;
      case 'none':
        this.#log?.debug({ pod: pod.name, phase: pod.phase, event }, `nothing to say of the pod: ${decision.why}`);
        return;
      case 'report':
        this.#log?.info({ pod: pod.name, phase: pod.phase, event, state: decision.state }, 'a task pod changed');
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
        this.#log?.warn({ why: signal.why }, 'the watch of task pods is behind');
        return;
      case 'alive':
        return;
    }
  }

  #processPod(pod: PodProjection, event: WatchEventType): void {
    this.resourceVersion = pod.resourceVersion;
    this.processStatus(projectedPod(pod), event);
  }

  /** Gone for good without a word about a deletion: it vanished while nobody watched, and what was last seen of it counts. */
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

/** Reason of a pod that is gone without anybody having seen it end. */
export const POD_VANISHED = 'PodVanished';

/**
 * One for the process: making another gives the same. The shared watch keeps its own place and lists anew when that has expired, so nothing is ever
 * replayed from "0"; this says how far results have come.
 */
export class ResourceVersion {
  static #only: ResourceVersion | undefined;
  /** The newest version of which something was heard, by namespace. */
  readonly resourceVersion: Record<string, string> = {};

  constructor() {
    if (ResourceVersion.#only !== undefined) return ResourceVersion.#only;
    ResourceVersion.#only = this;
  }
}
