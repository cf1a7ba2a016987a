/**
 * `PodManager` of `airflow.providers.cncf.kubernetes.utils.pod_manager`, for programs that run a pod without a broker. It polls, as Airflow does;
 * workers do not, because triggerers watch their pods.
 */
import { recordIn, recordsIn, textIn } from '../core/json.ts';
import { formatNanos } from '../core/log/cursor.ts';
import { redactedManifest } from '../core/pod/manifest.ts';
import type { PodRef } from '../core/pod/projection.ts';
import { XCOM } from '../core/pod/xcom-sidecar.ts';
import { ReentryError } from '../errors.ts';
import type { PodCallbacks } from '../operator/callbacks.ts';
import { namespaceOf } from '../operator/launch.ts';
import { extractXcomJson, extractXcomKill, XComRetrievalError } from '../operator/xcom.ts';
import type { Log } from '../ports/ambient.ts';
import type { Cluster, Manifest, PodEventLine } from '../ports/cluster.ts';
import { type ApiRetryPolicy, genericApiRetry } from './api-retry.ts';
import {
  containerIsCompleted,
  containerIsRunning,
  containerIsSucceeded,
  containerIsTerminated,
  containerIsWait,
  containerNamesOf,
  detectPodTerminateEarlyIssues,
  getContainerStatus,
  initContainerNamesOf,
  isOver,
  isScheduled,
  nameOf,
  phaseOf,
  PodPhases,
  reconcileRequestedLogContainers,
} from './containers.ts';
import { type Clock, SILENT_LOG, SYSTEM_CLOCK } from './defaults.ts';
import { PodLaunchFailedException, PodLaunchTimeoutException, PodNotFoundException } from './exceptions.ts';
import {
  fetchContainerLogs,
  type FetchLogOptions,
  type LogFollow,
  parseLogLine,
  type PodLoggingStatus,
} from './pod-logs.ts';

/** Options of a `PodManager`. */
export interface PodManagerOptions {
  /** Their `progressCallback` receives each line of followed logs. */
  readonly callbacks?: readonly PodCallbacks[];
  readonly log?: Log;
  readonly clock?: Clock;
  /** Retries of API calls. Default: 5 attempts, 1 to 15 s apart. */
  readonly retries?: ApiRetryPolicy;
}

/** Time limits of a pod's start, in seconds. */
export interface StartLimits {
  /** From the call to condition `PodScheduled`. Default 120. */
  readonly scheduleTimeout?: number;
  /** From the scheduling until the pod leaves Pending. Default 120. */
  readonly startupTimeout?: number;
  /** Polling interval. Default 1. */
  readonly checkInterval?: number;
}

/** Works on pods of one cluster. Pods are API objects; a pod is read again by its name and namespace. */
export class PodManager {
  readonly client: Cluster;
  /** Ends `watchPodEvents`. */
  stopWatchingEvents = false;
  readonly #options: Required<Omit<PodManagerOptions, 'retries'>> & { readonly retries: ApiRetryPolicy | undefined };
  /** Time of the last line by namespace, pod and container, where a second reading continues. */
  readonly #lastLogTimes = new Map<string, Date>();

  constructor(
    kubeClient: Cluster,
    { callbacks = [], log = SILENT_LOG, clock = SYSTEM_CLOCK, retries }: PodManagerOptions = {},
  ) {
    this.client = kubeClient;
    this.#options = { callbacks, log, clock, retries };
  }

  /** Creates the pod once; returns the API's pod. @throws KubernetesError after logging the manifest with values hidden */
  async runPodAsync(pod: Manifest): Promise<Manifest> {
    const namespace = namespaceOf(pod, this.client);
    try {
      const made = await this.client.createPod(namespace, pod);
      if (made.kind === 'exists')
        throw new ReentryError('KUBERNETES', `pod ${namespace}/${nameOf(pod)} already exists`, { transient: false });
      return made.pod;
    } catch (error) {
      this.#options.log.error({ manifest: redactedManifest(pod), err: error }, 'creating the pod failed');
      throw error;
    }
  }

  /** The same with retries. */
  async createPod(pod: Manifest): Promise<Manifest> {
    return await this.#withRetry(() => this.runPodAsync(pod));
  }

