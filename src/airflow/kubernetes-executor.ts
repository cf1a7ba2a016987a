/**
 * `KubernetesExecutor` of `airflow.providers.cncf.kubernetes.executors`: runs each task in a pod of its own. The embedding program passes tasks to
 * `executeAsync` or `queueTask` and calls `heartbeat` or `sync` in a loop.
 */
import type { TaskKey } from '../core/pod/executor-labels.ts';
import type { PodProjection } from '../core/pod/projection.ts';
import { messageOf, ReentryError } from '../errors.ts';
import type { ExecutorCommand } from '../operator/command.ts';
import { podOverrideIn, podTemplateFileIn } from '../operator/executor-config.ts';
import type { Cluster, SecretWriter } from '../ports/cluster.ts';
import { Launcher } from '../slots/launcher.ts';
import { adoptCompletedPods, adoptLaunchedTask, adoptLaunchedTasks, keyOfPod } from './adoption.ts';
import { AirflowKubernetesScheduler, type SchedulerOptions } from './airflow-kubernetes-scheduler.ts';
import { reportVanishedPods, applyResult } from './apply-result.ts';
import { BaseExecutor } from './base-executor.ts';
import { type ExecutorOptions, KubeConfig } from './kube-config.ts';
import { ResourceVersion } from './kubernetes-job-watcher.ts';
import type { KnownPod } from './launched-pods.ts';
import { injectSecrets } from './legacy.ts';
import { createPods } from './pod-creation.ts';
import {
  COMPLETED,
  type KubernetesJob,
  type KubernetesResults,
  type PodLaunchAttempt,
  type TaskInstance,
} from './records.ts';
import { readTaskLog, type StreamedTaskLog, streamTaskLog } from './running-log.ts';
import { withoutPod, deletePending, revokeTask, revokeStuckTasks } from './stuck-tasks.ts';
import { keyText } from './task-key.ts';
import type { TaskQueue } from './task-queue.ts';
import { adopterOf, type ExecutorParts, TaskRegistry } from './task-registry.ts';

/** Pod settings of one queue. */
export interface Coordinator {
  readonly podTemplateFile?: string | undefined;
  /** Image without its tag; used only together with the tag. */
  readonly workerContainerRepository?: string | undefined;
  readonly workerContainerTag?: string | undefined;
}

/** Options of a `KubernetesExecutor`. */
export interface KubernetesExecutorOptions extends SchedulerOptions {
  readonly cluster: Cluster;
  /** The id that labels this executor's pods. Unique among live executors; an executor that restarts with the same id finds its pods again. */
  readonly jobId: string;
  readonly kubeConfig?: KubeConfig | ExecutorOptions | undefined;
  /** Returns the pod settings of a queue. Called for tasks with a queue only; exceptions are logged and ignored. */
  readonly coordinator?: ((queue: string) => Coordinator | undefined) | undefined;
  /** Label of this executor's metrics. Default `kubernetes`. */
  readonly queueName?: string | undefined;
  /** Monotonic milliseconds. */
  readonly nowMs?: (() => number) | undefined;
  /** Epoch milliseconds. */
  readonly wallMs?: (() => number) | undefined;
}

const DEFAULT_LOG_LINES = 100;

