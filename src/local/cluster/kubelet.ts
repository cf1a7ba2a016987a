import { quantityOf } from '../../core/quantity.ts';
import { mkdir, rm } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { EventRecorder } from './event-recorder.ts';
import type { ExecProcess } from './exec-process.ts';
import type { LogFile, LogRotation } from './log-file.ts';
import { isJsonObject, listAt, rfc3339, textAt, type KubeObject } from './objects.ts';
import { podSpec } from './pod.ts';
import { nodeLabels, POD_ADDRESS, withTransition } from './pod-status.ts';
import { PodWorker, type PodSurroundings } from './pod-worker.ts';
import type { Sandboxes } from './sandbox.ts';
import type { Store, StoreEvent } from './store.ts';

/** Dependencies of the local cluster's one node. */
export interface KubeletOptions {
  readonly store: Store;
  readonly sandboxes: Sandboxes;
  readonly directory: string;
  readonly token: string;
  readonly rotation: LogRotation;
  readonly restartBackoffMs: number;
}

/** Name of the one node. */
export const NODE_NAME = 'local';

/** More than the machine has: nothing limits what containers use, and resource requests made for a real cluster must fit. */
const NODE_CPUS = 64;
const NODE_MEMORY_BYTES = Math.max(totalmem(), 256 * 1024 ** 3);
/** How many containers are started at the same time; starting them is what takes CPU. */
const MAX_STARTS = 8;

/** Scheduler and kubelet in one: binds pods to the one node and runs them. */
export class Kubelet {
  readonly #store: Store;
  readonly #around: PodSurroundings;
  readonly #workers = new Map<string, { readonly worker: PodWorker; readonly done: Promise<void> }>();
  readonly #events: EventRecorder;
  #unlisten = (): void => undefined;
  #stopped = false;

  constructor(options: KubeletOptions) {
    this.#store = options.store;
    this.#events = new EventRecorder(options.store, NODE_NAME);
    const directory = join(options.directory, 'pods');
    this.#around = { ...options, directory, events: this.#events, inTurn: turns(MAX_STARTS) };
  }

  /** Registers the node and starts to process pods. */
  async start(): Promise<void> {
    await rm(this.#around.directory, { recursive: true, force: true });
    await mkdir(this.#around.directory, { recursive: true });
    this.#store.create('nodes', nodeObject(new Date()), new Date());
    this.#unlisten = this.#store.listen('pods', (event) => {
      // Deferred: a write inside a listener would reach other listeners before the event that they are being called for.
      setImmediate(() => {
        this.#act(event);
      });
    });
  }

  /** Ends all containers and waits for them. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#unlisten();
    for (const { worker } of this.#workers.values()) worker.kill();
    await Promise.all([...this.#workers.values()].map(({ done }) => done));
    await rm(this.#around.directory, { recursive: true, force: true });
  }

  /** The log of a container's current or previous run. */
  logOf(uid: string, container: string, previous: boolean): LogFile | undefined {
    return this.#workers.get(uid)?.worker.logOf(container, previous);
  }

  /** Runs another command in a container; undefined when the container is not running. */
  exec(uid: string, ...asked: Parameters<PodWorker['exec']>): ExecProcess | undefined {
    return this.#workers.get(uid)?.worker.exec(...asked);
  }

