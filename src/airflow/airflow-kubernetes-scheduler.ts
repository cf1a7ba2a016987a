/** `AirflowKubernetesScheduler`: builds and creates task pods, runs the watchers, and turns their records into results. */
import { setTimeout as delay } from 'node:timers/promises';
import { type JsonRecord, recordIn, textIn } from '../core/json.ts';
import {
  datetimeToLabelSafeDatestring,
  labelSafeDatestringToDatetime,
  type TaskKey,
} from '../core/pod/executor-labels.ts';
import { makeSafeLabelValue } from '../core/pod/labels.ts';
import type { PodRef } from '../core/pod/projection.ts';
import { KubernetesError, ReentryError } from '../errors.ts';
import { commandArgs, type CommandRule } from '../operator/command.ts';
import { constructPod } from '../operator/construct-pod.ts';
import type { Log, Meter } from '../ports/ambient.ts';
import type { Cluster } from '../ports/cluster.ts';
import type { KubeConfig } from './kube-config.ts';
import { KubernetesJobWatcher, ResourceVersion } from './kubernetes-job-watcher.ts';
import { createPodId, makeSafePodId, stripUnsafeKubernetesSpecialChars } from './legacy.ts';
import { executorPodName } from './pod-generator.ts';
import { getBasePodFromTemplate, type TemplateFiles } from './pod-template.ts';
import { type NamedPod, PodWrites } from './pod-writes.ts';
import {
  ALL_NAMESPACES,
  type KubernetesJob,
  type KubernetesResults,
  type KubernetesWatch,
  type TaskStore,
} from './records.ts';
import { annotationsToKey, isSameKey, labelsToKey } from './task-key.ts';
import { TaskQueue } from './task-queue.ts';
import { identityAnnotationsOf } from './watched-pod.ts';

/** Limits how many pods are created at the same time; `Launcher` implements it. */
export interface CreationTurns {
  run<T>(create: () => Promise<T>): Promise<T>;
}

/** Options beyond the arguments of Airflow's class. */
export interface SchedulerOptions {
  readonly log?: Log | undefined;
  readonly meter?: Meter | undefined;
  readonly tasks?: TaskStore | undefined;
  /** Default: no limit. */
  readonly turns?: CreationTurns | undefined;
  /** Changes every pod before it is created; Airflow's `pod_mutation_hook`. */
  readonly mutatePod?: ((pod: JsonRecord) => JsonRecord) | undefined;
  /** Reads template files. Default: from disk. */
  readonly files?: TemplateFiles | undefined;
  /** Which commands are accepted. Default `task`: Airflow's rule. */
  readonly commandRule?: CommandRule | undefined;
  /** Value of the version label on every pod; informational. */
  readonly version?: string | undefined;
  readonly random?: ((length: number) => string) | undefined;
}

/** The outcome of one job of a batch: its pod, the error, or neither when it was not attempted. */
export interface LaunchOutcome {
  readonly job: KubernetesJob;
  readonly pod?: PodRef;
  readonly error?: unknown;
  /** Not attempted because the API server had asked for a pause. */
  readonly untried?: boolean;
}

/** How long `terminate` waits for the watchers. */
const TERMINATE_MS = 20_000;
/** Phases of pods that will not run any more. */
const ENDED: ReadonlySet<string | undefined> = new Set(['Succeeded', 'Failed']);

/** Starts its watchers when constructed; `terminate` stops them. Pods keep running without it. */
export class AirflowKubernetesScheduler {
  readonly kubeConfig: KubeConfig;
  readonly kubeClient: Cluster;
  readonly schedulerJobId: string;
  readonly resultQueue: TaskQueue<KubernetesResults>;
  readonly watcherQueue = new TaskQueue<KubernetesWatch>();
  /** Watchers by namespace. */
  readonly kubeWatchers = new Map<string, KubernetesJobWatcher>();
  readonly writes: PodWrites;
  /** Number of watch records that named no task. */
  unnamed = 0;
  readonly #options: SchedulerOptions;
  readonly #log: Log | undefined;
  #terminated = false;

  constructor(
    kubeConfig: KubeConfig,
    resultQueue: TaskQueue<KubernetesResults>,
    kubeClient: Cluster,
    schedulerJobId: string,
    options: SchedulerOptions = {},
  ) {
    this.kubeConfig = kubeConfig;
    this.resultQueue = resultQueue;
    this.kubeClient = kubeClient;
    this.schedulerJobId = schedulerJobId;
    this.#options = options;
    this.#log = options.log;
    this.writes = new PodWrites(kubeClient, options.log, options.meter);
    this.makeKubeWatchers();
  }

  // Airflow 1.10 had these as static methods of this class.
  static readonly stripUnsafeKubernetesSpecialChars = stripUnsafeKubernetesSpecialChars;
  static readonly makeSafePodId = makeSafePodId;
  static readonly makeSafeLabelValue = makeSafeLabelValue;
  static readonly createPodId = createPodId;
  static readonly datetimeToLabelSafeDatestring = datetimeToLabelSafeDatestring;
  static readonly labelSafeDatestringToDatetime = labelSafeDatestringToDatetime;
  /** The task whose label-safe form matches a pod's labels. */
  static readonly labelsToKey = labelsToKey;

