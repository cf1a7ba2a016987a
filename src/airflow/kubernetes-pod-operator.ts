/**
 * `KubernetesPodOperator` of `airflow.providers.cncf.kubernetes.operators.pod` for programs that embed it: one configured task, run or deferred
 * without a broker. Workers use `podOperator`, which builds the same manifest and takes the same decisions.
 */
import { instantIn, recordIn, recordsIn } from '../core/json.ts';
import { LABELS } from '../core/pod/labels.ts';
import { redactedManifest } from '../core/pod/manifest.ts';
import { XCOM } from '../core/pod/xcom-sidecar.ts';
import { KubernetesError } from '../errors.ts';
import { ExecutionMode } from '../operator/callbacks.ts';
import { withKwargs } from '../operator/step-callbacks.ts';
import { TEMPLATE_FIELDS } from '../operator/templates.ts';
import type { Manifest } from '../ports/cluster.ts';
import {
  containerIsSucceeded,
  definePodContainerState,
  detectPodTerminateEarlyIssues,
  exitCodeOf,
  getContainerTerminationMessage,
  ISTIO_CONTAINER_NAME,
  nameOf,
  namespaceIn,
  phaseOf,
  PodPhases,
} from './containers.ts';
import {
  PodLaunchFailedException,
  PodLaunchTimeoutException,
  PodNotFoundException,
  TaskFailed,
  TaskSkipped,
} from './exceptions.ts';
import {
  type KubernetesPodOperatorParams,
  type PodEvent,
  podEventSchema,
  type TaskContext,
  type TaskDeferred,
  type TaskReturned,
} from './kubernetes-pod-operator-params.ts';
import type { FetchLogOptions } from './pod-logs.ts';
import { PodTask, ISTIO_QUIT_ACCEPTED } from './pod-task.ts';

/** How often an `error` event may defer again because the pod is still alive. */
const MAX_REDEFER_ATTEMPTS = 3;
const CREDENTIAL_WAITS_SECONDS = [1, 2, 4, 8, 15] as const;

/** One task that runs in one pod. Failure, skipping and launch errors are thrown; see `exceptions.ts`. */
export class KubernetesPodOperator extends PodTask {
  static readonly BASE_CONTAINER_NAME: string = 'base';
  static readonly ISTIO_CONTAINER_NAME = ISTIO_CONTAINER_NAME;
  /** Response of the Istio proxy that has agreed to quit. */
  static readonly KILL_ISTIO_PROXY_SUCCESS_MSG = ISTIO_QUIT_ACCEPTED;
  /** Label of a pod whose task has ended. */
  static readonly POD_CHECKED_KEY = LABELS.alreadyChecked;
  /** Seconds for which a log is read after the end of its container. */
  static readonly POST_TERMINATION_TIMEOUT = 120;
  /** Names of the templated parameters. */
  static readonly templateFields: readonly string[] = TEMPLATE_FIELDS;
  static readonly templateFieldsRenderers = { envVars: 'py' } as const;

  /** @throws ZodError naming every invalid parameter */
  constructor(options: KubernetesPodOperatorParams) {
    super(options, new.target.BASE_CONTAINER_NAME);
  }

  /** Waits until the pod starts and logs its events meanwhile (`logEventsOnStartup`). @throws PodLaunchFailedException, PodLaunchTimeoutException */
  async awaitPodStart(pod: Manifest): Promise<void> {
    const manager = this.podManager;
    manager.stopWatchingEvents = false;
    const { startupTimeoutSeconds, scheduleTimeoutSeconds, startupCheckIntervalSeconds: checkInterval } = this;
    const { logEventsOnStartup } = this;
    const limits = {
      scheduleTimeout: (scheduleTimeoutSeconds ?? 0) || startupTimeoutSeconds,
      startupTimeout: startupTimeoutSeconds,
      checkInterval,
    };
    if (logEventsOnStartup)
      void manager.watchPodEvents(pod, checkInterval).catch((error: unknown) => {
        this.taskLog.warn({ err: error }, 'reading the pod events failed');
      });
    try {
      await manager.awaitPodStart(pod, limits);
    } catch (error) {
      if (error instanceof PodLaunchFailedException && !(error instanceof PodLaunchTimeoutException))
        await this.#logFailure(pod);
      throw error;
    } finally {
      manager.stopWatchingEvents = true;
    }
  }

