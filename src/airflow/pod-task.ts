/** The base of `KubernetesPodOperator`: attributes, and the methods that find, create, label and delete the pods of its task. */
import { randomUUID } from 'node:crypto';
import { DEFAULT_CONFIG } from '../config.ts';
import { recordIn, textIn } from '../core/json.ts';
import { deletesPod } from '../core/pod/finish-action.ts';
import { findPodSelector, LABEL_TRUE, LABELS } from '../core/pod/labels.ts';
import { podManifest, redactedManifest } from '../core/pod/manifest.ts';
import { nameProblem } from '../core/pod/names.ts';
import type { PodPhase } from '../core/pod/projection.ts';
import { ReentryError } from '../errors.ts';
import type { PodCallbacks } from '../operator/callbacks.ts';
import { namespaceOf } from '../operator/launch.ts';
import { DEFAULT_CONNECTION } from '../operator/pod-manifests.ts';
import { type PodParams, podParamsSchema } from '../operator/pod-params.ts';
import { RunCallbacks } from '../operator/step-callbacks.ts';
import type { Log } from '../ports/ambient.ts';
import type { Cluster, Manifest } from '../ports/cluster.ts';
import {
  containerIsSucceeded,
  createdAt,
  startedAt,
  hasIstioProxy,
  ISTIO_CONTAINER_NAME,
  nameOf,
  phaseOf,
  PodPhases,
} from './containers.ts';
import { type Clock, SILENT_LOG, SYSTEM_CLOCK } from './defaults.ts';
import { FoundMoreThanOnePodFailure, PodNotFoundException, TaskFailed } from './exceptions.ts';
import { type KubernetesPodOperatorParams, requestParams, type TaskContext } from './kubernetes-pod-operator-params.ts';
import { PodManager } from './pod-manager.ts';
import type { PodOperatorHookProtocol } from './pod-operator-hook-protocol.ts';

/** Response of the Istio proxy that has agreed to quit. */
export const ISTIO_QUIT_ACCEPTED = 'HTTP/1.1 200';

// Every parameter is an attribute, as in Airflow.
// eslint-disable-next-line @typescript-eslint/no-unsafe-declaration-merging, @typescript-eslint/no-empty-object-type -- the constructor assigns all of them
export interface PodTask extends Omit<PodParams, 'callbacks' | 'progressCallback'> {}

/** One configured task and its pods. */
// eslint-disable-next-line @typescript-eslint/no-unsafe-declaration-merging -- as above
export class PodTask {
  /** The manifest, once built. */
  podRequestObj: Manifest | undefined;
  /** The created or found pod; set as early as possible, so that `onKill` works. */
  pod: Manifest | undefined;
  /** The pod as last read from the API. */
  remotePod: Manifest | undefined;
  readonly callbacks: readonly PodCallbacks[];
  readonly progressCallback: PodCallbacks['progressCallback'];
  readonly hook: PodOperatorHookProtocol;
  readonly taskId: string;
  protected readonly params: PodParams;
  protected readonly own: KubernetesPodOperatorParams;
  protected readonly calls: RunCallbacks;
  protected readonly taskLog: Log;
  protected readonly clock: Clock;
  /** The callbacks, followed by `progressCallback`. */
  readonly #called: readonly PodCallbacks[];
  readonly #runId = randomUUID();
  protected manager: PodManager | undefined;
  protected isKilled = false;

  /** @throws ZodError naming every invalid parameter */
  constructor(options: KubernetesPodOperatorParams, baseName: string) {
    const { hook, taskId = 'pod', callbacks, progressCallback, log = SILENT_LOG, clock = SYSTEM_CLOCK } = options;
    this.params = podParamsSchema.parse({ baseContainerName: baseName, ...requestParams(options) });
    const { kubernetesConnId, containerLogs, baseContainerName, skipOnExitCode } = this.params;
    Object.assign(this, this.params, {
      kubernetesConnId: kubernetesConnId ?? DEFAULT_CONNECTION,
      containerLogs: containerLogs ?? baseContainerName,
      skipOnExitCode: typeof skipOnExitCode === 'number' ? [skipOnExitCode] : (skipOnExitCode ?? []),
    });
    this.own = options;
    this.callbacks = callbacks === undefined ? [] : isList(callbacks) ? callbacks : [callbacks];
    this.hook = hook;
    this.taskId = taskId;
    this.taskLog = log;
    this.clock = clock;
    this.progressCallback = progressCallback;
    this.#called = progressCallback === undefined ? this.callbacks : [...this.callbacks, { progressCallback }];
    this.calls = new RunCallbacks(this.callbacks, this.taskLog);
  }

