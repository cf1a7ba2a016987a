/**
 * Reads a container's log from a cursor on, in bounded memory, over any number of interruptions.
 * @see https://kubernetes.io/docs/concepts/cluster-administration/logging/
 */
import { backOffMs } from '../core/back-off.ts';
import { type PodRef, projectPod } from '../core/pod/projection.ts';
import { KubernetesError } from '../errors.ts';
import type { LogLine, LogReadOptions } from '../ports/cluster.ts';
import type { LogCursor } from '../ports/stores.ts';
import { brokenConnection, isLogNotThereYet } from './errors.ts';
import { type Call, chunksOf, type Http, pause } from './http.ts';
import { LineSplitter } from './line-splitter.ts';
import { LogOrder, sinceTime } from './log-order.ts';
import { getPod, podPath } from './pods.ts';
import type { Tuning } from './settings.ts';

/** A reading without follow that receives nothing for this long has lost its node. */
const STALL_MS = 60_000;
/** The container runtime's message for a container that it has removed; it arrives as the only line of the log. */
const REMOVED = 'unable to retrieve container logs for ';

/** Which log is requested. */
interface Reading {
  readonly follow: boolean;
  readonly previous?: boolean;
}
/** An unfinished last line, and the order that assigns its cursor. */
interface Rest {
  readonly bytes: Buffer;
  readonly order: LogOrder;
  readonly continues: boolean;
}
type ContainerLife = 'gone' | 'ended' | 'living';

/**
 * The lines after `options.from`. A container that has not started has none. With `follow` it continues over lost connections until the
 * container ends; otherwise it ends with the last line there is. Only complete lines are returned: a line that a running container is still
 * writing is left for the next reading.
 */
export async function* readLogs(
  http: Http,
  pod: PodRef,
  container: string,
  options: LogReadOptions,
  tuning: Tuning,
): AsyncGenerator<LogLine, void, undefined> {
  const reader = new LogReader(http, pod, container, options, tuning);
  try {
    if (options.restarted === true && options.previous !== true) yield* reader.before();
    if (options.follow === true && options.previous !== true) yield* reader.follow();
    else yield* reader.pass({ follow: false, rest: 'if ended' });
  } catch (error) {
    if (options.signal?.aborted === true || isLogNotThereYet(error)) return;
    throw error;
  }
}

class LogReader {
  readonly #http: Http;
  readonly #pod: PodRef;
  readonly #container: string;
  readonly #options: LogReadOptions;
  readonly #tuning: Tuning;
  readonly #signal: AbortSignal;
  #cursor: LogCursor | undefined;
  #passes = 0;
  /** The container's previous run has just been read to its end, so its present run starts right after that. */
  #seenBefore = false;

  constructor(http: Http, pod: PodRef, container: string, options: LogReadOptions, tuning: Tuning) {
    this.#http = http;
    this.#pod = pod;
    this.#container = container;
    this.#options = options;
    this.#tuning = tuning;
    this.#signal = options.signal ?? new AbortController().signal;
    this.#cursor = options.from;
  }

