/** Between tasks and pods: builds and creates pods, keeps the watchers, and turns what they saw into results. @see spec executor §1.1, §3.4, §3.5, §5.1 */
import { setTimeout as delay } from 'node:timers/promises';
import { type JsonRecord, recordIn, textIn } from '../core/json.ts';
import { makeSafeLabelValue } from '../core/pod/labels.ts';
import type { PodRef } from '../core/pod/projection.ts';
import { KubernetesError, ReentryError } from '../errors.ts';
import type { Log, Meter } from '../ports/ambient.ts';
import type { Cluster } from '../ports/cluster.ts';
import { commandArgs, type CommandRule } from '../operator/command.ts';
import type { KubeConfig } from './kube-config.ts';
import { KubernetesJobWatcher, ResourceVersion } from './kubernetes-job-watcher.ts';
import {
  datetimeToLabelSafeDatestring,
  labelSafeDatestringToDatetime,
  type TaskKey,
} from '../core/pod/executor-labels.ts';
import { createPodId, makeSafePodId, stripUnsafeKubernetesSpecialChars } from './legacy.ts';
import { executorPodName } from './pod-generator.ts';
import { constructPod } from '../operator/construct-pod.ts';
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

/** Gives creations their turn: `Launcher` is one. */
export interface CreationTurns {
  run<T>(create: () => Promise<T>): Promise<T>;
}

/** What a scheduler may be given beyond the seed's arguments. */
export interface SchedulerOptions {
  readonly log?: Log | undefined;
  readonly meter?: Meter | undefined;
  readonly tasks?: TaskStore | undefined;
  /** Default: each creation at once. */
  readonly turns?: CreationTurns | undefined;
  /** The caller's last change to every pod. */
  readonly mutatePod?: ((pod: JsonRecord) => JsonRecord) | undefined;
  /** Where templates are; the disk by default. */
  readonly files?: TemplateFiles | undefined;
  /** Which commands are let through; the seed's by default. */
  readonly commandRule?: CommandRule | undefined;
  /** Version on every pod, for people. */
  readonly version?: string | undefined;
  readonly random?: ((length: number) => string) | undefined;
}

/** What came of one job of a batch. */
export interface LaunchOutcome {
  readonly job: KubernetesJob;
  readonly pod?: PodRef;
  readonly error?: unknown;
  /** It was not tried: the server had asked for a pause. */
  readonly untried?: boolean;
}

/** Watchers have this long to end. */
const TERMINATE_MS = 20_000;
/** Phases of pods that will not run any more. */
const ENDED: ReadonlySet<string | undefined> = new Set(['Succeeded', 'Failed']);

/** Starts its watchers when it is made; `terminate` ends them. Pods go on without it. */
export class AirflowKubernetesScheduler {
  readonly kubeConfig: KubeConfig;
  readonly kubeClient: Cluster;
  readonly schedulerJobId: string;
  readonly resultQueue: TaskQueue<KubernetesResults>;
  readonly watcherQueue = new TaskQueue<KubernetesWatch>();
  /** By namespace. */
  readonly kubeWatchers = new Map<string, KubernetesJobWatcher>();
  readonly writes: PodWrites;
  /** Records that named no task. */
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

  // The oldest generation had these here.
  static readonly stripUnsafeKubernetesSpecialChars = stripUnsafeKubernetesSpecialChars;
  static readonly makeSafePodId = makeSafePodId;
  static readonly makeSafeLabelValue = makeSafeLabelValue;
  static readonly createPodId = createPodId;
  static readonly datetimeToLabelSafeDatestring = datetimeToLabelSafeDatestring;
  static readonly labelSafeDatestringToDatetime = labelSafeDatestringToDatetime;
  /** The key of a pod's labels, among tasks that are known. */
  static readonly labelsToKey = labelsToKey;

  /** One watcher of a namespace, `undefined` for all of them, from where results have come. */
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

  /** A watcher for each watched namespace. */
  makeKubeWatchers(): void {
    for (const namespace of this.kubeConfig.namespaces) this.makeKubeWatcher(namespace);
  }

