/**
 * Runs commands in containers over WebSocket.
 * @see https://kubernetes.io/blog/2024/08/20/websockets-transition/
 */
import type { MessageEvent, WebSocket } from 'undici';
import { isRecord, recordIn, recordsIn, textIn } from '../core/json.ts';
import type { PodRef } from '../core/pod/projection.ts';
import type { ExecOptions, ExecOutcome } from '../ports/cluster.ts';
import { type Attempted, brokenConnection, streamRefusal } from './errors.ts';
import type { Call, Http } from './http.ts';
import { podPath } from './pods.ts';

/** In order of preference. v5 lets the client close stdin. */
const PROTOCOLS = ['v5.channel.k8s.io', 'v4.channel.k8s.io'] as const;
/** First byte of each message. */
const CHANNEL = { stdin: 0, stdout: 1, stderr: 2, status: 3, close: 255 } as const;
const TIMEOUT_MS = 60_000;
const MAX_STDOUT_BYTES = 1024 * 1024;
const MAX_STDERR_BYTES = 65_536;

/**
 * Runs a command in a container. Resolves only when the server has reported how it ended; rejects when the connection breaks before that.
 * @throws KubernetesError also when the command could not be started
 */
export async function execInPod(http: Http, pod: PodRef, options: ExecOptions): Promise<ExecOutcome> {
  const { container, command, stdin, timeoutMs = TIMEOUT_MS } = options;
  const call: Call = {
    method: 'GET',
    path: podPath(pod.namespace, pod.name, 'exec'),
    query: { container, command, stdin: stdin === undefined ? undefined : true, stdout: true, stderr: true },
    what: `run ${command[0] ?? ''} in container ${container} of pod ${pod.namespace}/${pod.name}`,
    count: 'exec',
  };
  const deadline = new AbortController();
  const timer = setTimeout(() => {
    deadline.abort(new DOMException('no end within the deadline', 'TimeoutError'));
  }, timeoutMs);
  const signals = [deadline.signal, http.closed, ...(options.signal === undefined ? [] : [options.signal])];
  const signal = AbortSignal.any(signals);
  try {
    const socket = await http.webSocket(call, PROTOCOLS, signal);
    try {
      // From here on the command may have run: a connection that breaks leaves the outcome unknown.
      return await conversation(socket, { ...http.attempted(call), writes: true }, options, signal);
    } finally {
      socket.close();
    }
  } catch (error) {
    if (options.signal?.aborted === true) throw options.signal.reason;
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** Exchanges messages until the server reports how the command ended. */
async function conversation(
  socket: WebSocket,
  attempted: Attempted,
  { stdin, maxBytes = MAX_STDOUT_BYTES }: ExecOptions,
  signal: AbortSignal,
): Promise<ExecOutcome> {
  const stdout = new Gathered();
  const stderr = new Gathered();
  const end = Promise.withResolvers<ExecOutcome>();
  const lost = (why: unknown): void => {
    end.reject(brokenConnection(attempted, why));
  };
  socket.addEventListener('message', ({ data }: MessageEvent<unknown>) => {
    const [channel, payload] = messageOf(data);
    // The server may open each channel with an empty message.
    if (payload.length === 0) return;
    if (channel === CHANNEL.stdout) {
      stdout.add(payload, maxBytes + 1);
      if (stdout.bytes > maxBytes) end.resolve({ kind: 'tooLarge', maxBytes });
    } else if (channel === CHANNEL.stderr) stderr.add(payload, MAX_STDERR_BYTES);
    else if (channel === CHANNEL.status) {
      const exitCode = exitCodeOf(payload);
      if (typeof exitCode === 'number')
        end.resolve({ kind: 'ended', exitCode, stdout: stdout.whole(), stderr: stderr.whole().toString('utf8') });
      else end.reject(streamRefusal({ ...attempted, writes: false }, exitCode));
    }
  });
  socket.addEventListener('error', ({ error, message }) => {
    lost(error instanceof Error && error.message !== '' ? error : new Error(message));
  });
  socket.addEventListener('close', ({ code, reason }) => {
    lost(
      new Error(
        `the connection was closed (${String(code)}${reason === '' ? '' : ` ${reason}`}) before the server reported how the command ended`,
      ),
    );
  });
  const aborted = (): void => {
    lost(signal.reason);
  };
  signal.addEventListener('abort', aborted, { once: true });
  if (signal.aborted) aborted();
  else if (stdin !== undefined) {
    socket.send(Buffer.concat([Buffer.of(CHANNEL.stdin), Buffer.from(stdin)]));
    if (socket.protocol === PROTOCOLS[0]) socket.send(Buffer.of(CHANNEL.close, CHANNEL.stdin));
  }
  try {
    return await end.promise;
  } finally {
    signal.removeEventListener('abort', aborted);
  }
}

/** Collects bytes up to a limit. */
class Gathered {
  readonly #chunks: Buffer[] = [];
  bytes = 0;

  add(chunk: Buffer, maxBytes: number): void {
    const kept = chunk.subarray(0, Math.max(0, maxBytes - this.bytes));
    if (kept.length > 0) this.#chunks.push(kept);
    this.bytes += kept.length;
  }

  whole(): Buffer {
    return Buffer.concat(this.#chunks);
  }
}

function messageOf(data: unknown): readonly [channel: number | undefined, payload: Buffer] {
  const bytes = data instanceof ArrayBuffer ? Buffer.from(data) : Buffer.from(typeof data === 'string' ? data : '');
  return [bytes[0], bytes.subarray(1)];
}

/** The exit code in a `Status` message, or the `Status` itself when the command could not be run. */
function exitCodeOf(payload: Buffer): unknown {
  let status: unknown;
  try {
    status = JSON.parse(payload.toString('utf8'));
  } catch {
    return { code: 500, message: payload.toString('utf8').slice(0, 1024) };
  }
  if (!isRecord(status)) return {};
  if (status['status'] === 'Success') return 0;
  const cause = recordsIn(recordIn(status, 'details'), 'causes').find(({ reason }) => reason === 'ExitCode');
  const exitCode = Number.parseInt(textIn(cause, 'message') ?? '', 10);
  return Number.isNaN(exitCode) ? status : exitCode;
}
