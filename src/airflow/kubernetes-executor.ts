/** Runs each task in a pod of its own. An embedder gives it tasks by `executeAsync` or `queueTask`, and drives it by `heartbeat` or `sync`. @see spec executor §3, §5, §6 */
import type { PodProjection } from '../core/pod/projection.ts';
import { ReentryError } from '../errors.ts';
import type { Cluster, SecretWriter } from '../ports/cluster.ts';
import { adoptCompletedPods, adoptLaunchedTask, adoptLaunchedTasks, keyOfPod } from './adoption.ts';
import { AirflowKubernetesScheduler, type SchedulerOptions } from './airflow-kubernetes-scheduler.ts';
import { BaseExecutor } from './base-executor.ts';
import type { ExecutorCommand } from '../operator/command.ts';
import { injectSecrets } from './legacy.ts';
import { type ExecutorOptions, KubeConfig } from './kube-config.ts';
import type { KnownPod } from './launched-pods.ts';
import { Launcher } from '../slots/launcher.ts';
import { createPods } from './pod-creation.ts';
import { podOverrideIn, podTemplateFileIn } from '../operator/executor-config.ts';
import { withoutPod, deletePending, revokeTask, revokeStuckTasks } from './stuck-tasks.ts';
import {
  COMPLETED,
  type KubernetesJob,
  type KubernetesResults,
  type PodLaunchAttempt,
  type TaskInstance,
} from './records.ts';
import { ResourceVersion } from './kubernetes-job-watcher.ts';
import { readTaskLog, type StreamedTaskLog, streamTaskLog } from './running-log.ts';
import { reportVanishedPods, applyResult } from './apply-result.ts';
import { adopterOf, type ExecutorParts, TaskRegistry } from './task-registry.ts';
import { keyText } from './task-key.ts';
import type { TaskKey } from '../core/pod/executor-labels.ts';
import type { TaskQueue } from './task-queue.ts';

/** What one queue's pods have in common. */
export interface Coordinator {
  readonly podTemplateFile?: string | undefined;
  /** Counts only together with the tag. */
  readonly workerContainerRepository?: string | undefined;
  readonly workerContainerTag?: string | undefined;
}

/** What an executor is made of. */
export interface KubernetesExecutorOptions extends SchedulerOptions {
  readonly cluster: Cluster;
  /** This executor's name on its pods. Two that live at the same time need two; one that comes back with its old one finds its pods. */
  readonly jobId: string;
  readonly kubeConfig?: KubeConfig | ExecutorOptions | undefined;
  /** What a task's queue says about its pod. Asked only for tasks with a queue; what it throws is logged and means nothing. */
  readonly coordinator?: ((queue: string) => Coordinator | undefined) | undefined;
  /** Name in metrics. Default `kubernetes`. */
  readonly queueName?: string | undefined;
  /** Monotonic milliseconds. */
  readonly nowMs?: (() => number) | undefined;
  /** Epoch milliseconds. */
  readonly wallMs?: (() => number) | undefined;
}

const DEFAULT_LOG_LINES = 100;

const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** One logical loop owns slots, attempts and events; watchers only queue what they saw. */
export class KubernetesExecutor extends BaseExecutor {
  static readonly RUNNING_POD_LOG_LINES: number = DEFAULT_LOG_LINES;
  /** Lines of a running pod's log that are shown. */
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
  /** Finished pods of owners that are gone, by namespace and name. */
  readonly completed = new Map<string, KubernetesResults>();
  /** By the text of their keys. */
  readonly podLaunchAttempts: Map<string, PodLaunchAttempt>;
  /** Refused creations so far, by the text of their keys. */
  readonly taskPublishRetries: Map<string, number>;
  /** Nothing is created before this instant of the monotonic clock, in milliseconds. */
  createPodsAfterMs: number | undefined;
  /** Present between `start` and `end`. */
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

  /** Starts nothing. @throws ReentryError CONFIG_INVALID with every problem of the configuration */
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

