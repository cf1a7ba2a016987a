/** What is done with one pod: make or adopt it, read its logs and result, mark and remove it. @see spec pod-operator §6 */
import { isRecord, recordsIn, textIn } from '../core/json.ts';
import { runSelector, LABEL_TRUE, LABELS } from '../core/pod/labels.ts';
import { formatNanos } from '../core/log/cursor.ts';
import type { ContainerProjection, PodProjection, PodRef } from '../core/pod/projection.ts';
import { XCOM } from '../core/pod/xcom-sidecar.ts';
import type { Log } from '../ports/ambient.ts';
import type { Cluster, Manifest, PodEventLine } from '../ports/cluster.ts';
import type { LogStore } from '../ports/stores.ts';
import { MAX_LOG_CHUNK_BYTES } from '../wire/streams.ts';
import type { RunKey } from '../wire/subjects.ts';
import { type LineFormat, type LogSource, storeContainerLog } from './logs/reader.ts';
import type { StepContext } from './operator.ts';

/** `containerLogs` and `initContainerLogs`: which containers' logs are wanted. */
export type RequestedContainers = boolean | string | readonly string[] | null | undefined;

/** Logs of all wanted containers. `cursors` by container's name. */
export interface LogsRead {
  readonly cursors: Readonly<Record<string, string>>;
  readonly gaps: number;
  readonly complete: boolean;
}

/** The containers among `containers` that are wanted, in the wanted order (`true`: all). @see spec pod-operator §6.6 */
export function requestedContainers(
  requested: RequestedContainers,
  containers: readonly ContainerProjection[],
): readonly ContainerProjection[] {
  if (requested === true) return containers.filter(({ name }) => name !== XCOM.container);
  const names = typeof requested === 'string' ? [requested] : Array.isArray(requested) ? requested : [];
  return names.flatMap((name) => containers.find((one) => one.name === name) ?? []);
}

/** The pods of one run as its steps see them: the pod that may be made once, its log and result in the stores. */
export class RunPods {
  readonly #cluster: Cluster;
  readonly #run: RunKey;
  readonly #stores: { readonly logs: LogStore };
  readonly #log: Log;
  /** Read once per step, by pod. */
  readonly #events = new Map<string, Promise<readonly PodEventLine[]>>();

  constructor(cluster: Cluster, run: RunKey, stores: { readonly logs: LogStore }, log: Log) {
    this.#cluster = cluster;
    this.#run = run;
    this.#stores = stores;
    this.#log = log;
  }

  /** Creates the pod, or finds whose the name is already. */
  async createPod(
    namespace: string,
    manifest: Manifest,
    attempt: number,
  ): Promise<
    | { readonly kind: 'created' | 'adopted' | 'terminating'; readonly pod: PodProjection }
    | { readonly kind: 'olderAttempt' | 'taken'; readonly pod: PodProjection }
  > {
    const outcome = await this.#cluster.createPod(namespace, manifest);
    const pod = this.#cluster.project(outcome.pod);
    if (outcome.kind === 'created') return { kind: 'created', pod };
    const ours = pod.tenant === this.#run.tenant && pod.runId === this.#run.runId;
    if (!ours) return { kind: 'taken', pod };
    if (pod.attempt !== attempt) return { kind: 'olderAttempt', pod };
    return { kind: pod.deletedAt === undefined ? 'adopted' : 'terminating', pod };
  }

  /** The pod as it is now; `undefined` where it is gone or another has its name. */
  async readPod(ref: PodRef): Promise<PodProjection | undefined> {
    return await this.#cluster.findPod(ref);
  }

  /** The pod's events as they are when first asked for; empty where they cannot be read. */
  async readEvents(ref: PodRef): Promise<readonly PodEventLine[]> {
    const read = this.#events.get(ref.uid) ?? this.#readEvents(ref);
    this.#events.set(ref.uid, read);
    return await read;
  }

