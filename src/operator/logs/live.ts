/** The log of a living container as it is written, for whoever listens now. Stores nothing and moves no cursor. @see spec protocol §9 "live follow" */
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

/** Text leaves when there is so much of it, in bytes … */
const CHUNK_BYTES = 32 * 1024;
/** … or its first line is so old, in milliseconds. */
const LINGER_MS = 50;
/** Between two looks at a container that has yet to start or whose node does not answer, in milliseconds. */
const LOOK_AGAIN_MS = 1_000;

/** What is followed, and where its text goes. */
export interface LiveSource {
  readonly cluster: Cluster;
  readonly pod: PodRef;
  readonly run: RunKey;
  readonly attempt: number;
  readonly logs: LogStore;
  /** The state's copies of the cursors, by container. */
  readonly cursors: Readonly<Record<string, string>>;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly format?: LineFormat | undefined;
  publish(chunk: LiveChunk): Promise<void>;
}

/**
 * Follows containers from where their stored logs end, each to its own end; resolves when the last has ended, the pod is gone, or `signal` says so.
 * A node that does not answer is asked again; nothing here fails a run.
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
      // Its pod was cleaned up in the middle of a look: the log is over, and stored.
      if (error instanceof KubernetesError && error.fault === 'notFound') return chunks.flush();
      if (!(error instanceof KubernetesError) || !error.transient) throw error;
      log.debug({ container, pod: pod.name, err: error }, 'live log interrupted; asked again');
    }
    await delay(LOOK_AGAIN_MS, undefined, { signal }).catch(() => undefined);
  }
}

/** Whether nothing more will come: a follow has just come to its end, so what has ended was read to its end. */
function hasEnded(pod: PodProjection | undefined, container: string): boolean {
  if (pod === undefined || pod.phase === 'Succeeded' || pod.phase === 'Failed') return true;
  const own = pod.containers.find(({ name }) => name === container);
  return own === undefined || (own.state === 'terminated' && own.kind !== 'sidecar');
}

/** Lines of one container, put together for a moment. Holds at most one chunk. */
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

  /** Sends what there is; resolves when the broker has it. What cannot be sent is lost: it is stored some time anyhow. */
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
          log.debug({ container: this.#container, err: error }, 'live text not sent');
        });
    }
    await this.#sending;
  }
}