  /** Starts a watcher of one namespace (`undefined`: all), beginning at the newest resource version seen. */
  makeKubeWatcher(namespace: string | undefined): KubernetesJobWatcher {
    const name = namespace ?? ALL_NAMESPACES;
    const from = new ResourceVersion().resourceVersion[name];
    const watcher = new KubernetesJobWatcher(name, this.watcherQueue, from, this.schedulerJobId, this.kubeConfig, {
      cluster: this.kubeClient,
      log: this.#log,
    });
    this.kubeWatchers.set(name, watcher);
    watcher.start();
    return watcher;
  }

  /** Starts a watcher for each configured namespace. */
  makeKubeWatchers(): void {
    for (const namespace of this.kubeConfig.namespaces) this.makeKubeWatcher(namespace);
  }

  /** Replaces watchers that have ended. A new watcher begins with a list, so no change is missed. */
  healthCheckKubeWatcher(): void {
    for (const [name, watcher] of this.kubeWatchers) {
      if (watcher.alive) continue;
      this.#log?.error({ namespace: name }, 'the watch of task pods ended; starting another');
      this.makeKubeWatcher(name === ALL_NAMESPACES ? undefined : name);
    }
  }

  /** The job with a pod name. Keep it: when the response to a creation is lost, the retry must use the same name. */
  named(job: KubernetesJob): KubernetesJob {
    return { ...job, podName: job.podName ?? executorPodName(job.key, this.#options.random) };
  }

  /**
   * Builds a job's pod without creating it.
   * @throws ReentryError INVALID_REQUEST or CONFIG_INVALID when command, template or override is invalid, or its namespace is not watched
   */
  buildPod(job: KubernetesJob): JsonRecord {
    const { mutatePod, random, files, version, commandRule } = this.#options;
    const args = commandArgs(job.command, commandRule);
    const pod = constructPod({
      ...job.key,
      owner: this.schedulerJobId,
      version,
      podId: this.named(job).podName ?? '',
      namespace: this.kubeConfig.kubeNamespace,
      kubeImage: job.kubeImage ?? this.kubeConfig.kubeImage,
      args,
      podOverride: job.kubeExecutorConfig,
      baseWorkerPod: getBasePodFromTemplate(job.podTemplateFile, this.kubeConfig, {
        log: this.#log,
        ...(files === undefined ? {} : { files }),
      }),
      mutatePod,
      ...(random === undefined ? {} : { random }),
    });
    const namespace = textIn(recordIn(pod, 'metadata'), 'namespace') ?? '';
    if (!this.kubeConfig.watches(namespace))
      throw new ReentryError(
        'INVALID_REQUEST',
        `namespace ${JSON.stringify(namespace)} is not watched, so the end of the pod would go unnoticed; watched: ${[...this.kubeWatchers.keys()].join(', ')}`,
        { transient: false },
      );
    return pod;
  }

  /** Builds and creates a job's pod; does not wait for it to run. @throws as `buildPod` and `runPodAsync` do */
  async runNext(nextJob: KubernetesJob): Promise<PodRef> {
    const pod = this.buildPod(nextJob);
    this.#log?.info(
      {
        task: nextJob.key,
        pod: textIn(recordIn(pod, 'metadata'), 'name'),
        annotations: this.annotationsForLogging(recordIn(recordIn(pod, 'metadata'), 'annotations')),
      },
      'creating a pod for a task',
    );
    return await this.runPodAsync(pod);
  }

  /**
   * Creates the pods of several jobs, at most `limit` at a time. Outcomes are in the order of the jobs. Never rejects. Once the API server asks for
   * a pause, the remaining jobs are left untried.
   */
  async runNextBatch(jobs: readonly KubernetesJob[], limit: number): Promise<readonly LaunchOutcome[]> {
    const outcomes: LaunchOutcome[] = jobs.map((job) => ({ job, untried: true }));
    const left = jobs.keys();
    let paused = false;
    const work = async (): Promise<void> => {
      for (const index of left) {
        const job = jobs[index];
        if (job === undefined || paused) return;
        try {
          outcomes[index] = { job, pod: await this.runNext(job) };
        } catch (error) {
          outcomes[index] = { job, error };
          paused ||= error instanceof KubernetesError && (error.status === 429 || error.retryAfterMs !== undefined);
        }
      }
    };
    await Promise.all(Array.from({ length: Math.max(1, Math.min(limit, jobs.length)) }, work));
    return outcomes;
  }

  /**
   * Creates a pod in its namespace. When a pod of that name exists, belongs to the same try and has not ended, it is returned: the response to an
   * earlier creation was lost.
   * @throws KubernetesError
   */
  async runPodAsync(pod: JsonRecord, options: { readonly dryRun?: boolean } = {}): Promise<PodRef> {
    const metadata = recordIn(pod, 'metadata');
    const [namespace, name] = [textIn(metadata, 'namespace') ?? '', textIn(metadata, 'name') ?? ''];
    const create = async (): Promise<PodRef> => {
      try {
        const { kind, pod: made } = await this.kubeClient.createPod(namespace, pod, options);
        if (kind === 'created') return this.#ref(made);
        return this.#same(pod, made) ?? taken(namespace, name);
      } catch (error) {
        // The API server checks quota before the name: the pod may exist all the same.
        if (!(error instanceof KubernetesError) || error.fault !== 'quota') throw error;
        const present = await this.kubeClient.getPod(namespace, name);
        const same = present === undefined ? undefined : this.#same(pod, present);
        if (same === undefined) throw error;
        return same;
      }
    };
    try {
      return await (this.#options.turns === undefined ? create() : this.#options.turns.run(create));
    } catch (error) {
      this.#log?.warn({ pod: name, namespace, err: error }, 'pod not created');
      throw error;
    }
  }

  #ref(pod: JsonRecord): PodRef {
    const { connection, namespace, name, uid } = this.kubeClient.project(pod);
    return { connection, namespace, name, uid };
  }

  #same(wanted: JsonRecord, present: JsonRecord): PodRef | undefined {
    const [one, other] = [wanted, present].map((pod) => annotationsToKey(identityAnnotationsOf(pod)));
    if (one === undefined || other === undefined || !isSameKey(one, other)) return undefined;
    const deleting = textIn(recordIn(present, 'metadata'), 'deletionTimestamp') !== undefined;
    return deleting || ENDED.has(textIn(recordIn(present, 'status'), 'phase')) ? undefined : this.#ref(present);
  }