  /** Begins to watch. Whoever was running before should be offered by `tryAdoptTaskInstances` before the first `sync`. */
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
    // Before anything can fail: whatever does gives the slot back.
    this.running.set(id, key);
    this.queuedTasks.delete(id);
    this.#registry.lastHandled.set(id, this.#wallMs());
    this.log?.info({ task: key, queue }, 'a task is to be run');
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
      this.fail(key, `the executor config is invalid: ${textOf(error)}`, error);
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
      this.log?.warn({ queue, err: error }, 'what the queue says about its pods is not usable');
      return undefined;
    }
  }

  /** Takes in what happened and creates pods. Rejects only when it was not started. Calls while one is under way share it. */
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
      await this.#attempt('finished pods could not be adopted', () => this.adoptCompletedPods());
      await this.#attempt('pods that are not seen could not be looked for', () => this.reportVanishedPods());
    }
    await scheduler.sync();
    await this.#applyResults();
    for (const [id, result] of this.completed) {
      await this.#attempt('a finished pod could not be dealt with', async () => {
        await this.changeState(result);
        this.completed.delete(id);
      });
    }
    if (now - this.#stuckCheckedAtMs >= this.kubeConfig.taskQueuedTimeoutCheckIntervalSeconds * 1000) {
      this.#stuckCheckedAtMs = now;
      await this.#attempt('stuck tasks could not be taken back', () => this.revokeStuckTasks());
    }
    await this.#createPods();
  }

  /** Each waiting result once: one that fails now has another chance at the next sync, and cannot hold this one up. */
  async #applyResults(): Promise<void> {
    const failed: KubernetesResults[] = [];
    const { resourceVersion } = new ResourceVersion();
    for (let result = this.resultQueue.tryGet(); result !== undefined; result = this.resultQueue.tryGet()) {
      try {
        if (result.resourceVersion !== '') resourceVersion[result.namespace] = result.resourceVersion;
        await this.changeState(result);
      } catch (error) {
        this.log?.error({ task: result.key, pod: result.podName, err: error }, 'a result is tried again later');
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
        'no pods are created yet: the server asked so',
      );
      return;
    }
    this.createPodsAfterMs = undefined;
    const pauseSeconds = await createPods(this.#parts, this.#concurrency);
    if (pauseSeconds !== undefined) this.createPodsAfterMs = this.#nowMs() + pauseSeconds * 1000;
  }

  /** Applies one result: the pod's fate, another launch where the task never began, else the task's event. @throws KubernetesError when the pod could not be deleted */
  async changeState(result: KubernetesResults): Promise<void> {
    await applyResult(this.#parts, result);
  }

  /** Looks for tasks whose pod is gone without a word; they fail at this sync, and their slots are free again. */
  async reportVanishedPods(): Promise<void> {
    await reportVanishedPods(this.#parts);
  }

  /** Takes over the finished pods of owners that are gone. A sibling that cannot be told from a dead owner is left alone. */
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

  /** Goes on with tasks that an earlier owner launched. Gives those for which there is no pod: they must be started anew. */
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

  /** Makes one launched pod ours, if it stands for one of `podIds`. @see adoptLaunchedTask */
  async adoptLaunchedTask(kubeClient: Cluster, pod: PodProjection, podIds: Map<string, TaskInstance>): Promise<void> {
    const key = await adoptLaunchedTask({ ...adopterOf(this.#parts), cluster: kubeClient }, pod, podIds);
    if (key !== undefined) this.#adopted(key, pod);
  }

  #adopted(key: TaskKey, pod: PodProjection): void {
    this.running.set(keyText(key), key);
    this.#registry.launched.set(keyText(key), { podName: pod.name, namespace: pod.namespace, podUid: pod.uid });
  }

  /** Takes a task back: it is neither queued nor running here any more, and its pod goes without its end meaning anything. Never rejects. */
  async revokeTask(key: TaskKey): Promise<void> {
    this.queuedTasks.delete(keyText(key));
    await this.#attempt('a task could not be taken back', () => revokeTask(this.#parts, key));
  }

  /** Takes back and fails tasks; gives them as texts. Older than `revokeTask`, which says no more than that. */
  async cleanupStuckQueuedTasks(tasks: readonly TaskInstance[]): Promise<readonly string[]> {
    this.log?.warn({}, 'cleanupStuckQueuedTasks is deprecated; use revokeTask');
    for (const { key } of tasks) {
      await this.revokeTask(key);
      this.fail(key, 'the task was stuck in the queue');
    }
    return tasks.map(({ key }) => keyText(key));
  }

  /** Takes back tasks whose pod has been waiting for too long, and queues them again, or fails them after the configured number of times. */
  async revokeStuckTasks(): Promise<void> {
    await revokeStuckTasks(this.#parts);
  }

  /** Queued tasks for which there is no pod are put back to be scheduled again; those that were handled here lately are skipped. Gives them. */
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
      this.log?.warn({ task: task.key }, 'a queued task has no pod; it is scheduled again');
      await store.reschedule?.(task);
    }
    return missing;
  }

  /** Deletes own pods that have been pending for longer than `worker_pods_pending_timeout`; their tasks fail. Gives their names. */
  async checkWorkerPodsPendingTimeout(): Promise<readonly string[]> {
    return await deletePending(this.#parts, this.#wallMs());
  }

  /** The last lines of a running task's log, as they come. Never rejects. Works without `start`. */
  async getStreamingTaskLog(task: TaskInstance, tryNumber: number = task.key.tryNumber): Promise<StreamedTaskLog> {
    return await streamTaskLog(this.#options.cluster, this.kubeConfig, task, {
      tryNumber,
      tailLines: this.RUNNING_POD_LOG_LINES,
    });
  }

  /** The same as texts; one empty text where there is none. */
  async getTaskLog(task: TaskInstance, tryNumber: number = task.key.tryNumber) {
    return await readTaskLog(await this.getStreamingTaskLog(task, tryNumber));
  }

  /** Makes a Secret of each configured service account key. The oldest generation did so at its start. @throws what `injectSecrets` throws */
  async injectSecrets(writer: SecretWriter): Promise<void> {
    await injectSecrets(writer, this.kubeConfig.executorNamespace, this.kubeConfig.legacy, this.log);
  }

  /**
   * Stops: applies the results that are there, drops what has no pod yet, ends the watch. Pods stay for whoever adopts them. Gives the tasks that were
   * dropped. Safe to repeat; never rejects.
   */
  async end(): Promise<{ readonly notLaunched: readonly TaskKey[] }> {
    const scheduler = this.kubeScheduler;
    if (scheduler === undefined) return { notLaunched: [] };
    await this.#attempt('the last sync failed', async () => {
      await this.#syncing;
    });
    const notLaunched = this.taskQueue.remove(() => true).map(({ key }) => key);
    for (const key of notLaunched) this.log?.warn({ task: key }, 'a task has no pod yet; it is dropped');
    await this.#attempt('the last records were not looked at', () => scheduler.sync());
    for (const result of this.resultQueue.remove(() => true))
      await this.#attempt('a result was dropped', () => this.changeState(result));
    await this.#attempt('the watch did not end well', () => scheduler.terminate());
    this.kubeScheduler = undefined;
    return { notLaunched };
  }

  /** Does nothing: pods are left to whoever adopts them. */
  terminate(): void {
    this.log?.debug({}, 'terminate leaves the pods alone');
  }

  /** Pods launched or adopted here whose tasks have not ended. */
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