  /** Replaces watchers that have ended; the new one lists first, so that nothing is missed. */
  healthCheckKubeWatcher(): void {
    for (const [name, watcher] of this.kubeWatchers) {
      if (watcher.alive) continue;
      this.#log?.error({ namespace: name }, 'a watch of task pods has ended; another one begins');
      this.makeKubeWatcher(name === ALL_NAMESPACES ? undefined : name);
    }
  }

  /** A name for a job's pod. Keep it with the job: a creation whose answer was lost must not be repeated under another one. */
  named(job: KubernetesJob): KubernetesJob {
    return { ...job, podName: job.podName ?? executorPodName(job.key, this.#options.random) };
  }

  /**
   * The pod of a job, not yet created.
   * @throws ReentryError INVALID_REQUEST or CONFIG_INVALID for a command, template or override with which nothing can run
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
        `namespace ${JSON.stringify(namespace)} is not watched, so the pod's end would never be heard; watched: ${[...this.kubeWatchers.keys()].join(', ')}`,
        { transient: false },
      );
    return pod;
  }

  /** Builds a job's pod and creates it. Does not wait for it to run. @throws what building or creating threw */
  async runNext(nextJob: KubernetesJob): Promise<PodRef> {
    const pod = this.buildPod(nextJob);
    this.#log?.info(
      {
        task: nextJob.key,
        pod: textIn(recordIn(pod, 'metadata'), 'name'),
        annotations: this.annotationsForLogging(recordIn(recordIn(pod, 'metadata'), 'annotations')),
      },
      'a pod is created for a task',
    );
    return await this.runPodAsync(pod);
  }

  /** Several jobs, at most `limit` in creation at a time; outcomes in the order of the jobs. Never rejects. Once the server asks for a pause, the rest is left untried. */
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
   * Creates a pod in its namespace. A pod of that name that stands for the same try and has not ended is it: an earlier answer was lost.
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
        // A full quota is said before a name that is taken.
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
      this.#log?.warn({ pod: name, namespace, err: error }, 'a pod was not created');
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

  /** Asks for a pod's deletion; a pod that does not exist is none. @throws KubernetesError for any other refusal */
  async deletePod(podName: string, namespace: string, podUid?: string): Promise<void> {
    await this.writes.delete({ podName, namespace, podUid }, this.kubeConfig.deleteGracePeriodSeconds);
  }

  /** Labels a pod as accounted for, so that nobody adopts it again. Refusals are logged. */
  async patchPodExecutorDone(pod: NamedPod): Promise<boolean> {
    return await this.writes.markDone(pod);
  }

  /** Labels a pod as taken back, so that its end means nothing. Refusals are logged. */
  async patchPodRevoked(pod: NamedPod): Promise<boolean> {
    return await this.writes.markRevoked(pod);
  }

  /** Sees to the watchers, and turns all they saw so far into results. */
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

  /** Queues the result of one record, for the task that its pod names; a record that names none is counted and dropped. */
  async processWatcherTask(task: KubernetesWatch): Promise<void> {
    const { annotations, ...rest } = task;
    const named = annotationsToKey(annotations);
    const key = named === undefined ? undefined : await this.#withRun(named, annotations);
    if (key === undefined) {
      this.unnamed += 1;
      this.#log?.warn({ pod: task.podName, namespace: task.namespace }, 'a pod names no task; its end is nobody’s');
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

  /** Annotations as logs may show them. */
  annotationsForLogging(annotations: JsonRecord): JsonRecord | string {
    return this.kubeConfig.logsTaskMetadata ? annotations : '<omitted>';
  }

  /** Ends the watchers within 20 s and drops what they had not handed over. Safe to repeat. */
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
      this.#log?.warn({ records: dropped.length }, 'changes of pods were not looked at; whoever adopts the pods will');
  }
}

function taken(namespace: string, name: string): never {
  throw new KubernetesError(
    'alreadyExists',
    `pod ${namespace}/${name} is there already and stands for something else`,
    {
      status: 409,
      reason: 'AlreadyExists',
    },
  );
}
