import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { slotsOf, startContainer, type ContainerRun, type ContainerSlot } from './container-run.ts';
import { Deadline } from './deadline.ts';
import { ContainerConfigError } from './environment.ts';
import type { EventRecorder } from './event-recorder.ts';
import type { ExecProcess } from './exec-process.ts';
import type { LogFile, LogRotation } from './log-file.ts';
import { pullImage } from './image.ts';
import { rfc3339, withMetadata, type KubeObject } from './objects.ts';
import { podSpec, type PodSpec } from './pod.ts';
import { podStatus, type LocalContainerState, type Termination } from './pod-status.ts';
import type { Sandboxes } from './sandbox.ts';
import type { Store } from './store.ts';
import { makeVolumes, MountError } from './volumes.ts';

/** Dependencies of every pod worker. */
export interface PodSurroundings {
  readonly store: Store;
  readonly sandboxes: Sandboxes;
  readonly events: EventRecorder;
  /** Parent directory of the pods' directories. */
  readonly directory: string;
  readonly token: string;
  readonly rotation: LogRotation;
  /** First wait before a container that fails again is restarted; doubles each time, up to five minutes. */
  readonly restartBackoffMs: number;
  /** Runs a container start when there is room for it: too many at once would only slow each other down. */
  readonly inTurn: <T>(work: () => Promise<T>) => Promise<T>;
}

/** Seconds that a fake pod runs, and its exit code. */
const RUN_FOR = 'local.reentry.dev/run-for';
const EXIT_CODE = 'local.reentry.dev/exit-code';
const MAX_BACKOFF_MS = 300_000;
const RETRY_MS = 1000;