  /** Follows the logs of the requested init containers until they have ended. */
  async awaitInitContainersCompletion(pod: Manifest): Promise<void> {
    const { initContainerLogs } = this;
    if (
      initContainerLogs === undefined ||
      initContainerLogs === null ||
      initContainerLogs === false ||
      initContainerLogs === ''
    )
      return;
    await this.#withFreshCredentials(() =>
      this.podManager.fetchRequestedInitContainerLogs(pod, initContainerLogs, { ...this.#logOptions(), follow: true }),
    );
  }

  /** Follows the logs of the requested containers, then waits for the end of the base container. */
  async awaitPodCompletion(pod: Manifest): Promise<void> {
    const base = this.baseContainerName;
    const wanted = this.containerLogs ?? base;
    const names = typeof wanted === 'string' ? [wanted] : wanted;
    await this.#withFreshCredentials(async () => {
      if (this.getLogs)
        await this.podManager.fetchRequestedContainerLogs(pod, wanted, { ...this.#logOptions(), follow: true });
      if (!this.getLogs || (names !== true && (names === false || !names.includes(base))))
        await this.podManager.awaitContainerCompletion(pod, base, this.baseContainerStatusPollingInterval);
    });
  }

  /** The result of the pod; `undefined` when it is empty. @throws XComRetrievalError */
  async extractXcom(pod: Manifest): Promise<unknown> {
    const text = await this.podManager.extractXcom(pod);
    if (text.trimEnd() === XCOM.emptyResult) return undefined;
    const result: unknown = JSON.parse(text);
    return result;
  }

  /** Runs the task to its end or, with `deferrable`, to its deferral. */
  async execute(context: TaskContext): Promise<TaskReturned | TaskDeferred> {
    return this.deferrable ? await this.executeAsync(context) : await this.executeSync(context);
  }

  /** Runs the task to its end. An error of the clean-up replaces an earlier error. */
  async executeSync(context: TaskContext): Promise<TaskReturned> {
    let result: unknown;
    try {
      const pod = await this.#begin(context);
      this.remotePod = await this.findPod(namespaceIn(pod) ?? '', context);
      await this.#callback('onPodCreation', context, this.remotePod);
      await this.awaitPodStart(pod);
      await this.awaitInitContainersCompletion(pod);
      await this.#callback('onPodStarting', context, await this.#foundForCallbacks(pod, context));
      await this.awaitPodCompletion(pod);
      const ended = await this.#foundForCallbacks(pod, context);
      await this.#callback('onPodCompletion', context, ended);
      await this.#callback('onPodTeardown', context, ended);
      if (this.doXcomPush) {
        await this.podManager.awaitXcomSidecarContainerStart(pod);
        result = await this.extractXcom(pod);
      }
      const istioEnabled = await this.isIstioEnabled(pod);
      const { doXcomPush, baseContainerName: containerName } = this;
      this.remotePod = await this.podManager.awaitPodCompletion(pod, { istioEnabled, containerName, doXcomPush });
    } finally {
      const pod = this.pod ?? this.podRequestObj;
      if (pod !== undefined) await this.postCompleteAction({ pod, remotePod: this.remotePod, context, result });
    }
    return { kind: 'returned', result: this.doXcomPush ? result : undefined };
  }

  /** Creates or re-attaches to the pod and defers; a pod that has ended already is handled at once. */
  async executeAsync(context: TaskContext): Promise<TaskReturned | TaskDeferred> {
    const pod = await this.#begin(context);
    if (this.callbacks.length > 0)
      await this.#callback('onPodCreation', context, await this.findPod(namespaceIn(pod) ?? '', context));
    return await this.invokeDeferMethod(context);
  }

  /** Always `undefined`: a kubeconfig is never sent to the trigger, which has its own connections. */
  convertConfigFileToDict(): undefined {
    return undefined;
  }

  /** The deferral of the running pod; when it has ended already, the result of `triggerReentry`. */
  async invokeDeferMethod(
    context: TaskContext,
    lastLogTime?: string,
    redeferCount = 0,
  ): Promise<TaskReturned | TaskDeferred> {
    const pod = this.pod ?? {};
    const event = { name: nameOf(pod), namespace: namespaceIn(pod) ?? '', lastLogTime: lastLogTime ?? null };
    const state = definePodContainerState(pod, this.baseContainerName);
    const { triggerKwargs } = this;
    if (state === 'terminated' || state === 'failed') {
      const ended: PodEvent = { ...event, status: state === 'failed' ? 'failed' : 'success' };
      return await this.triggerReentry(context, withKwargs(ended, triggerKwargs, podEventSchema.shape));
    }
    const { pollInterval, getLogs, startupTimeoutSeconds, startupCheckIntervalSeconds, scheduleTimeoutSeconds } = this;
    const trigger = {
      podName: event.name,
      podNamespace: event.namespace,
      triggerStartTime: new Date(this.clock.now()).toISOString(),
      baseContainerName: this.baseContainerName,
      ...{
        pollInterval,
        getLogs,
        startupTimeout: startupTimeoutSeconds,
        startupCheckInterval: startupCheckIntervalSeconds,
      },
      scheduleTimeout: (scheduleTimeoutSeconds ?? 0) || startupTimeoutSeconds,
      onFinishAction: this.onFinishAction,
      onKillAction: this.onKillAction,
      terminationGracePeriod: this.terminationGracePeriod ?? null,
      lastLogTime: event.lastLogTime,
      loggingInterval: this.loggingInterval ?? null,
      // As in Airflow: present only when it differs from the default.
      ...(this.logEventsOnStartup ? {} : { logEventsOnStartup: false }),
      triggerKwargs,
      redeferCount,
      ...this.#executionDeadline(context, pod),
    };
    return { kind: 'deferred', methodName: 'triggerReentry', trigger };
  }

  /** Continues after a trigger event. @throws TaskFailed, TaskSkipped, PodNotFoundException */
  async triggerReentry(context: TaskContext, input: PodEvent): Promise<TaskReturned | TaskDeferred> {
    const event = podEventSchema.parse(input);
    const pod = await this.hook.getPod(event.name, event.namespace);
    if (pod === undefined) {
      // The pod succeeded, but without it a result cannot be read.
      if (event.status === 'success' && !this.doXcomPush) return { kind: 'returned', result: undefined };
      throw new PodNotFoundException(`pod ${event.namespace}/${event.name} is gone`);
    }
    this.pod = pod;
    if (event.status === 'running') {
      await this.#writeLogs(pod, event.lastLogTime);
      return await this.invokeDeferMethod(context, new Date(this.clock.now()).toISOString());
    }
    const status = event.status === 'error' && exitCodeOf(pod, this.baseContainerName) === 0 ? 'success' : event.status;
    if (status === 'error' && this.#isAlive(pod) && event.redeferCount < MAX_REDEFER_ATTEMPTS)
      return await this.invokeDeferMethod(context, event.lastLogTime ?? undefined, event.redeferCount + 1);
    let result: unknown;
    try {
      if (this.getLogs) await this.#writeLogs(pod, event.lastLogTime);
      await this.#callback('onPodCompletion', context, pod);
      await this.#callback('onPodTeardown', context, pod);
      if (this.doXcomPush) result = await this.extractXcom(pod);
      if (status !== 'success') {
        // The result of a failed pod is pushed here, once; a success returns it.
        await this.#pushResult(context, result);
        throw new TaskFailed(event.stackTrace ?? event.message ?? 'the pod failed', result);
      }
    } finally {
      await this.#clean(pod, status, context, status === 'success' ? result : undefined);
    }
    return { kind: 'returned', result: this.doXcomPush ? result : undefined };
  }

  /** Cleans up, then calls the clean-up callbacks. @throws TaskFailed, TaskSkipped */
  async postCompleteAction({
    pod,
    remotePod,
    context,
    result,
  }: {
    readonly pod: Manifest;
    readonly remotePod: Manifest | undefined;
    readonly context: TaskContext;
    readonly result?: unknown;
  }): Promise<void> {
    await this.cleanup(pod, remotePod, { context, xcomResult: result });
    await this.#callback('onPodCleanup', context, pod);
  }

  /**
   * Labels and deletes the pod by policy, then throws when the pod did not succeed. Does nothing after `onKill` and for a pod that was never read.
   * @throws TaskFailed, TaskSkipped
   */
  async cleanup(
    _pod: Manifest,
    remotePod: Manifest | undefined,
    { context, xcomResult }: { readonly context?: TaskContext; readonly xcomResult?: unknown } = {},
  ): Promise<void> {
    if (this.isKilled || remotePod === undefined) return;
    const byBase = this.doXcomPush || (await this.isIstioEnabled(remotePod));
    const succeeded =
      phaseOf(remotePod) === PodPhases.SUCCEEDED || (byBase && containerIsSucceeded(remotePod, this.baseContainerName));
    const keeps = this.onFinishAction === 'keep_pod' || this.onFinishAction === 'delete_active_pod';
    if (phaseOf(remotePod) !== PodPhases.SUCCEEDED || keeps)
      await this.patchAlreadyChecked(remotePod, { reraise: false });
    if (!succeeded) {
      await this.#pushResult(context, xcomResult);
      await this.#logFailure(remotePod);
    }
    await this.processPodDeletion(remotePod, { reraise: false });
    const exitCode = exitCodeOf(remotePod, this.baseContainerName);
    if (exitCode !== undefined && this.#skipCodes().includes(exitCode))
      throw new TaskSkipped(`pod ${nameOf(remotePod)} exited with ${String(exitCode)}`);
    if (!succeeded) throw new TaskFailed(this.#failureText(remotePod), xcomResult);
  }

  async #begin(context: TaskContext): Promise<Manifest> {
    this.podRequestObj ??= this.buildPodRequestObj(context);
    this.podRequestObj = await this.calls.manifestCreated(this.podRequestObj, this.#callbackArgs(context));
    this.pod ??= await this.getOrCreatePod(this.podRequestObj, context);
    await context.xcomPush?.('pod_name', nameOf(this.pod));
    await context.xcomPush?.('pod_namespace', namespaceIn(this.pod));
    return this.pod;
  }

  async #clean(pod: Manifest, status: string, context: TaskContext, result: unknown): Promise<void> {
    let remotePod = pod;
    if (status !== 'timeout') {
      const istioEnabled = await this.isIstioEnabled(pod);
      const { baseContainerName: containerName, doXcomPush } = this;
      try {
        remotePod = await this.podManager.awaitPodCompletion(pod, { istioEnabled, containerName, doXcomPush });
      } catch (error) {
        if (!(error instanceof PodNotFoundException)) throw error;
        this.taskLog.warn({ pod: nameOf(pod) }, 'the pod was deleted before the clean-up');
        return;
      }
    }
    await this.postCompleteAction({ pod, remotePod, context, result });
  }

  async #pushResult(context: TaskContext | undefined, result: unknown): Promise<void> {
    if (this.doXcomPush && result !== undefined && result !== null) await context?.xcomPush?.('return_value', result);
  }

  /** Logs what the base container has written since then; a log that cannot be read is logged as an error. */
  async #writeLogs(pod: Manifest, since: string | null | undefined): Promise<void> {
    const sinceTime = since === undefined || since === null ? undefined : new Date(since);
    const options = {
      ...this.#logOptions(),
      ...(sinceTime === undefined || Number.isNaN(sinceTime.getTime()) ? {} : { sinceTime }),
    };
    await this.optionally(false, undefined, async () => {
      await this.podManager.fetchContainerLogs(pod, this.baseContainerName, options);
    });
  }

  /** When the execution time-out ends the task, in epoch seconds: the same after each deferral. */
  #executionDeadline({ startDate }: TaskContext, pod: Manifest): { readonly executionDeadline?: number } {
    const { executionTimeoutSeconds } = this.own;
    if (executionTimeoutSeconds === undefined) return {};
    const beganAt =
      startDate?.getTime() ?? instantIn(recordIn(pod, 'metadata'), 'creationTimestamp') ?? this.clock.now();
    return { executionDeadline: beganAt / 1000 + executionTimeoutSeconds };
  }