  /** Deletes exactly this pod, by uid; resolves when it is gone. @param gracePeriodSeconds absent: the pod's own */
  async deletePod(pod: Manifest, gracePeriodSeconds?: number): Promise<void> {
    await this.#withRetry(async () => {
      const known = textIn(recordIn(pod, 'metadata'), 'uid') === undefined ? await this.#find(pod) : pod;
      if (known !== undefined) await this.client.deletePod(this.refOf(known), gracePeriodSeconds);
    });
  }

  /** Reads the pod. @throws PodNotFoundException, KubernetesError */
  async readPod(pod: Manifest): Promise<Manifest> {
    const found = await this.#withRetry(() => this.#find(pod));
    if (found === undefined)
      throw new PodNotFoundException(`pod ${namespaceOf(pod, this.client)}/${nameOf(pod)} is gone`);
    return found;
  }

  /** The pod's events, oldest first. */
  async readPodEvents(pod: Manifest): Promise<readonly PodEventLine[]> {
    const events = await this.#withRetry(() => this.client.podEvents(this.refOf(pod)));
    return events.toSorted((a, b) => a.lastSeenAt - b.lastSeenAt);
  }

  /** Logs each event of the pod once, until `stopWatchingEvents`, or until they cannot be read: then with a warning. @param checkInterval seconds */
  async watchPodEvents(pod: Manifest, checkInterval = 10): Promise<void> {
    const seen = new Set<string>();
    while (!this.stopWatchingEvents) {
      let events: readonly PodEventLine[];
      try {
        events = await this.readPodEvents(pod);
      } catch (error) {
        this.#options.log.warn(
          { pod: nameOf(pod), err: error },
          'reading the pod events failed; they are no longer logged',
        );
        return;
      }
      for (const event of events) {
        const key = `${event.reason} ${event.message} ${String(event.lastSeenAt)}`;
        if (seen.has(key)) continue;
        seen.add(key);
        this.logPodEvent(event);
      }
      await this.#options.clock.sleep(checkInterval * 1000);
    }
  }

  /** Logs an event; warnings as warnings, others as information. */
  logPodEvent({ type, reason, message }: PodEventLine): void {
    this.#options.log[type === 'Warning' ? 'warn' : 'info']({ reason }, message);
  }

  /**
   * Waits until the pod has left phase Pending (Unknown counts as starting). The time limit restarts when the pod is scheduled.
   * @throws PodLaunchTimeoutException; PodLaunchFailedException when the image cannot be pulled, or the pod failed before any container began
   */
  async awaitPodStart(
    pod: Manifest,
    { scheduleTimeout = 120, startupTimeout = 120, checkInterval = 1 }: StartLimits = {},
  ): Promise<void> {
    const { clock } = this.#options;
    let from = clock.now();
    let scheduled = false;
    for (;;) {
      const present = await this.readPod(pod);
      const phase = phaseOf(present);
      if (phase !== PodPhases.PENDING && phase !== 'Unknown') {
        this.stopWatchingEvents = true;
        if (phase === PodPhases.FAILED && recordsIn(recordIn(present, 'status'), 'containerStatuses').length === 0)
          throw new PodLaunchFailedException(`pod ${nameOf(pod)} failed before it began${reasonOf(present)}`);
        return;
      }
      if (isScheduled(present)) {
        if (!scheduled) from = clock.now();
        scheduled = true;
      }
      const limit = scheduled ? startupTimeout : scheduleTimeout;
      if (clock.now() - from >= limit * 1000) {
        this.stopWatchingEvents = true;
        const what = scheduled ? 'started' : 'scheduled';
        throw new PodLaunchTimeoutException(`pod ${nameOf(pod)} was not ${what} within ${String(limit)} s`);
      }
      const issue = detectPodTerminateEarlyIssues(present);
      if (issue !== undefined)
        throw new PodLaunchFailedException(`pod ${nameOf(pod)} cannot start: ${issue.reason}: ${issue.message}`);
      await clock.sleep(checkInterval * 1000);
    }
  }

  /** Airflow's older name of `fetchContainerLogs` with `follow`. */
  async followContainerLogs(pod: Manifest, containerName: string): Promise<PodLoggingStatus> {
    return await this.fetchContainerLogs(pod, containerName, { follow: true });
  }

  /** Logs a container's output, with `follow` until the container has ended; continues after interruptions. */
  async fetchContainerLogs(
    pod: Manifest,
    containerName: string,
    options: FetchLogOptions = {},
  ): Promise<PodLoggingStatus> {
    const key = `${namespaceOf(pod, this.client)}/${nameOf(pod)}/${containerName}`;
    const known = this.#lastLogTimes.get(key);
    const { clock, log, callbacks } = this.#options;
    const follow: LogFollow = {
      ...{ client: this.client, pod: this.refOf(pod), containerName, clock, log, callbacks },
      isRunning: () => this.containerIsRunning(pod, containerName),
      open: (from) => this.readPodLogs(pod, containerName, { follow: options.follow ?? false, ...from }),
    };
    const sinceTime = options.sinceTime ?? known;
    const status = await fetchContainerLogs(follow, { ...options, ...(sinceTime === undefined ? {} : { sinceTime }) });
    if (status.lastLogTime !== undefined) this.#lastLogTimes.set(key, status.lastLogTime);
    return status;
  }

  /** Logs the output of the requested containers, one after another. @param containers a name, names, or `true` for all but the result sidecar */
  async fetchRequestedContainerLogs(
    pod: Manifest,
    containers: unknown,
    options: FetchLogOptions = {},
  ): Promise<readonly PodLoggingStatus[]> {
    return await this.#fetchAll(pod, this.#wanted(containers, await this.getContainerNames(pod)), options);
  }

  /** The same for init containers, in order, each once it has begun. */
  async fetchRequestedInitContainerLogs(
    pod: Manifest,
    initContainers: unknown,
    options: FetchLogOptions = {},
  ): Promise<readonly PodLoggingStatus[]> {
    const actual = this.getInitContainerNames(pod);
    const wanted = this.#wanted(initContainers, actual);
    const statuses: PodLoggingStatus[] = [];
    for (const name of actual.filter((one) => wanted.includes(one))) {
      await this.awaitInitContainerStart(pod, name);
      statuses.push(await this.fetchContainerLogs(pod, name, options));
    }
    return statuses;
  }

  /** Waits until an init container has begun, or the pod has ended. */
  async awaitInitContainerStart(pod: Manifest, containerName: string): Promise<void> {
    for (;;) {
      const present = await this.readPod(pod);
      const hasBegun =
        getContainerStatus(present, containerName) !== undefined && !containerIsWait(present, containerName);
      if (isOver(present) || (hasBegun && phaseOf(present) !== PodPhases.PENDING)) return;
      await this.#options.clock.sleep(1000);
    }
  }

  /** Waits until the container or the pod has ended. @param pollingTime seconds */
  async awaitContainerCompletion(pod: Manifest, containerName: string, pollingTime = 1): Promise<void> {
    for (;;) {
      const present = await this.readPod(pod);
      if (containerIsCompleted(present, containerName) || isOver(present)) return;
      await this.#options.clock.sleep(pollingTime * 1000);
    }
  }

  /** Waits until the pod has ended, or only its base container when an Istio proxy or the result sidecar outlives it. Returns the pod as last read. */
  async awaitPodCompletion(
    pod: Manifest,
    {
      istioEnabled = false,
      containerName = 'base',
      doXcomPush = false,
    }: { readonly istioEnabled?: boolean; readonly containerName?: string; readonly doXcomPush?: boolean } = {},
  ): Promise<Manifest> {
    for (;;) {
      const present = await this.readPod(pod);
      if (isOver(present)) return present;
      if ((istioEnabled || doXcomPush) && containerIsTerminated(present, containerName)) return present;
      if (detectPodTerminateEarlyIssues(present) !== undefined) return present;
      await this.#options.clock.sleep(2000);
    }
  }

  /** Timestamp and text of a log line; a line without a time of its own has none. */
  parseLogLine(line: string): { readonly timestamp: Date | undefined; readonly message: string } {
    return parseLogLine(line);
  }

  async containerIsRunning(pod: Manifest, containerName: string): Promise<boolean> {
    return containerIsRunning(await this.readPod(pod), containerName);
  }

  async containerIsTerminated(pod: Manifest, containerName: string): Promise<boolean> {
    return containerIsTerminated(await this.readPod(pod), containerName);
  }

  /** Whether the container has ended with exit code 0. */
  async containerIsSucceeded(pod: Manifest, containerName: string): Promise<boolean> {
    return containerIsSucceeded(await this.readPod(pod), containerName);
  }

  /** Yields the lines of a container's log as `<RFC 3339 time> <text>`. @param sinceSeconds whole seconds before now */
  async *readPodLogs(
    pod: Manifest,
    containerName: string,
    {
      tailLines,
      sinceSeconds,
      follow = true,
    }: { readonly tailLines?: number; readonly sinceSeconds?: number; readonly follow?: boolean } = {},
  ): AsyncGenerator<string, void, undefined> {
    const from =
      sinceSeconds === undefined || sinceSeconds <= 0
        ? undefined
        : { nanos: BigInt(Math.floor(this.#options.clock.now() / 1000 - sinceSeconds)) * 1_000_000_000n, lines: 0 };
    const lines = this.client.logs(this.refOf(pod), containerName, {
      follow,
      from,
      ...(tailLines === undefined ? {} : { tailLines }),
    });
    for await (const { at, text } of lines) yield `${formatNanos(at.nanos)} ${text}`;
  }

  /** Names of the main containers of the pod as read from the API, without the result sidecar. */
  async getContainerNames(pod: Manifest): Promise<readonly string[]> {
    return containerNamesOf(await this.readPod(pod));
  }

  /** Names of the init containers of the given object. */
  getInitContainerNames(pod: Manifest): readonly string[] {
    return initContainerNamesOf(pod);
  }

  /** Waits until the result sidecar is running; times in seconds. @throws XComRetrievalError when it has ended, or after `timeout` */
  async awaitXcomSidecarContainerStart(
    pod: Manifest,
    { timeout = 900, logInterval = 30 }: { readonly timeout?: number; readonly logInterval?: number } = {},
  ): Promise<void> {
    const { clock, log } = this.#options;
    const from = clock.now();
    let loggedAt = from;
    for (;;) {
      const present = await this.readPod(pod);
      if (containerIsRunning(present, XCOM.container)) return;
      if (containerIsTerminated(present, XCOM.container) || isOver(present))
        throw new XComRetrievalError('unreadable', 'the result sidecar has ended');
      if (clock.now() - from >= timeout * 1000)
        throw new XComRetrievalError('unreadable', `the result sidecar did not start within ${String(timeout)} s`);
      if (clock.now() - loggedAt >= logInterval * 1000) {
        loggedAt = clock.now();
        log.warn({ pod: nameOf(pod) }, 'the result sidecar is not running yet');
      }
      await clock.sleep(1000);
    }
  }

  /** Reads the result's JSON text (a sentinel when there is none), then ends the sidecar; a failure to end it is logged. @throws XComRetrievalError */
  async extractXcom(pod: Manifest): Promise<string> {
    try {
      return await this.extractXcomJson(pod);
    } finally {
      await this.extractXcomKill(pod).catch((error: unknown) => {
        this.#options.log.warn({ pod: nameOf(pod), err: error }, 'the result sidecar could not be ended');
      });
    }
  }
  /** Reads the result's JSON text. @throws XComRetrievalError where the sidecar does not run */
  async extractXcomJson(pod: Manifest): Promise<string> {
    if (!(await this.containerIsRunning(pod, XCOM.container)))
      throw new XComRetrievalError('unreadable', 'the result sidecar is not running');
    return await extractXcomJson(this.#exchange(pod));
  }
  /** Ends the sidecar; where the command fails, in a second attempt. One that does not run needs no end. @throws PodCommandException */
  async extractXcomKill(pod: Manifest): Promise<void> {
    if (!(await this.containerIsRunning(pod, XCOM.container))) return;
    try {
      await extractXcomKill(this.#exchange(pod));
    } catch (error) {
      // The API refused: a second attempt is refused as well.
      if (error instanceof Error && error.cause !== undefined) throw error;
      await extractXcomKill(this.#exchange(pod));
    }
  }

  /** The reference of a pod object. */
  refOf(pod: Manifest): PodRef {
    const metadata = recordIn(pod, 'metadata');
    const { connection } = this.client;
    return {
      connection,
      namespace: namespaceOf(pod, this.client),
      name: nameOf(pod),
      uid: textIn(metadata, 'uid') ?? '',
    };
  }

  #exchange(pod: Manifest) {
    return { cluster: this.client, pod: this.refOf(pod), log: this.#options.log };
  }

  async #find(pod: Manifest): Promise<Manifest | undefined> {
    return await this.client.getPod(namespaceOf(pod, this.client), nameOf(pod));
  }

  async #withRetry<T>(call: () => Promise<T>): Promise<T> {
    const { clock, retries } = this.#options;
    return await genericApiRetry(call, { clock, ...(retries === undefined ? {} : { policy: retries }) });
  }

  #wanted(requested: unknown, actual: readonly string[]): readonly string[] {
    const wanted = reconcileRequestedLogContainers(requested, actual);
    const asked: readonly unknown[] = Array.isArray(requested) ? requested : [requested];
    const missing = asked.filter((name) => name !== true && !wanted.some((one) => one === name));
    if (missing.length > 0)
      this.#options.log.error({ missing, actual }, 'requested containers do not exist; their logs are not read');
    return wanted;
  }

  async #fetchAll(
    pod: Manifest,
    names: readonly string[],
    options: FetchLogOptions,
  ): Promise<readonly PodLoggingStatus[]> {
    const statuses: PodLoggingStatus[] = [];
    for (const name of names) statuses.push(await this.fetchContainerLogs(pod, name, options));
    return statuses;
  }
}

const reasonOf = (pod: Manifest): string => {
  const reason = textIn(recordIn(pod, 'status'), 'reason');
  return reason === undefined ? '' : `: ${reason}`;
};