/** Slots, attempts and events change only inside `executeAsync`, `sync` and the other methods; watchers merely queue records. */
export class KubernetesExecutor extends BaseExecutor {
  static readonly RUNNING_POD_LOG_LINES: number = DEFAULT_LOG_LINES;
  /** Number of lines shown of a running pod's log. */
  readonly RUNNING_POD_LOG_LINES: number;
  readonly supportsAdHocTiRun = true;
  readonly supportsMultiTeam = true;
  readonly serveLogs = false;
  readonly isLocal = false;
  readonly kubeConfig: KubeConfig;
  readonly parallelism: number;
  readonly queueName: string;
  readonly schedulerJobId: string;
  readonly taskQueue: TaskQueue<KubernetesJob>;
  readonly resultQueue: TaskQueue<KubernetesResults>;
  /** Results of adopted finished pods that are not applied yet, by `namespace/name`. */
  readonly completed = new Map<string, KubernetesResults>();
  /** Launches of each running task, by `keyText`. */
  readonly podLaunchAttempts: Map<string, PodLaunchAttempt>;
  /** Refused creations of each task so far, by `keyText`. */
  readonly taskPublishRetries: Map<string, number>;
  /** No pod is created before this instant of the monotonic clock, in milliseconds. */
  createPodsAfterMs: number | undefined;
  /** Set between `start` and `end`. */
  kubeScheduler: AirflowKubernetesScheduler | undefined;
  readonly #options: KubernetesExecutorOptions;
  readonly #registry: TaskRegistry;
  readonly #nowMs: () => number;
  readonly #wallMs: () => number;
  readonly #turns: NonNullable<SchedulerOptions['turns']>;
  readonly #concurrency: number;
  #adoptedAtMs = Number.NEGATIVE_INFINITY;
  #stuckCheckedAtMs: number;
  #syncing: Promise<void> | undefined;

  /** Starts nothing. @throws ReentryError CONFIG_INVALID naming every invalid option */
  constructor(options: KubernetesExecutorOptions) {
    super(options.log?.child({ executor: options.jobId }), options.meter);
    const { kubeConfig = {} } = options;
    this.#options = options;
    this.kubeConfig = kubeConfig instanceof KubeConfig ? kubeConfig : new KubeConfig(kubeConfig);
    this.parallelism = this.kubeConfig.parallelism;
    this.queueName = options.queueName ?? 'kubernetes';
    this.schedulerJobId = options.jobId;
    this.RUNNING_POD_LOG_LINES = this.kubeConfig.runningPodLogLines;
    this.#nowMs = options.nowMs ?? (() => performance.now());
    this.#wallMs = options.wallMs ?? Date.now;
    this.#registry = new TaskRegistry(this.#nowMs);
    this.taskQueue = this.#registry.taskQueue;
    this.resultQueue = this.#registry.resultQueue;
    this.podLaunchAttempts = this.#registry.attempts;
    this.taskPublishRetries = this.#registry.publishRetries;
    this.#stuckCheckedAtMs = this.#nowMs();
    const { asyncPodCreation, podCreationMaxConcurrency, workerPodsCreationBatchSize } = this.kubeConfig;
    this.#concurrency = asyncPodCreation ? podCreationMaxConcurrency || workerPodsCreationBatchSize : 1;
    this.#turns =
      options.turns ??
      new Launcher({
        maxInFlight: this.#concurrency,
        ...(options.meter === undefined ? {} : { meter: options.meter }),
      });
  }

  /**
   * Starts watching. Pass tasks that were running before to `tryAdoptTaskInstances` before the first `sync`.
   * @throws ReentryError CONFIG_INVALID without a job id
   */
  start(): void {
    if (this.schedulerJobId === '')
      throw new ReentryError('CONFIG_INVALID', 'an executor needs a job id', { transient: false });
    this.kubeScheduler ??= new AirflowKubernetesScheduler(
      this.kubeConfig,
      this.resultQueue,
      this.#options.cluster,
      this.schedulerJobId,
      { ...this.#options, turns: this.#turns, log: this.log },
    );
  }

  get #parts(): ExecutorParts {
    const { kubeScheduler: scheduler, kubeConfig, log } = this;
    if (scheduler === undefined)
      throw new ReentryError('CONFIG_INVALID', 'the executor has not been started', { transient: false });
    const { cluster, tasks: store = {} } = this.#options;
    return {
      tasks: this,
      registry: this.#registry,
      scheduler,
      cluster,
      kubeConfig,
      owner: this.schedulerJobId,
      store,
      log,
    };
  }

