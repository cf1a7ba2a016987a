/** Publishes the log of a running container as it is written. Stores nothing and moves no cursor. */
import { setTimeout as delay } from 'node:timers/promises';
import { furthest, type LogCursor, parseCursor } from '../../core/log/cursor.ts';
import type { PodProjection, PodRef } from '../../core/pod/projection.ts';
import { KubernetesError } from '../../errors.ts';
import type { Log } from '../../ports/ambient.ts';
import type { LiveChunk } from '../../ports/broker.ts';
import type { Cluster, LogLine } from '../../ports/cluster.ts';
import type { LogStore } from '../../ports/stores.ts';
import type { RunKey } from '../../wire/subjects.ts';
import { type LineFormat, storedLine } from './reader.ts';

/** A chunk is published at this size, in bytes … */
const CHUNK_BYTES = 32 * 1024;
/** … or when its first line is this old, in milliseconds. */
const LINGER_MS = 50;
/** Pause before a container is followed again that has yet to start or whose node does not answer, in milliseconds. */
const RETRY_MS = 1_000;

/** What is followed, and where it is published. */
export interface LiveSource {
  readonly cluster: Cluster;
  readonly pod: PodRef;
  readonly run: RunKey;
  readonly attempt: number;
  readonly logs: LogStore;
  /** Cursors in the run's state, by container. */
  readonly cursors: Readonly<Record<string, string>>;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly format?: LineFormat | undefined;
  publish(chunk: LiveChunk): Promise<void>;
}

/**
 * Follows containers from where their stored logs end. Resolves when the last one has ended, the pod is gone, or `signal` aborts. A node that does not
 * answer is tried again. Never fails a run.
 */
export async function followContainers(source: LiveSource, containers: readonly string[]): Promise<void> {
  await Promise.all(containers.map((container) => followContainer(source, container)));
}

async function followContainer(source: LiveSource, container: string): Promise<void> {
  const { cluster, pod, run, attempt, logs, cursors, log, signal } = source;
  const chunks = new LiveChunks(source, container);
  let last = furthest((await logs.end(run, attempt, container)).cursor, parseCursor(cursors[container]));
  while (!signal.aborted) {
    try {
      for await (const line of cluster.logs(pod, container, { follow: true, from: last, signal })) {
        await chunks.push(line, last);
        last = line.at;
      }
      await chunks.flush();
      if (hasEnded(await cluster.findPod(pod), container)) return;
    } catch (error) {
      // The pod was cleaned up meanwhile: its log has ended and is stored.
      if (error instanceof KubernetesError && error.fault === 'notFound') return chunks.flush();
      if (!(error instanceof KubernetesError) || !error.transient) throw error;
      log.debug({ container, pod: pod.name, err: error }, 'live log interrupted; trying again');
    }
    await delay(RETRY_MS, undefined, { signal }).catch(() => undefined);
  }
}

/** Whether the log is over. Called after a follow has ended, so the log of a container that has ended was read completely. */
function hasEnded(pod: PodProjection | undefined, container: string): boolean {
  if (pod === undefined || pod.phase === 'Succeeded' || pod.phase === 'Failed') return true;
  const own = pod.containers.find(({ name }) => name === container);
  return own === undefined || (own.state === 'terminated' && own.kind !== 'sidecar');
}

/** Collects lines of one container for `LINGER_MS`. Holds at most one chunk. */
class LiveChunks {
  readonly #source: LiveSource;
  readonly #container: string;
  #lines: string[] = [];
  #bytes = 0;
  #after: LogCursor | undefined;
  #timer: NodeJS.Timeout | undefined;
  #sending: Promise<void> = Promise.resolve();

  constructor(source: LiveSource, container: string) {
    this.#source = source;
    this.#container = container;
  }

  async push(line: LogLine, after: LogCursor | undefined): Promise<void> {
    const text = storedLine(line, this.#container, this.#source.format);
    if (this.#lines.length === 0) {
      this.#after = after;
      this.#timer = setTimeout(() => void this.flush(), LINGER_MS);
    }
    this.#lines.push(text);
    this.#bytes += Buffer.byteLength(text);
    if (this.#bytes >= CHUNK_BYTES) await this.flush();
  }

  /** Publishes the collected lines and resolves when that is done. A failure is logged only: the lines are stored later anyway. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    const { attempt, log, publish } = this.#source;
    if (this.#lines.length > 0) {
      const chunk = { attempt, container: this.#container, text: this.#lines.join(''), after: this.#after };
      this.#lines = [];
      this.#bytes = 0;
      this.#sending = this.#sending
        .then(() => publish(chunk))
        .catch((error: unknown) => {
          log.debug({ container: this.#container, err: error }, 'a live log chunk could not be published');
        });
    }
    await this.#sending;
  }
}