  #isAlive(pod: Manifest): boolean {
    const phase = phaseOf(pod);
    return (
      (phase === PodPhases.RUNNING || phase === PodPhases.PENDING) &&
      exitCodeOf(pod, this.baseContainerName) === undefined &&
      detectPodTerminateEarlyIssues(pod) === undefined
    );
  }

  /** Repeats `work` after rejected credentials: rereads them, checks that the pod can be read, and starts again. */
  async #withFreshCredentials<T>(work: () => Promise<T>): Promise<T> {
    for (let turn = 0; ; turn += 1) {
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof KubernetesError) || error.fault !== 'unauthorized' || this.pod === undefined)
          throw error;
        this.taskLog.warn({ err: error }, 'credentials rejected; reading them again');
        this.manager = undefined;
        await this.podManager.readPod(this.pod);
        await this.clock.sleep((CREDENTIAL_WAITS_SECONDS[turn] ?? 15) * 1000);
      }
    }
  }

  async #logFailure(pod: Manifest): Promise<void> {
    if (!this.logEventsOnFailure) return;
    await this.optionally(false, undefined, async () => {
      for (const status of recordsIn(recordIn(pod, 'status'), 'containerStatuses'))
        this.taskLog.info({ container: status['name'], state: status['state'] }, 'container state');
      for (const event of await this.podManager.readPodEvents(pod)) this.podManager.logPodEvent(event);
    });
  }

  #failureText(pod: Manifest): string {
    const dump = this.logPodSpecOnFailure ? JSON.stringify(redactedManifest(pod)) : '';
    const message = getContainerTerminationMessage(pod, this.baseContainerName) ?? '';
    return [`pod ${nameOf(pod)} failed`, message, dump].filter((part) => part !== '').join('\n');
  }

  #skipCodes(): readonly number[] {
    const { skipOnExitCode } = this;
    return typeof skipOnExitCode === 'number' ? [skipOnExitCode] : (skipOnExitCode ?? []);
  }

  #logOptions(): FetchLogOptions {
    const { logFormatter } = this.own;
    return {
      containerNameLogPrefixEnabled: this.containerNameLogPrefixEnabled,
      ...(logFormatter === undefined ? {} : { logFormatter }),
    };
  }

  #callbackArgs(context: TaskContext) {
    return { client: this.client, operator: this, mode: ExecutionMode.SYNC, context };
  }

  async #foundForCallbacks(pod: Manifest, context: TaskContext): Promise<Manifest | undefined> {
    return this.callbacks.length === 0 ? undefined : await this.findPod(namespaceIn(pod) ?? '', context);
  }

  async #callback(
    hook: 'onPodCreation' | 'onPodStarting' | 'onPodCompletion' | 'onPodTeardown' | 'onPodCleanup',
    context: TaskContext,
    pod: Manifest | undefined,
  ): Promise<void> {
    await this.calls.fire(hook, { ...this.#callbackArgs(context), pod });
  }
}