  executeAsync(key: TaskKey, command: ExecutorCommand, queue?: string, executorConfig?: unknown): void {
    const id = keyText(key);
    // First, so that every failure below frees the slot again.
    this.running.set(id, key);
    this.queuedTasks.delete(id);
    this.#registry.lastHandled.set(id, this.#wallMs());
    this.log?.info({ task: key, queue }, 'task accepted');
    let job: KubernetesJob;
    try {
      const coordinator = this.#coordinatorOf(queue);
      const { workerContainerRepository: repository = '', workerContainerTag: tag = '' } = coordinator ?? {};
      job = {
        key,
        command,
        kubeExecutorConfig: podOverrideIn(executorConfig),
        podTemplateFile: coordinator?.podTemplateFile ?? podTemplateFileIn(executorConfig),
        kubeImage: repository === '' || tag === '' ? undefined : `${repository}:${tag}`,
      };
    } catch (error) {
      this.fail(key, `the executor config is invalid: ${messageOf(error)}`, error);
      return;
    }
    this.recordEvent(key, { state: 'queued', info: this.schedulerJobId }, true);
    this.podLaunchAttempts.set(id, { job, attempts: 0, requeuedForPod: undefined });
    this.taskQueue.put(job);
  }

  #coordinatorOf(queue: string | undefined): Coordinator | undefined {
    if (queue === undefined || this.#options.coordinator === undefined) return undefined;
    try {
      return this.#options.coordinator(queue);
    } catch (error) {
      this.log?.warn({ queue, err: error }, 'the coordinator failed for this queue; its settings are ignored');
      return undefined;
    }
  }