  #act(event: StoreEvent): void {
    if (this.#stopped) return;
    const { uid, namespace = '', name } = event.object.metadata;
    const known = this.#workers.get(uid);
    if (event.type === 'DELETED') {
      if (known === undefined) return;
      known.worker.kill();
      this.#workers.delete(uid);
      void known.done.then(() => known.worker.dispose());
      return;
    }
    const pod = this.#store.get('pods', namespace, name);
    if (pod?.metadata.uid !== uid) return;
    if (known !== undefined) known.worker.notice(pod);
    else if (textAt(pod, 'spec', 'nodeName') === NODE_NAME) {
      const worker = new PodWorker(pod, this.#around);
      this.#workers.set(uid, { worker, done: worker.run() });
    } else if (textAt(pod, 'spec', 'nodeName') === '') this.#schedule(pod);
  }

  #schedule(pod: KubeObject): void {
    const spec = podSpec(pod);
    const labels = nodeLabels(this.#store.get('nodes', '', NODE_NAME));
    const misfit = Object.entries(spec.nodeSelector).some(([key, value]) => labels[key] !== value);
    const requested = (name: string): number =>
      spec.containers.reduce(
        (sum, { resources }) => sum + (quantityOf(resources?.requests[name] ?? resources?.limits[name]) ?? 0),
        0,
      );
    if (spec.schedulingGates.length > 0) {
      this.#refuse(pod, 'SchedulingGated', 'Scheduling is blocked due to non-empty scheduling gates');
    } else if (misfit)
      this.#refuse(
        pod,
        'Unschedulable',
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
      );
    else if (requested('cpu') > NODE_CPUS)
      this.#refuse(pod, 'Unschedulable', '0/1 nodes are available: 1 Insufficient cpu.');
    else if (requested('memory') > NODE_MEMORY_BYTES)
      this.#refuse(pod, 'Unschedulable', '0/1 nodes are available: 1 Insufficient memory.');
    else {
      const bound = this.#store.update('pods', {
        ...pod,
        spec: { ...(isJsonObject(pod['spec']) ? pod['spec'] : {}), nodeName: NODE_NAME },
        status: statusWith(pod, { type: 'PodScheduled', status: 'True' }),
      });
      this.#events.record(
        bound,
        'Normal',
        'Scheduled',
        `Successfully assigned ${bound.metadata.namespace ?? ''}/${bound.metadata.name} to ${NODE_NAME}`,
      );
    }
  }

  #refuse(pod: KubeObject, reason: string, message: string): void {
    const condition = { type: 'PodScheduled', status: 'False', reason, message };
    const refused = this.#store.update('pods', { ...pod, status: statusWith(pod, condition) });
    // Each refusal calls this again through its own change; only the first one changes something.
    if (refused !== pod && reason === 'Unschedulable')
      this.#events.record(refused, 'Warning', 'FailedScheduling', message);
  }
}

function statusWith(
  pod: KubeObject,
  condition: { readonly type: string; readonly status: string },
): Readonly<Record<string, unknown>> {
  const status = isJsonObject(pod['status']) ? pod['status'] : {};
  const before = listAt(status, 'conditions');
  const others = before.filter((candidate) => textAt(candidate, 'type') !== condition.type);
  return { ...status, conditions: [...others, withTransition(condition, before, new Date())] };
}

function nodeObject(now: Date): KubeObject {
  const capacity = {
    cpu: String(NODE_CPUS),
    memory: `${String(Math.floor(NODE_MEMORY_BYTES / 1024))}Ki`,
    pods: '10000',
  };
  const labels = {
    'kubernetes.io/hostname': NODE_NAME,
    'kubernetes.io/os': 'linux',
    'kubernetes.io/arch': process.arch === 'x64' ? 'amd64' : process.arch,
    'node.reentry.dev/kind': 'local',
  };
  const at = rfc3339(now);
  const ready = {
    type: 'Ready',
    status: 'True',
    reason: 'KubeletReady',
    message: 'local cluster is ready',
    lastHeartbeatTime: at,
    lastTransitionTime: at,
  };
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: NODE_NAME, labels, uid: '', resourceVersion: '', creationTimestamp: '' },
    spec: {},
    status: {
      capacity,
      allocatable: capacity,
      conditions: [ready],
      addresses: [
        { type: 'InternalIP', address: POD_ADDRESS },
        { type: 'Hostname', address: NODE_NAME },
      ],
      nodeInfo: {
        kubeletVersion: 'v1.34.0+reentry-local',
        operatingSystem: 'linux',
        architecture: labels['kubernetes.io/arch'],
        containerRuntimeVersion: 'local://1',
      },
    },
  };
}

/** Runs at most `limit` functions at once; the others wait in order. */
function turns(limit: number): <T>(work: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = [];
  let running = 0;
  return async (work) => {
    if (running >= limit) await new Promise<void>((resolve) => waiting.push(resolve));
    else running += 1;
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next === undefined) running -= 1;
      else next();
    }
  };
}