  /** Deletes a pod; resolves when it does not exist. @throws KubernetesError for any other failure */
  async deletePod(podName: string, namespace: string, podUid?: string): Promise<void> {
    await this.writes.delete({ podName, namespace, podUid }, this.kubeConfig.deleteGracePeriodSeconds);
  }

  /** Labels a pod as done, so that it is not adopted again. Failures are logged; returns whether the label was set. */
  async patchPodExecutorDone(pod: NamedPod): Promise<boolean> {
    return await this.writes.markDone(pod);
  }

  /** Labels a pod as revoked, so that its end is ignored. Failures are logged; returns whether the label was set. */
  async patchPodRevoked(pod: NamedPod): Promise<boolean> {
    return await this.writes.markRevoked(pod);
  }

  /** Replaces dead watchers and turns every queued record into a result. */
  async sync(): Promise<void> {
    this.healthCheckKubeWatcher();
    for (let task = this.watcherQueue.tryGet(); task !== undefined; task = this.watcherQueue.tryGet()) {
      try {
        await this.processWatcherTask(task);
      } finally {
        this.watcherQueue.done();
      }
    }
  }

  /** Queues the result of one record. A record whose pod names no task is counted and dropped. */
  async processWatcherTask(task: KubernetesWatch): Promise<void> {
    const { annotations, ...rest } = task;
    const named = annotationsToKey(annotations);
    const key = named === undefined ? undefined : await this.#withRun(named, annotations);
    if (key === undefined) {
      this.unnamed += 1;
      this.#log?.warn({ pod: task.podName, namespace: task.namespace }, 'the pod names no task; its end is ignored');
      return;
    }
    this.resultQueue.put({ key, ...rest });
  }

  async #withRun(key: TaskKey, annotations: KubernetesWatch['annotations']): Promise<TaskKey> {
    if (key.runId !== null) return key;
    const date = annotations['logical_date'] ?? annotations['execution_date'];
    if (date === undefined || date === null || date === '') return key;
    return { ...key, runId: (await this.#options.tasks?.runIdAt?.(key.dagId, key.taskId, date)) ?? null };
  }

  /** Annotations for log lines: `<omitted>` unless `logs_task_metadata` is set. */
  annotationsForLogging(annotations: JsonRecord): JsonRecord | string {
    return this.kubeConfig.logsTaskMetadata ? annotations : '<omitted>';
  }

  /** Stops the watchers, waiting at most 20 s, and drops records that were not processed. Safe to repeat. */
  async terminate(): Promise<void> {
    if (this.#terminated) return;
    this.#terminated = true;
    const budget = new AbortController();
    const ended = Promise.all([...this.kubeWatchers.values()].map((watcher) => watcher.stop()));
    const late = delay(TERMINATE_MS, undefined, { signal: budget.signal, ref: false }).catch(() => undefined);
    await Promise.race([ended, late]);
    budget.abort();
    const dropped = this.watcherQueue.remove(() => true);
    if (dropped.length > 0)
      this.#log?.warn(
        { records: dropped.length },
        'pod changes dropped at shutdown; the scheduler that adopts the pods will see them',
      );
  }
}

function taken(namespace: string, name: string): never {
  throw new KubernetesError('alreadyExists', `pod ${namespace}/${name} already exists and belongs to something else`, {
    status: 409,
    reason: 'AlreadyExists',
  });
}