  /** Applies results and creates pods. Concurrent calls share one sync. Rejects only when the executor was not started. */
  async sync(): Promise<void> {
    this.#syncing ??= this.#sync().finally(() => {
      this.#syncing = undefined;
    });
    await this.#syncing;
  }

  async #sync(): Promise<void> {
    const { scheduler } = this.#parts;
    const now = this.#nowMs();
    if (now - this.#adoptedAtMs >= this.kubeConfig.orphanedTasksCheckIntervalSeconds * 1000) {
      this.#adoptedAtMs = now;
      await this.#attempt('adopting finished pods failed', () => this.adoptCompletedPods());
      await this.#attempt('searching for vanished pods failed', () => this.reportVanishedPods());
    }
    await scheduler.sync();
    await this.#applyResults();
    for (const [id, result] of this.completed) {
      await this.#attempt('applying the result of an adopted pod failed', async () => {
        await this.changeState(result);
        this.completed.delete(id);
      });
    }
    if (now - this.#stuckCheckedAtMs >= this.kubeConfig.taskQueuedTimeoutCheckIntervalSeconds * 1000) {
      this.#stuckCheckedAtMs = now;
      await this.#attempt('revoking stuck tasks failed', () => this.revokeStuckTasks());
    }
    await this.#createPods();
  }

  /** Applies each waiting result once. A result that fails is queued again for the next sync. */
  async #applyResults(): Promise<void> {
    const failed: KubernetesResults[] = [];
    const { resourceVersion } = new ResourceVersion();
    for (let result = this.resultQueue.tryGet(); result !== undefined; result = this.resultQueue.tryGet()) {
      try {
        if (result.resourceVersion !== '') resourceVersion[result.namespace] = result.resourceVersion;
        await this.changeState(result);
      } catch (error) {
        this.log?.error(
          { task: result.key, pod: result.podName, err: error },
          'applying a result failed; trying again at the next sync',
        );
        failed.push(result);
      } finally {
        this.resultQueue.done();
      }
    }
    for (const result of failed) this.resultQueue.put(result);
  }

  async #createPods(): Promise<void> {
    if (this.createPodsAfterMs !== undefined && this.createPodsAfterMs > this.#nowMs()) {
      this.log?.warn(
        { waitMs: this.createPodsAfterMs - this.#nowMs() },
        'pod creation is paused: the API server asked for it',
      );
      return;
    }
    this.createPodsAfterMs = undefined;
    const pauseSeconds = await createPods(this.#parts, this.#concurrency);
    if (pauseSeconds !== undefined) this.createPodsAfterMs = this.#nowMs() + pauseSeconds * 1000;
  }

  /**
   * Applies one result: deletes or labels the pod, then launches another pod or records the task's event.
   * @throws KubernetesError when the pod could not be deleted
   */
  async changeState(result: KubernetesResults): Promise<void> {
    await applyResult(this.#parts, result);
  }

  /** Fails the tasks whose pod is gone without an observed end, at this sync, and frees their slots. */
  async reportVanishedPods(): Promise<void> {
    await reportVanishedPods(this.#parts);
  }

  /** Adopts the finished pods of dead schedulers. @throws what `liveOwners` rejects with: no pod is adopted while live schedulers are unknown */
  async adoptCompletedPods(): Promise<void> {
    const siblings = (await this.#parts.store.liveOwners?.()) ?? [];
    for (const pod of await adoptCompletedPods(adopterOf(this.#parts), siblings)) {
      const key = keyOfPod(pod);
      if (key === undefined) continue;
      this.completed.set(`${pod.namespace}/${pod.name}`, {
        key,
        state: COMPLETED,
        podName: pod.name,
        namespace: pod.namespace,
        podUid: pod.uid,
        resourceVersion: pod.resourceVersion,
        failureDetails: undefined,
      });
    }
  }

  /** Continues tasks that an earlier scheduler launched. Returns the tasks without a pod: start them anew. */
  async tryAdoptTaskInstances(tasks: readonly TaskInstance[]): Promise<readonly TaskInstance[]> {
    const byKey = new Map(
      tasks.filter((task) => task.queuedByJobId !== undefined).map((task) => [keyText(task.key), task]),
    );
    const owners = tasks.flatMap(({ queuedByJobId }) => queuedByJobId ?? []);
    const adopted = await adoptLaunchedTasks(adopterOf(this.#parts), owners, byKey);
    for (const { key, pod } of adopted) this.#adopted(key, pod);
    await this.adoptCompletedPods();
    const unqueued = tasks.filter(({ queuedByJobId }) => queuedByJobId === undefined);
    return [...unqueued, ...[...byKey].filter(([id]) => !this.running.has(id)).map(([, task]) => task)];
  }

  /** Adopts one launched pod if it belongs to one of `podIds`. */
  async adoptLaunchedTask(kubeClient: Cluster, pod: PodProjection, podIds: Map<string, TaskInstance>): Promise<void> {
    const key = await adoptLaunchedTask({ ...adopterOf(this.#parts), cluster: kubeClient }, pod, podIds);
    if (key !== undefined) this.#adopted(key, pod);
  }

  #adopted(key: TaskKey, pod: PodProjection): void {
    this.running.set(keyText(key), key);
    this.#registry.launched.set(keyText(key), { podName: pod.name, namespace: pod.namespace, podUid: pod.uid });
  }

  /** Revokes a task: it leaves queue and slots, and its pod is deleted without being reported. Never rejects. */
  async revokeTask(key: TaskKey): Promise<void> {
    this.queuedTasks.delete(keyText(key));
    await this.#attempt('revoking a task failed', () => revokeTask(this.#parts, key));
  }

  /** Revokes and fails tasks; returns their keys as text. Deprecated: use `revokeTask`. */
  async cleanupStuckQueuedTasks(tasks: readonly TaskInstance[]): Promise<readonly string[]> {
    this.log?.warn({}, 'cleanupStuckQueuedTasks is deprecated; use revokeTask');
    for (const { key } of tasks) {
      await this.revokeTask(key);
      this.fail(key, 'the task was stuck in the queue');
    }
    return tasks.map(({ key }) => keyText(key));
  }

  /** Revokes tasks whose pod has been pending for too long and queues them again; fails them after `num_stuck_in_queued_retries`. */
  async revokeStuckTasks(): Promise<void> {
    await revokeStuckTasks(this.#parts);
  }

  /** Reschedules queued tasks that have no pod, except those handled here recently. Returns them. */
  async clearNotLaunchedQueuedTasks(): Promise<readonly TaskInstance[]> {
    const { store } = this.#parts;
    const { lastHandled } = this.#registry;
    const recentMs = 3 * this.kubeConfig.workerPodsQueuedCheckIntervalSeconds * 1000;
    const now = this.#wallMs();
    for (const [id, at] of lastHandled) if (now - at > recentMs) lastHandled.delete(id);
    const queued = (await store.queued?.()) ?? [];
    const mine = queued.filter(
      ({ queue, queuedByJobId }) =>
        (queue === undefined || queue === this.kubeConfig.kubernetesQueue) &&
        (queuedByJobId === undefined || queuedByJobId === this.schedulerJobId),
    );
    const missing = await withoutPod(adopterOf(this.#parts), mine, ({ key }) => lastHandled.has(keyText(key)));
    for (const task of missing) {
      this.log?.warn({ task: task.key }, 'queued task has no pod; rescheduling it');
      await store.reschedule?.(task);
    }
    return missing;
  }

  /** Deletes own pods that have been pending for longer than `worker_pods_pending_timeout` and fails their tasks. Returns the pods' names. */
  async checkWorkerPodsPendingTimeout(): Promise<readonly string[]> {
    return await deletePending(this.#parts, this.#wallMs());
  }

  /** Streams the last lines of a running task's log. Never rejects. Works without `start`. */
  async getStreamingTaskLog(task: TaskInstance, tryNumber: number = task.key.tryNumber): Promise<StreamedTaskLog> {
    return await streamTaskLog(this.#options.cluster, this.kubeConfig, task, {
      tryNumber,
      tailLines: this.RUNNING_POD_LOG_LINES,
    });
  }

  /** The same as strings; one empty string when there is no log. */
  async getTaskLog(task: TaskInstance, tryNumber: number = task.key.tryNumber) {
    return await readTaskLog(await this.getStreamingTaskLog(task, tryNumber));
  }

  /** Creates a Secret from each configured service account key, as Airflow 1.10 did at start. @throws as `injectSecrets` does */
  async injectSecrets(writer: SecretWriter): Promise<void> {
    await injectSecrets(writer, this.kubeConfig.executorNamespace, this.kubeConfig.legacy, this.log);
  }

  /**
   * Stops: drops tasks without a pod, applies the results that have arrived, ends the watch. Pods are left for adoption. Returns the dropped tasks. Safe
   * to repeat; never rejects.
   */
  async end(): Promise<{ readonly notLaunched: readonly TaskKey[] }> {
    const scheduler = this.kubeScheduler;
    if (scheduler === undefined) return { notLaunched: [] };
    await this.#attempt('the last sync failed', async () => {
      await this.#syncing;
    });
    const notLaunched = this.taskQueue.remove(() => true).map(({ key }) => key);
    for (const key of notLaunched) this.log?.warn({ task: key }, 'task dropped: it has no pod yet');
    await this.#attempt('processing the last records failed', () => scheduler.sync());
    for (const result of this.resultQueue.remove(() => true))
      await this.#attempt('applying a result at shutdown failed; it is dropped', () => this.changeState(result));
    await this.#attempt('stopping the watch failed', () => scheduler.terminate());
    this.kubeScheduler = undefined;
    return { notLaunched };
  }

  /** Does nothing: pods are left for adoption. */
  terminate(): void {
    this.log?.debug({}, 'terminate leaves the pods running');
  }

  /** Pods launched or adopted here whose tasks have not ended, by `keyText`. */
  get launchedPods(): ReadonlyMap<string, KnownPod> {
    return this.#registry.launched.all;
  }

  async #attempt(message: string, act: () => Promise<unknown>): Promise<void> {
    try {
      await act();
    } catch (error) {
      this.log?.error({ err: error }, message);
    }
  }
}