  async #readEvents(ref: PodRef): Promise<readonly PodEventLine[]> {
    try {
      return await this.#cluster.podEvents(ref);
    } catch (error) {
      this.#log.warn({ pod: ref.name, err: error }, 'pod events could not be read');
      return [];
    }
  }

  /** Stores what the wanted containers have written since last time. Containers that never began are left out. */
  async readLogs(
    ref: PodRef,
    attempt: number,
    containers: readonly ContainerProjection[],
    cursors: Readonly<Record<string, string>> = {},
    each: {
      readonly onLine?: (container: string) => LogSource['onLine'];
      readonly format?: LineFormat | undefined;
    } = {},
  ): Promise<LogsRead> {
    const read: Record<string, string> = { ...cursors };
    let gaps = 0;
    let complete = true;
    for (const { name, state, restartCount } of containers) {
      // One that waits to be started again has written already.
      if (state === 'waiting' && restartCount === 0) continue;
      const reading = await storeContainerLog({
        cluster: this.#cluster,
        pod: ref,
        container: name,
        run: this.#run,
        attempt,
        store: this.#stores.logs,
        cursor: cursors[name],
        log: this.#log,
        onLine: each.onLine?.(name),
        format: each.format,
        restartCount,
      });
      if (reading.cursor !== undefined) read[name] = reading.cursor;
      gaps += reading.gaps;
      complete &&= reading.complete;
    }
    return { cursors: read, gaps, complete };
  }

  /** The pod's own object as it is now, without its status; absent where it is gone or cannot be read. */
  async readManifest(ref: PodRef): Promise<Manifest | undefined> {
    try {
      const found = await this.#cluster.getPod(ref.namespace, ref.name);
      return textIn(found?.['metadata'], 'uid') === ref.uid ? found : undefined;
    } catch (error) {
      this.#log.warn({ pod: ref.name, err: error }, 'the pod could not be read');
      return undefined;
    }
  }

  /** The pods of this run that nobody has marked, whatever their attempt. */
  async findPods(namespace: string, installation: string): Promise<readonly PodProjection[]> {
    const found = await this.#cluster.listPods(namespace, runSelector(installation, this.#run));
    return found.filter(({ tenant, runId }) => tenant === this.#run.tenant && runId === this.#run.runId);
  }

  /** Stores lines of ours as a log of its own name, once per attempt. Never fails the run. @param at epoch milliseconds */
  async storeNotes(attempt: number, name: string, lines: readonly string[], at: number): Promise<void> {
    const nanos = BigInt(Math.round(at)) * 1_000_000n;
    const stamp = formatNanos(nanos);
    let text = lines.map((line) => `${stamp} ${line}\n`).join('');
    if (Buffer.byteLength(text) > MAX_LOG_CHUNK_BYTES) text = `${text.slice(0, MAX_LOG_CHUNK_BYTES / 4)}…\n`;
    try {
      await this.#stores.logs.append(this.#run, attempt, name, { text, to: { nanos, lines: lines.length } }, 0);
    } catch (error) {
      this.#log.warn({ log: name, err: error }, 'notes could not be stored');
    }
  }

  /** Marks a kept pod: its run has had its answer. */
  async patchAlreadyChecked(ref: PodRef): Promise<void> {
    await this.#cluster.patchPod(ref, { metadata: { labels: { [LABELS.alreadyChecked]: LABEL_TRUE } } });
  }

  /** Asks for the pod's removal, by uid. `gone`: it is not there any more. */
  async deletePod(ref: PodRef, gracePeriodSeconds?: number): Promise<'asked' | 'gone'> {
    return await this.#cluster.deletePod(ref, gracePeriodSeconds);
  }

  /** Whether a mesh's proxy runs beside the base container (it never ends by itself). @see spec pod-operator §7.5 */
  isIstioEnabled(manifest: Manifest): boolean {
    const spec = manifest['spec'];
    return isRecord(spec) && recordsIn(spec, 'containers').some(({ name }) => name === 'istio-proxy');
  }
}

/** The pods of a step's run on one cluster. */
export function podsOf({ run, logs, log }: StepContext<unknown>, cluster: Cluster): RunPods {
  return new RunPods(cluster, run, { logs }, log);
}