/** Runs one pod on the node, from its binding to its end. */
export class PodWorker {
  readonly #around: PodSurroundings;
  readonly #key: { readonly namespace: string; readonly name: string; readonly uid: string };
  readonly #spec: PodSpec;
  readonly #slots: readonly ContainerSlot[];
  readonly #startedAt = new Date();
  readonly #directory: string;
  /** Aborted when nothing more is to be started. */
  readonly #stop = new AbortController();
  #volumes: ReadonlyMap<string, string> = new Map();
  #sandboxReady = false;
  #over = false;
  #ended: { readonly reason: string; readonly message: string } | undefined;
  readonly #deadline = new Deadline(this.#startedAt, () => {
    const reason = 'DeadlineExceeded';
    const message = 'Pod was active on the node longer than the specified deadline';
    this.#ended ??= { reason, message };
    this.#event('Normal', reason, message);
    this.#stopAll(this.#graceSeconds());
  });
  #killers: NodeJS.Timeout[] = [];
  #deletedAt: string | undefined;
  readonly #ending = new Set<object>();

  constructor(pod: KubeObject, around: PodSurroundings) {
    const { name, namespace = '', uid } = pod.metadata;
    this.#around = around;
    this.#key = { name, namespace, uid };
    this.#spec = podSpec(pod);
    this.#directory = join(around.directory, uid);
    this.#slots = slotsOf(this.#spec);
  }

  /** The log of a container's current (else latest) run, or of the one before. */
  logOf(container: string, previous: boolean): LogFile | undefined {
    return this.#slots.find(({ view }) => view.name === container)?.logs.at(previous ? -2 : -1);
  }

  /** Runs another command in a container; undefined when the container is not running. */
  exec(container: string, ...asked: Parameters<ContainerRun['exec']>): ExecProcess | undefined {
    return this.#slots.find(({ view }) => view.name === container)?.run?.exec(...asked);
  }

  /** Runs the pod; resolves when it is over. */
  async run(): Promise<void> {
    const pod = this.#pod();
    if (pod !== undefined) {
      this.#publish();
      this.notice(pod);
      try {
        await this.#live(pod);
      } catch (error) {
        // An internal failure (e.g. a full disk) must end the pod visibly, not leave it running for ever.
        this.#ended = { reason: 'LocalClusterError', message: String(error) };
        this.#stopAll(0);
        for (const { run } of this.#slots) await run?.ended;
      }
    }
    this.#deadline.set(undefined);
    for (const killer of this.#killers) clearTimeout(killer);
    this.#over = true;
    this.#publish();
    this.#removeIfDeleted();
  }

  async #live(pod: KubeObject): Promise<void> {
    if (pod.metadata.annotations?.[RUN_FOR] === undefined) await this.#makeVolumes();
    const inits = this.#slots.filter(({ view }) => view.kind !== 'main');
    const mains = this.#slots.filter(({ view }) => view.kind === 'main');
    const sidecars: Promise<void>[] = [];
    let initialized = true;
    for (const slot of inits) {
      if (this.#isStopping()) break;
      if (slot.view.kind === 'sidecar') {
        const up = Promise.withResolvers<undefined>();
        sidecars.push(
          this.#loop(slot, () => {
            up.resolve(undefined);
          }).finally(() => {
            up.resolve(undefined);
          }),
        );
        await up.promise;
        continue;
      }
      await this.#loop(slot);
      const { state } = slot.view;
      if (!('terminated' in state) || state.terminated.exitCode !== 0) {
        initialized = false;
        break;
      }
    }
    if (initialized && !this.#isStopping()) await Promise.all(mains.map((slot) => this.#loop(slot)));
    // From here on sidecars are not restarted. They end in reverse order of their start, within one grace period.
    this.#stop.abort();
    for (const slot of inits.toReversed()) if (slot.view.kind === 'sidecar') this.#end(slot, this.#graceSeconds());
    await Promise.all(sidecars);
  }

  /** Processes a new version of the pod: its deletion, a changed deadline. */
  notice(pod: KubeObject): void {
    const { deletionTimestamp, deletionGracePeriodSeconds } = pod.metadata;
    if (deletionTimestamp !== undefined) {
      const known = this.#deletedAt === deletionTimestamp;
      this.#deletedAt = deletionTimestamp;
      if (this.#over) this.#removeIfDeleted();
      // Called for every change of the pod, including the worker's own, so signals are sent once per deletion.
      else if (!known) this.#stopAll(deletionGracePeriodSeconds ?? 30);
      return;
    }
    if (!this.#over) this.#deadline.set(podSpec(pod).activeDeadlineSeconds);
  }

  /** Ends everything at once: the pod was removed from the API, or the node shuts down. */
  kill(): void {
    this.#stopAll(0);
  }

  /** Removes the pod's files. */
  async dispose(): Promise<void> {
    await rm(this.#directory, { recursive: true, force: true });
  }

  /** A method, because TypeScript assumes that a property does not change during an await. */
  #isStopping(): boolean {
    return this.#stop.signal.aborted;
  }

  #graceSeconds(): number {
    return this.#spec.terminationGracePeriodSeconds ?? 30;
  }

  #stopAll(graceSeconds: number): void {
    this.#stop.abort();
    for (const slot of this.#slots) {
      // Sidecars get SIGTERM when the others have ended, but no more time than these.
      if (slot.view.kind === 'sidecar' && graceSeconds > 0) this.#killAfter(slot, graceSeconds);
      else this.#end(slot, graceSeconds);
    }
  }

  #end(slot: ContainerSlot, graceSeconds: number): void {
    const { run } = slot;
    if (run === undefined) return;
    if (!this.#ending.has(run)) this.#event('Normal', 'Killing', `Stopping container ${slot.view.name}`, slot);
    this.#ending.add(run);
    if (graceSeconds <= 0) {
      run.signal('SIGKILL');
      return;
    }
    run.signal('SIGTERM');
    this.#killAfter(slot, graceSeconds);
  }

  #killAfter({ run }: ContainerSlot, seconds: number): void {
    this.#killers.push(setTimeout(() => run?.signal('SIGKILL'), seconds * 1000));
  }

  async #makeVolumes(): Promise<void> {
    while (!this.#isStopping()) {
      const pod = this.#pod();
      if (pod === undefined) return;
      try {
        const sources = { store: this.#around.store, pod, spec: this.#spec, token: this.#around.token };
        this.#volumes = await makeVolumes(sources, join(this.#directory, 'volumes'));
        return;
      } catch (error) {
        if (!(error instanceof MountError)) throw error;
        this.#event('Warning', 'FailedMount', error.message);
        await this.#sleep(RETRY_MS);
      }
    }
  }

  /** Runs a container, repeatedly if its restart policy requires. `up` is called at its first start. */
  async #loop(slot: ContainerSlot, up: () => void = () => undefined): Promise<void> {
    const { kind } = slot.view;
    const policy = kind === 'sidecar' ? 'Always' : (this.#spec.restartPolicy ?? 'Always');
    for (let attempt = 0; ; attempt += 1) {
      if (attempt > 0) slot.view = { ...slot.view, restartCount: attempt };
      const end = await this.#once(slot, attempt, up);
      if (end === undefined) return;
      const failed = end.exitCode !== 0;
      const again =
        kind === 'init' ? failed && policy !== 'Never' : policy === 'Always' || (policy === 'OnFailure' && failed);
      this.#set(slot, { terminated: end });
      if (!again || this.#isStopping()) return;
      const backoffMs =
        attempt === 0 ? 0 : Math.min(MAX_BACKOFF_MS, this.#around.restartBackoffMs * 2 ** (attempt - 1));
      slot.view = { ...slot.view, lastState: end };
      if (backoffMs > 0) {
        const { name, namespace, uid } = this.#key;
        const what = `restarting failed container=${slot.view.name} pod=${name}_${namespace}(${uid})`;
        const message = `back-off ${String(backoffMs / 1000)}s ${what}`;
        this.#set(slot, { waiting: { reason: 'CrashLoopBackOff', message } });
        this.#event('Warning', 'BackOff', `Back-off ${what}`, slot);
        await this.#sleep(backoffMs);
      }
      if (this.#isStopping()) {
        this.#set(slot, { terminated: end });
        return;
      }
    }
  }

  /** Runs a container once; undefined when the pod ended before it could start. */
  async #once(slot: ContainerSlot, attempt: number, up: () => void): Promise<Termination | undefined> {
    const fake = this.#pod()?.metadata.annotations?.[RUN_FOR];
    if (fake !== undefined) return await this.#fakeRun(slot, Number(fake), up);
    if (!(await this.#pull(slot))) return undefined;
    while (!this.#isStopping()) {
      const pod = this.#pod();
      if (pod === undefined) return undefined;
      try {
        return await this.#realRun(slot, pod, attempt, up);
      } catch (error) {
        if (!(error instanceof ContainerConfigError)) throw error;
        this.#set(slot, { waiting: { reason: 'CreateContainerConfigError', message: error.message } });
        this.#event('Warning', 'Failed', `Error: ${error.message}`, slot);
        await this.#sleep(RETRY_MS);
      }
    }
    return undefined;
  }

  async #realRun(
    slot: ContainerSlot,
    pod: KubeObject,
    attempt: number,
    up: () => void,
  ): Promise<Termination | undefined> {
    const { sandboxes, store, rotation, inTurn } = this.#around;
    const { container } = slot;
    const run = await inTurn(async () => {
      if (this.#isStopping()) return undefined;
      const begun = await startContainer({
        ...{ sandboxes, store, pod, spec: this.#spec, container, attempt, rotation },
        directory: this.#directory,
        volumes: this.#volumes,
      });
      slot.run = begun;
      slot.logs = [...slot.logs.slice(-1), begun.log];
      // The pod may have been stopped while the container was starting; then nothing else ends it.
      if (this.#isStopping()) this.#end(slot, 0);
      await begun.started;
      return begun;
    });
    if (run === undefined) return undefined;
    slot.view = { ...slot.view, containerID: run.containerID };
    this.#event('Normal', 'Created', `Container created`, slot);
    const problem = await run.started;
    this.#sandboxReady = true;
    if (problem === undefined) {
      this.#event('Normal', 'Started', `Container started`, slot);
      this.#set(slot, { running: { startedAt: rfc3339(new Date()) } });
    } else {
      this.#event(
        'Warning',
        'Failed',
        `Error: failed to create containerd task: failed to create shim task: OCI runtime create failed: ${problem}: unknown`,
        slot,
      );
    }
    up();
    const end = await run.ended;
    slot.run = undefined;
    return end;
  }

  /** Runs no process for some seconds: thousands of such pods fit on one machine. */
  async #fakeRun(slot: ContainerSlot, seconds: number, up: () => void): Promise<Termination> {
    const startedAt = rfc3339(new Date());
    const containerID = `local://fake-${this.#key.uid}`;
    slot.view = { ...slot.view, containerID };
    this.#sandboxReady = true;
    this.#set(slot, { running: { startedAt } });
    up();
    await this.#sleep(Math.max(0, seconds) * 1000);
    const requested = Number(this.#pod()?.metadata.annotations?.[EXIT_CODE] ?? 0);
    const exitCode = this.#isStopping() ? 143 : requested;
    return {
      exitCode,
      reason: exitCode === 0 ? 'Completed' : 'Error',
      startedAt,
      finishedAt: rfc3339(new Date()),
      containerID,
    };
  }

  /** Simulates pulling the image; false when the pod ended before it could be pulled. */
  #pull(slot: ContainerSlot): Promise<boolean> {
    return pullImage(slot.view.image, {
      event: (type, reason, message) => {
        this.#event(type, reason, message, slot);
      },
      wait: (reason, message) => {
        this.#set(slot, { waiting: { reason, message } });
      },
      sleep: (ms) => this.#sleep(ms),
      isStopping: () => this.#isStopping(),
    });
  }

  /** Waits, but not beyond the pod's end. */
  async #sleep(ms: number): Promise<void> {
    try {
      // Node's timers hold at most 24 days.
      await delay(Math.min(ms, 2_147_483_647), undefined, { signal: this.#stop.signal });
    } catch {
      // Stopped: the caller checks the signal.
    }
  }

  #pod(): KubeObject | undefined {
    const pod = this.#around.store.get('pods', this.#key.namespace, this.#key.name);
    return pod?.metadata.uid === this.#key.uid ? pod : undefined;
  }

  #set(slot: ContainerSlot, state: LocalContainerState): void {
    slot.view = { ...slot.view, state };
    this.#publish();
  }

  #publish(): void {
    const pod = this.#pod();
    if (pod === undefined) return;
    const known = {
      restartPolicy: this.#spec.restartPolicy ?? 'Always',
      containers: this.#slots.map(({ view }) => view),
      startedAt: this.#startedAt,
      sandboxReady: this.#sandboxReady,
      over: this.#over,
      // The phase changes only when everything has ended.
      ended: this.#over ? this.#ended : undefined,
    };
    this.#around.store.update('pods', { ...pod, status: podStatus(known, pod['status'], new Date()) });
  }

  #removeIfDeleted(): void {
    const pod = this.#pod();
    if (pod?.metadata.deletionTimestamp === undefined) return;
    if ((pod.metadata.finalizers ?? []).length > 0)
      this.#around.store.update('pods', withMetadata(pod, { deletionGracePeriodSeconds: 0 }));
    else this.#around.store.remove('pods', this.#key.namespace, this.#key.name);
  }

  #event(type: 'Normal' | 'Warning', reason: string, message: string, slot?: ContainerSlot): void {
    const pod = this.#pod();
    if (pod === undefined) return;
    const list = slot?.view.kind === 'main' ? 'containers' : 'initContainers';
    this.#around.events.record(
      pod,
      type,
      reason,
      message,
      slot === undefined ? undefined : `spec.${list}{${slot.view.name}}`,
    );
  }
}