  /** The hook's client. */
  get client(): Cluster {
    return this.hook.coreV1Client;
  }

  /** Created once, and again after credentials were renewed. */
  get podManager(): PodManager {
    if (this.manager === undefined) {
      this.manager = new PodManager(this.client, { callbacks: this.#called, log: this.taskLog, clock: this.clock });
      void this.calls.fire('onSyncClientCreation', { client: this.client, operator: this });
    }
    return this.manager;
  }

  /** Builds the manifest; the same on each call. @throws ReentryError INVALID_REQUEST when a given name cannot be a pod's */
  buildPodRequestObj(context?: TaskContext): Manifest {
    const problem = typeof this.params.name === 'string' ? nameProblem(this.params.name) : undefined;
    if (problem !== undefined)
      throw new ReentryError('INVALID_REQUEST', `name ${problem}`, {
        transient: false,
        problems: [{ path: 'params.name', message: problem }],
      });
    const { podSecurity = DEFAULT_CONFIG.podSecurity, podTemplates = {}, executionTimeoutSeconds } = this.own;
    const { podTemplateFile } = this.params;
    const { tryNumber = 1 } = context ?? {};
    return podManifest(this.params, {
      installation: 'library',
      run: { tenant: 'default', runId: this.#runId },
      attempt: tryNumber,
      queue: 'default',
      context: { taskId: this.taskId, ...context },
      defaultNamespace: this.hook.getNamespace() ?? 'default',
      executionTimeoutSeconds,
      podSecurity,
      template: typeof podTemplateFile === 'string' ? podTemplates[podTemplateFile] : undefined,
      xcomSidecar: this.client.xcomSidecar ?? {},
    });
  }

  /** The manifest without the labels of a try, with values hidden; sends nothing. */
  dryRun(): Manifest {
    return redactedManifest(this.buildPodRequestObj());
  }

  /**
   * Finds the pod of this task, of any try. When there are several: an error with `reattachOnRestart`, otherwise the newest, and the others are
   * labelled or deleted.
   * @throws FoundMoreThanOnePodFailure
   */
  async findPod(
    namespace: string,
    context: TaskContext,
    { excludeChecked = true }: { readonly excludeChecked?: boolean } = {},
  ): Promise<Manifest | undefined> {
    const selector = findPodSelector(this.labels, { taskId: this.taskId, ...context }, { excludeChecked });
    const listed = await this.client.listPods(namespace, selector);
    const found: Manifest[] = [];
    for (const { name } of listed)
      found.push(...[await this.client.getPod(namespace, name)].filter((pod) => pod !== undefined));
    if (found.length > 1) {
      if (this.reattachOnRestart && this.durable)
        throw new FoundMoreThanOnePodFailure(`several pods match the labels ${selector}`);
      this.taskLog.warn({ selector }, 'several pods match the labels of this task');
      return await this.processDuplicateLabelPods(found);
    }
    const [pod] = found;
    if (pod !== undefined) this.logMatchingPod(pod, context);
    return pod;
  }

  /** Logs which pod was found, and its try. */
  logMatchingPod(pod: Manifest, { tryNumber }: TaskContext): void {
    const labels = recordIn(recordIn(pod, 'metadata'), 'labels');
    this.taskLog.info(
      { pod: nameOf(pod), labels, tryNumber, podTryNumber: labels['try_number'] },
      'found a pod of this task',
    );
  }

  /** Re-attaches to a live pod of this task, or to an ended one that the policy keeps; otherwise creates the requested pod. */
  async getOrCreatePod(podRequestObj: Manifest, context: TaskContext): Promise<Manifest> {
    if (this.reattachOnRestart && this.durable) {
      const found = await this.findPod(namespaceOf(podRequestObj, this.client), context);
      const evicted = textIn(recordIn(found, 'status'), 'reason')?.toLowerCase() === 'evicted';
      if (found !== undefined && !PodPhases.terminalStates.has(phaseOf(found) ?? '') && !evicted) return found;
      if (found !== undefined && !(await this.processPodDeletion(found))) return found;
    }
    return await this.podManager.createPod(podRequestObj);
  }

  /** Returns the newest of several pods; labels all others, and deletes them with `delete_pod`. */
  async processDuplicateLabelPods(podList: readonly Manifest[]): Promise<Manifest | undefined> {
    // A pod that has not started has no start time; then all are compared by creation time.
    const time = podList.every((pod) => startedAt(pod) !== undefined)
      ? (pod: Manifest) => startedAt(pod) ?? 0
      : createdAt;
    const [newest, ...others] = podList.toSorted((a, b) => time(b) - time(a));
    for (const pod of others) {
      await this.patchAlreadyChecked(pod, { reraise: false });
      if (this.onFinishAction === 'delete_pod') await this.processPodDeletion(pod);
    }
    return newest;
  }

  /** Deletes the pod if `onFinishAction` requires it; returns whether it did. @param reraise throw errors (default) or log them */
  async processPodDeletion(
    pod: Manifest | undefined,
    { reraise = true }: { readonly reraise?: boolean } = {},
  ): Promise<boolean> {
    if (pod === undefined) return false;
    const facts = { phase: knownPhase(phaseOf(pod)), baseSucceeded: containerIsSucceeded(pod, this.baseContainerName) };
    if (!deletesPod(this.onFinishAction, facts)) return false;
    return await this.optionally(reraise, false, async () => {
      await this.podManager.deletePod(pod);
      return true;
    });
  }

  /** Sets the label `already_checked`, so that the pod is not found again. */
  async patchAlreadyChecked(pod: Manifest, { reraise = true }: { readonly reraise?: boolean } = {}): Promise<void> {
    const patch = { metadata: { labels: { [LABELS.alreadyChecked]: LABEL_TRUE } } };
    await this.optionally(reraise, undefined, async () => {
      await this.client.patchPod(this.podManager.refOf(pod), patch);
    });
  }

  /** Whether the pod has an Istio proxy; false when the pod is gone. */
  async isIstioEnabled(pod: Manifest | undefined): Promise<boolean> {
    if (pod === undefined) return false;
    try {
      return hasIstioProxy(await this.podManager.readPod(pod));
    } catch (error) {
      if (error instanceof PodNotFoundException) return false;
      throw error;
    }
  }

  /** Asks the Istio proxy to quit. @throws TaskFailed when it does not */
  async killIstioSidecar(pod: Manifest): Promise<void> {
    const command = ['/bin/sh', '-c', 'curl -fsI -X POST http://localhost:15020/quitquitquit'];
    const outcome = await this.client.exec(this.podManager.refOf(pod), {
      container: ISTIO_CONTAINER_NAME,
      command,
      timeoutMs: 30_000,
      maxBytes: 65_536,
    });
    const response = outcome.kind === 'tooLarge' ? '' : new TextDecoder().decode(outcome.stdout);
    if (!response.includes(ISTIO_QUIT_ACCEPTED)) throw new TaskFailed(`the Istio proxy did not quit: ${response}`);
  }

  /** Cancels: deletes the pod unless `onKillAction` keeps it; the clean-up does nothing afterwards. Never throws. */
  async onKill(): Promise<void> {
    this.isKilled = true;
    const { pod } = this;
    if (pod === undefined || this.onKillAction === 'keep_pod') return;
    await this.optionally(false, undefined, () =>
      this.podManager.deletePod(pod, this.terminationGracePeriod ?? undefined),
    );
  }

  /** Runs `work`; an error is rethrown, or logged and `otherwise` returned. */
  protected async optionally<T>(reraise: boolean, otherwise: T, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (reraise) throw error;
      this.taskLog.error({ err: error }, 'a step of the clean-up failed; the task continues');
      return otherwise;
    }
  }
}

const isList = (callbacks: PodCallbacks | readonly PodCallbacks[]): callbacks is readonly PodCallbacks[] =>
  Array.isArray(callbacks);

const PHASES = ['Pending', 'Running', 'Succeeded', 'Failed', 'Unknown'] as const satisfies readonly PodPhase[];
const knownPhase = (phase: string | undefined): PodPhase | undefined => PHASES.find((one) => one === phase);