  /** A method, because it changes during every wait and TypeScript would narrow the property. */
  #stopped(): boolean {
    return this.#signal.aborted;
  }

  /** The container's previous run. When it is gone already, reading the present one reports the gap. */
  async *before(): AsyncGenerator<LogLine, void, undefined> {
    try {
      yield* this.pass({ follow: false, rest: 'always', previous: true });
    } catch (error) {
      if (!(error instanceof KubernetesError) || (error.fault !== 'invalid' && error.fault !== 'notFound')) throw error;
    }
  }

  async *follow(): AsyncGenerator<LogLine, void, undefined> {
    const [first, most] = this.#tuning.backoffMs;
    let attempts = 0;
    while (!this.#stopped()) {
      const before = this.#cursor;
      try {
        yield* this.pass({ follow: true, rest: 'never' });
      } catch (error) {
        if (this.#stopped() || !isPassing(error)) throw error;
      }
      if (this.#cursor !== before) attempts = 0;
      // The end of the stream means nothing; the container's state decides.
      const life = await this.#life();
      if (life === 'gone') return;
      if (life === 'ended') {
        yield* this.pass({ follow: false, rest: 'always' });
        return;
      }
      attempts += 1;
      await pause(Math.random() * backOffMs(attempts, first, most), this.#signal);
    }
  }

  /**
   * One reading from the cursor on. `rest`: whether an unfinished last line counts as a line. It does when a second reading ends in the
   * same bytes, because a proxy can end a reply in the middle as cleanly as a container ends its log without a newline.
   */
  async *pass(
    how: Reading & { readonly rest: 'always' | 'never' | 'if ended' },
  ): AsyncGenerator<LogLine, void, undefined> {
    let rest = yield* this.#read(how);
    if (rest === undefined || how.rest === 'never') return;
    if (how.rest === 'if ended' && (await this.#life()) === 'living') return;
    for (;;) {
      const again = yield* this.#read({ ...how, follow: false });
      if (again === undefined) return;
      if (again.bytes.equals(rest.bytes)) {
        yield* this.#yieldLine(again.order, again.bytes, again.continues);
        return;
      }
      rest = again;
    }
  }

  /** The lines of one reply, and what follows the last newline. */
  async *#read(how: Reading): AsyncGenerator<LogLine, Rest | undefined, undefined> {
    const { limitBytes } = this.#options;
    const previous = how.previous ?? this.#options.previous;
    const tailLines = this.#passes === 0 ? this.#options.tailLines : undefined;
    this.#passes += 1;
    const from = this.#cursor;
    // After the previous run, nothing is missing between its last line and the first line of the present one.
    const order = new LogOrder(from, tailLines === undefined && !this.#seenBefore);
    const lines = new LineSplitter(this.#tuning.logLineBytes, 'split');
    const call: Call = {
      method: 'GET',
      path: podPath(this.#pod.namespace, this.#pod.name, 'log'),
      query: {
        container: this.#container,
        timestamps: true,
        follow: how.follow ? true : undefined,
        previous: previous === true ? true : undefined,
        sinceTime: from === undefined ? undefined : sinceTime(from),
        tailLines,
        limitBytes,
      },
      what: `read the log of container ${this.#container} of pod ${this.#pod.namespace}/${this.#pod.name}`,
      count: 'log',
      signal: this.#options.signal,
    };
    let bytes = 0;
    for await (const chunk of this.#body(call, how.follow)) {
      bytes += chunk.length;
      for (const line of lines.push(chunk)) yield* this.#yieldLine(order, line, lines.continues);
    }
    this.#seenBefore = how.previous === true && (order.met || this.#cursor !== from);
    const rest = lines.rest();
    // Cut by our own limit: the next reading returns it whole.
    if (rest === undefined || (limitBytes !== undefined && bytes >= limitBytes)) return undefined;
    return rest.toString('utf8').startsWith(REMOVED) ? undefined : { bytes: rest, order, continues: lines.continues };
  }

  *#yieldLine(order: LogOrder, bytes: Buffer, continues: boolean): Generator<LogLine> {
    const line = order.next(bytes, continues);
    if (line === undefined) return;
    // Before the line is yielded: a consumer that takes it and does not come back has it.
    this.#cursor = line.at;
    yield line;
  }

  async *#body(call: Call, follow: boolean): AsyncGenerator<Buffer, void, undefined> {
    const cut = new AbortController();
    const stopped = (): void => {
      cut.abort(this.#signal.reason);
    };
    this.#signal.addEventListener('abort', stopped, { once: true });
    if (this.#signal.aborted) stopped();
    const { logIdleMs } = this.#tuning;
    const idle = follow
      ? setTimeout(() => {
          cut.abort(new Error(`the log received nothing for ${logIdleMs} ms`));
        }, logIdleMs)
      : undefined;
    try {
      const body = await this.#http.stream(call, 'logs', cut.signal, follow ? 0 : STALL_MS);
      for await (const chunk of chunksOf(body)) {
        idle?.refresh();
        yield chunk;
      }
    } catch (error) {
      if (error instanceof KubernetesError || this.#signal.aborted) throw error;
      throw brokenConnection(this.#http.attempted(call), cut.signal.aborted ? cut.signal.reason : error);
    } finally {
      clearTimeout(idle);
      this.#signal.removeEventListener('abort', stopped);
      // A consumer that stops early must not leave the stream open.
      cut.abort();
    }
  }

  async #life(): Promise<ContainerLife> {
    const present = await getPod(this.#http, this.#pod.namespace, this.#pod.name);
    if (present === undefined) return 'gone';
    const pod = projectPod(this.#http.connection, present);
    if (pod.uid !== this.#pod.uid) return 'gone';
    const own = pod.containers.find(({ name }) => name === this.#container);
    const over = pod.phase === 'Succeeded' || pod.phase === 'Failed';
    return over || own?.state === 'terminated' ? 'ended' : 'living';
  }
}

function isPassing(error: unknown): boolean {
  return error instanceof KubernetesError && (error.fault === 'unavailable' || error.fault === 'throttled');
}
